package pgstore

import (
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runnel-go/runnel/deadletter"
)

// pending is what a transaction has decided and not written yet.
type pending struct {
	removed set[int64]
	added   map[int64]*record
	lanes   map[*laneRow]struct{}
	facets  map[id]*facetCount
	causes  map[id]int64 // by how many lanes
	claims  set[id]
}

// facetCount is what is added to a facet's counters.
type facetCount struct {
	letters, bytes int64
	of             *record
}

func newPending() pending {
	return pending{
		removed: set[int64]{}, added: map[int64]*record{}, lanes: map[*laneRow]struct{}{},
		facets: map[id]*facetCount{}, causes: map[id]int64{}, claims: set[id]{},
	}
}

// remove takes a letter out for good.
func (t *tx) remove(r *record) error {
	if err := t.count(r, -1); err != nil {
		return err
	}
	if _, ok := t.pending.added[r.n]; ok {
		delete(t.pending.added, r.n)
	} else {
		t.pending.removed.add(r.n)
	}
	if e := r.event(); e != "" {
		t.events[e] = nil
	}
	t.byID[r.id] = nil
	if head := t.heads[r.lane()]; head != nil && head.n == r.n {
		delete(t.heads, r.lane())
	}
	return nil
}

// insert adds a letter, at the place that it has.
func (t *tx) insert(r *record) error {
	if err := t.count(r, 1); err != nil {
		return err
	}
	t.pending.added[r.n] = r
	if e := r.event(); e != "" {
		t.events[e] = r
	}
	t.byID[r.id] = r
	if head, known := t.heads[r.lane()]; known && live(&r.Letter) && (head == nil || r.n < head.n) {
		t.heads[r.lane()] = r
	}
	return nil
}

// count adds a letter to the counters, or takes it off.
func (t *tx) count(r *record, by int64) error {
	rows, err := t.lane(r.lane())
	if err != nil {
		return err
	}
	t.m.letters += by
	f := t.pending.facets[r.facet()]
	if f == nil {
		f = &facetCount{}
		t.pending.facets[r.facet()] = f
	}
	f.letters, f.bytes, f.of = f.letters+by, f.bytes+by*r.size, r
	row := rows[r.cause()]
	if row == nil {
		row = &laneRow{lane: r.lane(), cause: r.cause(), stage: r.Stage, key: r.Key, ordered: r.Ordered}
		rows[row.cause] = row
	}
	t.pending.lanes[row] = struct{}{}
	row.version = t.stamp()
	delete(t.sights, row.lane)
	if r.Ordered {
		t.touched[row.lane] = lane{r.Stage, r.Key}
	}
	t.countLane(rows, row, &r.Letter, by)
	return nil
}

// countLane counts a letter in its row of a lane, and what turns by it.
func (t *tx) countLane(rows map[id]*laneRow, row *laneRow, l *deadletter.Letter, by int64) {
	before, own := total(rows), *row
	row.letters += by
	if live(l) {
		row.live += by
		if l.Holds && l.Ordered {
			row.holding += by
		}
	}
	if !l.Ordered {
		return
	}
	after := total(rows)
	t.m.lanes += turned(before.letters, after.letters)
	t.m.held += turned(before.holding, after.holding)
	t.pending.causes[row.cause] += turned(own.live, row.live)
	switch turned(own.holding, row.holding) {
	case 1:
		t.m.change++
		row.change = t.m.change
	case -1:
		row.change = 0
	}
}

// turned is 1 when a count left 0, and -1 when it came back to it.
func turned(from, to int64) int64 {
	switch {
	case from == 0 && to > 0:
		return 1
	case from > 0 && to == 0:
		return -1
	default:
		return 0
	}
}

// flush writes what is pending.
func (t *tx) flush() error {
	b := &pgx.Batch{}
	t.queuePending(b)
	if b.Len() == 0 {
		return nil
	}
	t.news = true
	return t.conn.SendBatch(t.ctx, b).Close()
}

// queuePending queues what is pending and forgets it. Letters are removed before others are added: one that
// changed is both.
func (t *tx) queuePending(b *pgx.Batch) {
	p := t.pending
	if len(p.removed) > 0 {
		b.Queue(sqlRemove, p.removed.list())
	}
	if len(p.added) > 0 {
		b.Queue(sqlAddLetters, letterArgs(p.added)...)
	}
	queueLanes(b, p.lanes)
	p.queueCounts(b)
	t.queueClaims(b)
	for _, s := range t.queue {
		b.Queue(s.query, s.args...)
	}
	t.pending, t.queue = newPending(), nil
}

func queueLanes(b *pgx.Batch, rows map[*laneRow]struct{}) {
	var gone, set, added laneColumns
	for r := range rows {
		switch {
		case r.letters == 0 && r.stored:
			gone.add(r)
		case r.letters == 0:
		case r.stored:
			set.add(r)
		default:
			added.add(r)
		}
		r.stored = r.letters > 0
	}
	if len(gone.lanes) > 0 {
		b.Queue(sqlDropLanes, gone.lanes, gone.causes)
	}
	if len(set.lanes) > 0 {
		b.Queue(sqlSetLanes, set.counts()...)
	}
	if len(added.lanes) > 0 {
		b.Queue(sqlAddLanes, append(added.counts(), added.stages, added.keys, added.ordered)...)
	}
}

// laneColumns are rows of lanes as arrays.
type laneColumns struct {
	lanes, causes                   ids
	letters, live, holding, version []int64
	change                          pgtype.FlatArray[pgtype.Int8]
	stages, keys                    [][]byte
	ordered                         []bool
}

