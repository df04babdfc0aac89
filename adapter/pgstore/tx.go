package pgstore

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

// tx is a transaction of the writer, which has the store's lock: nobody else changes anything until it ends.
//
// It costs two round trips however many writes share it. The first begins it, takes the lock and reads what
// the writes need; they decide here, against what was read and what those before them did; the second writes
// all of it and commits. A write that needs what nobody foresaw pays a round trip of its own.
type tx struct {
	*Store
	ctx      context.Context //nolint:containedctx // of the transaction
	conn     *pgx.Conn
	now      time.Time // the server's, once a claim was read
	m, found meta
	news     bool // anything was written
	lax      bool // nothing but claims was

	// What is known to be there, pending changes included. A nil record or claim: there is none.
	lanes  map[id]map[id]*laneRow // by lane and cause
	events map[string]*record
	byID   map[int64]*record
	heads  map[id]*record
	claims map[id]*claimRow

	pending pending
	queue   []statement // to be run after what is pending, by operations

	touched map[id]lane   // lanes whose letters were changed or looked at
	left    []id          // sequences whose claim was changed
	sights  map[id]*sight // what is known of claimed lanes when this is committed
	version int64         // of the lanes that were changed
}

// meta is the store's counters.
type meta struct{ last, change, letters, lanes, held int64 }

type lane struct{ stage, key string }

// laneRow counts the letters of a cause in a lane.
type laneRow struct {
	lane, cause            id
	stage, key             string
	ordered                bool
	letters, live, holding int64
	change                 int64 // when it became held, 0: it is not
	version                int64 // another one after each change
	stored                 bool  // there is a row
}

type claimRow struct {
	owner string
	token int64
	until time.Time
}

type statement struct {
	query string
	args  []any
}

func (s *Store) newTx(ctx context.Context, conn *pgx.Conn) *tx {
	return &tx{
		Store: s, ctx: ctx, conn: conn,
		lanes: map[id]map[id]*laneRow{}, events: map[string]*record{}, byID: map[int64]*record{},
		heads: map[id]*record{}, claims: map[id]*claimRow{},
		pending: newPending(),
		touched: map[id]lane{}, sights: map[id]*sight{},
	}
}

// needs is what writes will ask of their transaction.
type needs struct {
	lanes, heads, claims set[id]
	events               set[string]
	light, full          set[int64]
}

type set[T comparable] map[T]struct{}

func (s *set[T]) add(v T) {
	if *s == nil {
		*s = set[T]{}
	}
	(*s)[v] = struct{}{}
}

func (s set[T]) list() []T { return slices.Collect(maps.Keys(s)) }

// begin starts the transaction and reads what its writes need.
func (t *tx) begin(n *needs) error {
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	b.Queue(sqlLock).QueryRow(func(row pgx.Row) error {
		m := &t.m
		return row.Scan(&m.last, &m.change, &m.letters, &m.lanes, &m.held)
	})
	t.queueNeeds(b, n)
	err := t.conn.SendBatch(t.ctx, b).Close()
	t.found = t.m
	return err
}

// fetch reads what was not foreseen.
func (t *tx) fetch(n *needs) error {
	if err := t.flush(); err != nil {
		return err
	}
	b := &pgx.Batch{}
	t.queueNeeds(b, n)
	return t.conn.SendBatch(t.ctx, b).Close()
}

func (t *tx) queueNeeds(b *pgx.Batch, n *needs) {
	if len(n.lanes) > 0 {
		for l := range n.lanes {
			t.lanes[l] = map[id]*laneRow{}
		}
		b.Queue(sqlLanes, ids(n.lanes.list())).Query(t.readLanes)
	}
	if len(n.events) > 0 {
		names := make([][]byte, 0, len(n.events))
		for e := range n.events {
			t.events[e] = nil
			names = append(names, []byte(e))
		}
		b.Queue(sqlEvents, names).Query(t.reading(t.skim, func(r *record) {
			t.events[r.event()] = r
		}))
	}
	if len(n.heads) > 0 {
		for l := range n.heads {
			t.heads[l] = nil
		}
		b.Queue(sqlHeads, ids(n.heads.list())).Query(t.reading(t.skim, func(r *record) { t.heads[r.lane()] = r }))
	}
	if len(n.claims) > 0 {
		for q := range n.claims {
			t.claims[q] = nil
		}
		b.Queue(sqlNow).QueryRow(func(row pgx.Row) error { return row.Scan(&t.now) })
		b.Queue(sqlClaims, ids(n.claims.list())).Query(t.readClaims)
	}
	t.queueLetters(b, n.light, sqlGlean, t.skim)
	t.queueLetters(b, n.full, sqlGet, t.read)
}

