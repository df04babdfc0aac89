package pipelinetest

import (
	"context"
	"errors"
	"sync"

	"github.com/runnel-go/runnel/deadletter"
)

// Letters returns store with what happens to its letters recorded: give it to the dead-letter middleware and
// to deadletter.Drain in the store's place. What is purged is not recorded, and must not be checked.
func (r *Recorder) Letters(store deadletter.Store) deadletter.Store {
	return &recordedLetters{Store: store, rec: r}
}

type recordedLetters struct {
	deadletter.Store
	rec   *Recorder
	turns turns
}

// turns has the letters of a lane stored and redriven one after another, so that this is recorded in the order in
// which the store has it, and before anything else that is done with them. Its zero value is ready.
type turns struct {
	mu    sync.Mutex
	taken map[laneName]chan struct{} // closed when that lane is free
}

// take waits until the lane of l is free and takes it, until done is called. A letter without a lane has one of its own.
func (t *turns) take(l *deadletter.Letter) (done func()) {
	lane, free := laneName{l.Stage, l.Key}, make(chan struct{})
	if !l.Ordered {
		lane.lane = l.EventID
	}
	t.mu.Lock()
	for t.taken[lane] != nil {
		other := t.taken[lane]
		t.mu.Unlock()
		<-other
		t.mu.Lock()
	}
	if t.taken == nil {
		t.taken = map[laneName]chan struct{}{}
	}
	t.taken[lane] = free
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.taken, lane)
		close(free)
	}
}

func ofLetter(w What, l *deadletter.Letter, id string) Entry {
	return Entry{
		What: w, Topic: l.Topic, ID: l.EventID, Key: l.TopicKey, Seq: l.Seq, Origin: l.Origin,
		Stage: l.Stage, Lane: l.Key, Ordered: l.Ordered, Attempt: l.Attempts,
		Letter: id, Holds: l.Holds && l.Ordered,
	}
}

// Put implements deadletter.Store.
func (s *recordedLetters) Put(ctx context.Context, l *deadletter.Letter) (deadletter.Receipt, error) {
	done := s.turns.take(l)
	defer done()
	r, err := s.Store.Put(ctx, l)
	switch {
	case err == nil && !r.Existed:
		s.rec.add(ofLetter(Stored, l, r.ID))
	case err == nil && !s.rec.knows(r.ID): // an earlier Put stored it and did not say so
		s.note(ctx, Stored, r.ID)
	case err != nil:
		s.lost(ctx, Stored, l)
	}
	return r, err
}

// Divert implements deadletter.Store.
func (s *recordedLetters) Divert(ctx context.Context, l *deadletter.Letter) (deadletter.Receipt, bool, error) {
	done := s.turns.take(l)
	defer done()
	r, held, err := s.Store.Divert(ctx, l)
	if err == nil && held && (!r.Existed || !s.rec.knows(r.ID)) {
		e := ofLetter(Diverted, l, r.ID)
		e.Holds = l.Ordered
		s.rec.add(e)
	}
	if err != nil {
		s.lost(ctx, Diverted, l)
	}
	return r, held, err
}

// lost records a letter that the store has although it said that it failed.
func (s *recordedLetters) lost(ctx context.Context, w What, l *deadletter.Letter) {
	for there, err := range s.List(context.WithoutCancel(ctx), deadletter.Filter{Stage: l.Stage, Key: &l.Key}) {
		if err == nil && there.EventID == l.EventID && !s.rec.knows(there.ID) {
			s.rec.add(ofLetter(w, &there, there.ID))
		}
	}
}

// turn takes the turn of a letter's lane: until done is called it is not stored anew, and no operator finds it as it was
// and is recorded later.
func (s *recordedLetters) turn(ctx context.Context, id string) (l deadletter.Letter, done func()) {
	l, _ = s.Get(ctx, id)
	return l, s.turns.take(&l)
}

// Resolve implements deadletter.Store. A store that failed may have removed the letter all the same.
func (s *recordedLetters) Resolve(ctx context.Context, c deadletter.Claim, id string) error {
	l, done := s.turn(ctx, id)
	defer done()
	err := s.Store.Resolve(ctx, c, id)
	if err != nil && !errors.Is(err, deadletter.ErrClaimLost) && l.ID != "" {
		if _, gone := s.Get(ctx, id); errors.Is(gone, deadletter.ErrNotFound) {
			s.rec.add(ofLetter(Resolved, &l, id))
		}
	}
	if err == nil {
		s.rec.add(ofLetter(Resolved, &l, id))
	}
	return err
}

// Fail implements deadletter.Store.
func (s *recordedLetters) Fail(ctx context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	_, done := s.turn(ctx, id)
	defer done()
	err := s.Store.Fail(ctx, c, id, f)
	if err == nil {
		s.note(ctx, Failed, id)
	}
	return err
}

// Discard implements deadletter.Store.
func (s *recordedLetters) Discard(ctx context.Context, ids []string, by deadletter.Note) (int, error) {
	return s.change(ctx, Discarded, ids, func() (int, error) { return s.Store.Discard(ctx, ids, by) })
}

// Restore implements deadletter.Store.
func (s *recordedLetters) Restore(ctx context.Context, ids []string, by deadletter.Note) (int, error) {
	return s.change(ctx, Restored, ids, func() (int, error) { return s.Store.Restore(ctx, ids, by) })
}

func (s *recordedLetters) change(ctx context.Context, w What, ids []string, do func() (int, error)) (int, error) {
	for _, id := range ids { // before it is done, for then what held the lane may go on at once
		if l, err := s.Get(ctx, id); err == nil {
			done := s.turns.take(&l) // whoever stores it has recorded that
			s.note(ctx, w, id)
			done()
		}
	}
	return do()
}

// note records something about a letter that the store has.
func (s *recordedLetters) note(ctx context.Context, w What, id string) {
	if l, err := s.Get(ctx, id); err == nil {
		s.rec.add(ofLetter(w, &l, id))
	}
}
