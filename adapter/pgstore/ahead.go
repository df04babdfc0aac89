package pgstore

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

// A drain asks for the head of its sequence right after its claim, and after each letter that it settled. The
// transaction that does these brings the first letters of the sequence along, and the questions cost nothing:
// while nobody else changed a letter of the lane, which its rows' versions say in the transaction of each Resolve, those
// that were brought are as they stand.
//
// Head uses what was certified so for a moment only: what another process does to the head within that is
// overlooked as if it had come just after the question, when the letter is on its way already. Whatever this store
// does to the lane or the claim makes it forget at once.
const (
	aheadFor     = 20 * time.Millisecond
	aheadLetters = 16
	aheadBytes   = 32 << 10 // of a sequence: larger letters are read when they are asked for
	maxAhead     = 512      // sequences
)

// ahead is the first letters of claimed sequences.
type ahead struct {
	mu sync.Mutex
	of map[id]*sight
}

// sight is the first letters of a sequence, as a transaction saw them.
type sight struct {
	claim    deadletter.Claim
	letters  []*record
	wanted   bool         // they are still to be read
	versions map[id]int64 // of the lane's rows, by cause
	at       time.Time
}

// get is what is known of a claimed sequence, or nil.
func (a *ahead) get(c deadletter.Claim) *sight {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.of[sequenceOf(c.Sequence)]
	if g == nil || g.claim.Token != c.Token || g.claim.Owner != c.Owner {
		return nil
	}
	return g
}

// first reports whether id is the first of the letters.
func (g *sight) first(id string) bool { return g != nil && len(g.letters) > 0 && g.letters[0].ID == id }

// look has the first letters of a claimed sequence brought along.
func (t *tx) look(c deadletter.Claim) {
	if c.Sequence.Solo == "" {
		t.sights[laneOfSequence(c.Sequence)] = &sight{claim: c, wanted: true}
	}
}

// lookOn goes on with what is behind the first letter, which this transaction removed.
func (t *tx) lookOn(c deadletter.Claim, behind []*record) {
	if len(behind) == 0 {
		t.look(c)
		return
	}
	t.sights[laneOfSequence(c.Sequence)] = &sight{claim: c, letters: behind}
}

// certified is what is known of a claimed sequence, if its first letter is the one with id and nobody changed
// any since.
func (t *tx) certified(c deadletter.Claim, id string) (*sight, error) {
	g := t.Store.ahead.get(c)
	if !g.first(id) {
		return nil, nil
	}
	rows, err := t.lane(laneOfSequence(c.Sequence))
	if err != nil || !maps.Equal(g.versions, versions(rows)) {
		return nil, err
	}
	return g, nil
}

// versions are those of a lane's rows that have letters.
func versions(rows map[id]*laneRow) map[id]int64 {
	all := make(map[id]int64, len(rows))
	for cause, r := range rows {
		if r.letters > 0 {
			all[cause] = r.version
		}
	}
	return all
}

func (t *tx) queueAhead(b *pgx.Batch) {
	var lanes ids
	for l, g := range t.sights {
		rows, known := t.lanes[l]
		if g.wanted && (!known || total(rows).live > 0) {
			lanes = append(lanes, l)
		}
	}
	if len(lanes) == 0 {
		return
	}
	b.Queue(sqlAhead, lanes, aheadBytes, aheadLetters).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			// What cannot be read is no reason to fail: the commit goes on behind it, and Head says what is wrong.
			if r, err := t.read(rows); err == nil {
				g := t.sights[r.lane()]
				g.letters = append(g.letters, r)
			}
		}
		return nil
	})
}

// learn makes known what a commit brought along, and forgets what it changed.
func (a *ahead) learn(t *tx) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range t.left {
		delete(a.of, q)
	}
	for _, l := range t.touched {
		delete(a.of, sequenceOf(deadletter.Sequence{Stage: l.stage, Key: l.key}))
	}
	if a.of == nil || len(a.of) > maxAhead {
		a.of = map[id]*sight{}
	}
	for l, g := range t.sights {
		rows, known := t.lanes[l]
		if !known || len(g.letters) == 0 && total(rows).live > 0 {
			continue // they are too large
		}
		g.at, g.versions = now, versions(rows)
		a.of[sequenceOf(g.claim.Sequence)] = g
	}
}

// Head implements deadletter.Claimer. It reads, and waits for no write. After a Claim or a Resolve it has the
// answer of that for 20 milliseconds, and asks nobody.
func (s *Store) Head(ctx context.Context, c deadletter.Claim) (deadletter.Letter, error) {
	if g := s.ahead.get(c); g != nil && time.Since(g.at) < aheadFor {
		if len(g.letters) == 0 {
			return deadletter.Letter{}, deadletter.ErrNotFound
		}
		return *g.letters[0].Clone(), nil
	}
	r, valid, err := s.head(ctx, c)
	switch {
	case err != nil && !errors.Is(err, deadletter.ErrNotFound):
		return deadletter.Letter{}, s.fault("head", err)
	case !valid:
		return deadletter.Letter{}, deadletter.ErrClaimLost
	case err != nil:
		return deadletter.Letter{}, err
	}
	return r.Letter, nil
}

// head reads the head of a sequence and then whether the claim is valid, in one round trip.
func (s *Store) head(ctx context.Context, c deadletter.Claim) (r *record, valid bool, err error) {
	b := &pgx.Batch{}
	take := func(row pgx.Row) error {
		r, err = s.read(row)
		if errors.Is(err, deadletter.ErrNotFound) {
			return nil
		}
		return err
	}
	if c.Sequence.Solo == "" {
		b.Queue(sqlHead, laneOfSequence(c.Sequence)).QueryRow(take)
	} else {
		number, _ := s.number(c.Sequence.Solo)
		b.Queue(sqlGet, []int64{number}).QueryRow(take)
	}
	b.Queue(sqlClaimed, sequenceOf(c.Sequence), int64(c.Token), blob(c.Owner)).QueryRow(func(row pgx.Row) error { //nolint:gosec // the store made it
		return row.Scan(&valid)
	})
	if failed := s.pool.SendBatch(ctx, b).Close(); failed != nil {
		return nil, false, failed
	}
	if err == nil && (!live(&r.Letter) || r.Sequence() != c.Sequence) {
		err = deadletter.ErrNotFound
	}
	return r, valid, err
}
