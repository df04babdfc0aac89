package sqlitestore

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// A drain asks for the head of its sequence right after its claim, and after each letter that it settled. The
// transaction that does these brings the first letters of the sequence along, and the questions cost nothing: while
// no other connection changed the file, which SQLite says in each transaction, those that were brought are as they
// stand.
//
// Head uses what was certified so for a moment only: what another process does to the head within that is
// overlooked as if it had come just after the question, when the letter is on its way already. What this store
// does makes it forget at once.
const (
	aheadFor     = 20 * time.Millisecond
	aheadLetters = 16
	aheadBytes   = 32 << 10 // of a sequence: larger letters are read when they are asked for
	maxAhead     = 512      // sequences
)

// ahead is the first letters of claimed sequences.
type ahead struct {
	mu sync.Mutex
	of map[lane]*glimpse

	// The writer's own.
	version int64 // SQLite's of the file
	reach   int   // letters that are brought at once: fewer while other processes write
}

// glimpse is the first letters of a sequence, as a transaction saw them. None: it has none.
type glimpse struct {
	claim   deadletter.Claim
	letters []*record
	all     bool // there are none behind these
	at      time.Time
}

// get is what is known of a claimed sequence, or nil.
func (a *ahead) get(c deadletter.Claim) *glimpse {
	if c.Sequence.Solo != "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.of[lane{c.Sequence.Stage, c.Sequence.Key}]
	if g == nil || g.claim.Token != c.Token {
		return nil
	}
	return g
}

func (a *ahead) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.of)
}

// certify forgets what another connection may have changed.
func (t *tx) certify() error {
	var version int64
	if err := t.row(sqlDataVersion).Scan(&version); err != nil {
		return err
	}
	a := &t.store.ahead
	if version != a.version {
		a.version, a.reach = version, 1
		a.clear()
	}
	return nil
}

// bring has the first letters of a claimed sequence brought along.
func (t *tx) bring(c deadletter.Claim) error {
	if c.Sequence.Solo != "" {
		return nil
	}
	a := &t.store.ahead
	rows, err := t.stmts[sqlAhead].QueryContext(context.Background(), a.reach, blob(c.Sequence.Stage), blob(c.Sequence.Key))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err has it
	g, bytes := &glimpse{claim: c}, int64(0)
	for rows.Next() {
		r, err := t.store.readFull(rows)
		if err != nil {
			return err
		}
		if bytes += r.Letter.Size(); bytes > aheadBytes {
			break
		}
		g.letters = append(g.letters, r)
	}
	g.all = len(g.letters) < a.reach && bytes <= aheadBytes
	a.reach = min(max(2*a.reach, 1), aheadLetters)
	if bytes <= aheadBytes || len(g.letters) > 0 {
		t.glimpses[lane{c.Sequence.Stage, c.Sequence.Key}] = g
	}
	return rows.Err()
}

// bringOn goes on behind the letter with id, which this transaction removed.
func (t *tx) bringOn(c deadletter.Claim, id string) error {
	at := lane{c.Sequence.Stage, c.Sequence.Key}
	g := t.glimpses[at]
	if g == nil && !t.forget[at] {
		g = t.store.ahead.get(c)
	}
	if g == nil || len(g.letters) == 0 || g.letters[0].ID != id || len(g.letters) == 1 && !g.all {
		return t.bring(c)
	}
	t.glimpses[at] = &glimpse{claim: c, letters: g.letters[1:], all: g.all}
	return nil
}

// changed forgets what is known of a lane.
func (t *tx) changed(l lane) {
	t.forget[l] = true
	delete(t.glimpses, l)
}

// learn makes known what a commit brought along, and forgets what it changed.
func (a *ahead) learn(t *tx) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range t.forget {
		delete(a.of, l)
	}
	if a.of == nil || len(a.of) > maxAhead {
		a.of = map[lane]*glimpse{}
	}
	now := time.Now()
	for l, g := range t.glimpses {
		g.at = now
		a.of[l] = g
	}
}

// glance is the head of a claimed sequence where that is known.
func (s *Store) glance(c deadletter.Claim) (l deadletter.Letter, known bool, err error) {
	g := s.ahead.get(c)
	switch {
	case g == nil || time.Since(g.at) > aheadFor:
		return l, false, nil
	case len(g.letters) == 0:
		return l, true, deadletter.ErrNotFound
	default:
		return *g.letters[0].Clone(), true, nil
	}
}