func (t *tx) queueLetters(b *pgx.Batch, numbers set[int64], query string, read func(pgx.Row) (*record, error)) {
	if len(numbers) == 0 {
		return
	}
	for n := range numbers {
		t.byID[n] = nil
	}
	b.Queue(query, numbers.list()).Query(t.reading(read, func(r *record) { t.byID[r.id] = r }))
}

// reading calls each with the records of a query.
func (*tx) reading(read func(pgx.Row) (*record, error), each func(*record)) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			r, err := read(rows)
			if err != nil {
				return err
			}
			each(r)
		}
		return rows.Err()
	}
}

func (t *tx) readLanes(rows pgx.Rows) error {
	for rows.Next() {
		r := &laneRow{stored: true}
		err := rows.Scan(&r.lane, &r.cause, &r.letters, &r.live, &r.holding, &r.change, &r.version, &r.ordered,
			texts{}.to(&r.stage), texts{}.to(&r.key))
		if err != nil {
			return err
		}
		t.lanes[r.lane][r.cause] = r
	}
	return rows.Err()
}

func (t *tx) readClaims(rows pgx.Rows) error {
	for rows.Next() {
		var q id
		c := &claimRow{}
		if err := rows.Scan(&q, texts{}.to(&c.owner), &c.token, &c.until); err != nil {
			return err
		}
		t.claims[q] = c
	}
	return rows.Err()
}

// lane is the rows of a lane, by cause.
func (t *tx) lane(l id) (map[id]*laneRow, error) {
	if _, known := t.lanes[l]; !known {
		n := &needs{}
		n.lanes.add(l)
		if err := t.fetch(n); err != nil {
			return nil, err
		}
	}
	return t.lanes[l], nil
}

// total is the sum of a lane's rows.
func total(rows map[id]*laneRow) (sum laneRow) {
	for _, r := range rows {
		sum.letters += r.letters
		sum.live += r.live
		sum.holding += r.holding
	}
	return sum
}

// byEvent is the letter of an event, light, or nil.
func (t *tx) byEvent(name string) (*record, error) {
	if _, known := t.events[name]; !known {
		n := &needs{}
		n.events.add(name)
		if err := t.fetch(n); err != nil {
			return nil, err
		}
	}
	return t.events[name], nil
}

// head is the first live letter of a lane, light, or nil.
func (t *tx) head(l id) (*record, error) {
	if _, known := t.heads[l]; !known {
		n := &needs{}
		n.heads.add(l)
		if err := t.fetch(n); err != nil {
			return nil, err
		}
	}
	return t.heads[l], nil
}

// claimed is the claim of a sequence, or nil.
func (t *tx) claimed(q id) (*claimRow, error) {
	if _, known := t.claims[q]; !known {
		n := &needs{}
		n.claims.add(q)
		if err := t.fetch(n); err != nil {
			return nil, err
		}
	}
	return t.claims[q], nil
}

// find is the letter with an id of this store, or ErrNotFound.
func (t *tx) find(text string, full bool) (*record, error) {
	number, ok := t.number(text)
	if !ok {
		return nil, deadletter.ErrNotFound
	}
	r, known := t.byID[number]
	if !known || full && r != nil && !r.full {
		n := &needs{}
		if full {
			n.full.add(number)
		} else {
			n.light.add(number)
		}
		if err := t.fetch(n); err != nil {
			return nil, err
		}
		r = t.byID[number]
	}
	if r == nil {
		return nil, deadletter.ErrNotFound
	}
	return r, nil
}

func (t *tx) next() int64 {
	t.m.last++
	return t.m.last
}

// stamp is the version of what this transaction changes.
func (t *tx) stamp() int64 {
	if t.version == 0 {
		t.version = t.next()
	}
	return t.version
}

// row and exec run a statement now, after all that is pending.
func (t *tx) row(query string, args ...any) pgx.Row {
	if err := t.flush(); err != nil {
		return failedRow{err}
	}
	return t.conn.QueryRow(t.ctx, query, args...)
}

func (t *tx) exec(query string, args ...any) (changed int64, err error) {
	if err := t.flush(); err != nil {
		return 0, err
	}
	t.news = true
	tag, err := t.conn.Exec(t.ctx, query, args...)
	return tag.RowsAffected(), err
}

type failedRow struct{ err error }

// Scan implements pgx.Row.
func (r failedRow) Scan(...any) error { return r.err }

// later has a statement run together with what is pending.
func (t *tx) later(query string, args ...any) { t.queue = append(t.queue, statement{query, args}) }