func (c *laneColumns) add(r *laneRow) {
	c.lanes, c.causes = append(c.lanes, r.lane), append(c.causes, r.cause)
	c.letters, c.live, c.holding = append(c.letters, r.letters), append(c.live, r.live), append(c.holding, r.holding)
	c.change = append(c.change, pgtype.Int8{Int64: r.change, Valid: r.change > 0})
	c.version = append(c.version, r.version)
	c.stages, c.keys, c.ordered = append(c.stages, blob(r.stage)), append(c.keys, blob(r.key)), append(c.ordered, r.ordered)
}

func (c *laneColumns) counts() []any {
	return []any{c.lanes, c.causes, c.letters, c.live, c.holding, c.change, c.version}
}

// queueCounts counts in facets and causes.
func (p *pending) queueCounts(b *pgx.Batch) {
	var more, less []id
	for f, c := range p.facets {
		switch {
		case c.letters > 0:
			more = append(more, f)
		case c.letters < 0 || c.bytes != 0:
			less = append(less, f)
		}
	}
	if len(more) > 0 {
		p.queueMore(b, more)
	}
	maps.DeleteFunc(p.causes, func(_ id, by int64) bool { return by == 0 })
	if len(p.causes) > 0 {
		causes := slices.Collect(maps.Keys(p.causes))
		by := make([]int64, len(causes))
		for i, c := range causes {
			by[i] = p.causes[c]
		}
		b.Queue(sqlCountCauses, ids(causes), by)
	}
	if len(less) > 0 {
		p.queueLess(b, less)
	}
}

func (p *pending) queueMore(b *pgx.Batch, facets []id) {
	var causes ids
	var stages, fingerprints, topics, reasons, types, states [][]byte
	var alive, followers, ordered []bool
	var letters, bytes []int64
	for _, f := range facets {
		c := p.facets[f]
		l := &c.of.Letter
		causes = append(causes, c.of.cause())
		stages, fingerprints = append(stages, blob(l.Stage)), append(fingerprints, blob(l.Fingerprint))
		topics, reasons = append(topics, blob(l.Topic)), append(reasons, blob(string(l.Reason)))
		types, states = append(types, blob(l.ErrorType)), append(states, blob(string(l.State)))
		alive, followers, ordered = append(alive, live(l)), append(followers, l.Follower), append(ordered, l.Ordered)
		letters, bytes = append(letters, c.letters), append(bytes, c.bytes)
	}
	b.Queue(sqlAddCauses, causes, stages, fingerprints)
	b.Queue(sqlAddFacets, ids(facets), causes, topics, reasons, types, states, alive, followers, ordered, letters, bytes)
}

func (p *pending) queueLess(b *pgx.Batch, facets []id) {
	letters, bytes := make([]int64, len(facets)), make([]int64, len(facets))
	for i, f := range facets {
		letters[i], bytes[i] = p.facets[f].letters, p.facets[f].bytes
	}
	b.Queue(sqlTakeFacets, ids(facets), letters, bytes)
	b.Queue(sqlDropFacets, ids(facets))
}

// letterArgs are the columns of letters, as sqlAddLetters names them.
func letterArgs(records map[int64]*record) []any {
	size := len(records)
	places := slices.Sorted(maps.Keys(records))
	var first []pgtype.Int8
	lanes, facets := make(ids, 0, size), make(ids, 0, size)
	flags, numbers, texts := make([][]bool, 4), make([][]int64, 7), make([][][]byte, 20)
	var events [][]byte
	for _, n := range places {
		r := records[n]
		first = append(first, pgtype.Int8{Int64: r.id, Valid: r.id != r.n})
		lanes, facets = append(lanes, r.lane()), append(facets, r.facet())
		var event []byte // NULL: it has none
		if e := r.event(); e != "" {
			event = []byte(e)
		}
		events = append(events, event)
		spread(flags, live(&r.Letter), r.Holds, r.Ordered, r.Follower)
		spread(numbers, r.DeadAt.UnixMicro(), r.UpdatedAt.UnixMicro(), r.size, int64(r.Origin), int64(r.Seq), //nolint:gosec // bits
			int64(r.Attempts), int64(r.Redrives))
		spread(texts, r.blobs()...)
	}
	args := []any{places, pgtype.FlatArray[pgtype.Int8](first), lanes, facets, events}
	args = appendAll(args, flags)
	args = appendAll(args, numbers)
	return appendAll(args, texts)
}

// blobs are the texts and bytes of a letter, in the order of its columns.
func (r *record) blobs() [][]byte {
	l := &r.Letter
	return [][]byte{
		blob(l.Stage), blob(l.Key), blob(l.Topic), blob(string(l.Reason)), blob(l.Error), blob(l.ErrorType), blob(l.Fingerprint),
		blob(string(l.State)), blob(l.EventID), blob(l.GivenID), blob(l.TopicKey), blob(l.Codec), packTime(l.Time),
		whole(packHeader(l.Header)), whole(packCauses(l.Causes)), whole(packHistory(l.History)), whole(packNotes(l.Notes)),
		blob(l.Stack), whole(l.Payload), l.Original,
	}
}

// spread adds a row to columns.
func spread[T any](columns [][]T, row ...T) {
	for i, v := range row {
		columns[i] = append(columns[i], v)
	}
}

func appendAll[T any](args []any, columns [][]T) []any {
	for _, c := range columns {
		args = append(args, c)
	}
	return args
}
