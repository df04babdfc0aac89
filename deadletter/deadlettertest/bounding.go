package deadlettertest

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

var bounding = []fact{
	{"a full sequence refuses only its own key", fullSequence},
	{"a letter without an order is in no sequence that could be full", fullButUnordered},
	{"a discarded letter that dies again finds its room in a full store", fullButReplaced},
	{"a full store refuses, and takes again when there is room", fullStore},
	{"the number of sequences is bounded", fullSequences},
	{"a letter that is too large is refused", tooLarge},
}

func (s *suite) limited(t *testing.T, l Limits) deadletter.Store {
	t.Helper()
	if s.Limited == nil {
		t.Skip("the store has no limits")
	}
	return s.Limited(t, l)
}

func fullSequence(t *testing.T, s *suite) {
	store := s.limited(t, Limits{PerSequence: 2})
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "ann", "2"))
	_, err := store.Put(t.Context(), letter("charge", "ann", "3"))
	wantError(t, "Put", err, deadletter.ErrSequenceFull)
	_, held, err := store.Divert(t.Context(), letter("charge", "ann", "3"))
	wantError(t, "Divert", err, deadletter.ErrSequenceFull)
	if !held {
		t.Error("Divert to a full sequence said open")
	}
	if r, err := store.Put(t.Context(), letter("charge", "ann", "1")); err != nil || !r.Existed {
		t.Errorf("Put of a letter that is there = %+v, %v", r, err)
	}
	put(t, store, letter("charge", "bob", "4"))
	if _, err := store.Discard(t.Context(), ids[:1], deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	put(t, store, letter("charge", "ann", "3"))
	wantEvents(t, store, deadletter.Filter{}, "2", "4", "3")
}

func fullButUnordered(t *testing.T, s *suite) {
	store := s.limited(t, Limits{PerSequence: 1})
	put(t, store, letter("charge", "ann", "1"))
	for _, id := range []string{"2", "3"} {
		l := solo("charge", id)
		l.Key = "ann"
		put(t, store, l)
	}
	_, err := store.Put(t.Context(), letter("charge", "ann", "4"))
	wantError(t, "Put to a full sequence", err, deadletter.ErrSequenceFull)
	wantEvents(t, store, deadletter.Filter{}, "1", "2", "3")
}

func fullButReplaced(t *testing.T, s *suite) {
	store := s.limited(t, Limits{Letters: 1, PerSequence: 1})
	ids := put(t, store, letter("charge", "ann", "1"))
	if _, err := store.Discard(t.Context(), ids, deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	if r, err := store.Put(t.Context(), letter("charge", "ann", "1")); err != nil || r.ID != ids[0] {
		t.Errorf("Put of the only letter, which is discarded = %+v, %v, want %s", r, err, ids[0])
	}
	wantEvents(t, store, deadletter.Filter{}, "1")
}

func fullStore(t *testing.T, s *suite) {
	store := s.limited(t, Limits{Letters: 2})
	ids := put(t, store, letter("charge", "ann", "1"), solo("email", "2"))
	_, err := store.Put(t.Context(), letter("charge", "bob", "3"))
	wantError(t, "Put", err, deadletter.ErrFull)
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	if err := store.Resolve(t.Context(), c, ids[0]); err != nil {
		t.Fatal(err)
	}
	put(t, store, letter("charge", "bob", "3"))
	wantEvents(t, store, deadletter.Filter{}, "2", "3")
}

func fullSequences(t *testing.T, s *suite) {
	store := s.limited(t, Limits{Sequences: 2})
	put(t, store, letter("charge", "ann", "1"), letter("charge", "bob", "2"))
	_, err := store.Put(t.Context(), letter("charge", "cid", "3"))
	wantError(t, "Put to a third key", err, deadletter.ErrFull)
	put(t, store, letter("charge", "ann", "4"), solo("charge", "5"))
}

func tooLarge(t *testing.T, s *suite) {
	store := s.limited(t, Limits{LetterBytes: 2000})
	l := letter("charge", "ann", "1")
	l.Payload = make([]byte, 3000)
	_, err := store.Put(t.Context(), l)
	wantError(t, "Put", err, deadletter.ErrTooLarge)
	ids := put(t, store, letter("charge", "ann", "1"))
	wantError(t, "Edit", store.Edit(t.Context(), ids[0], make([]byte, 3000), deadletter.Note{}), deadletter.ErrTooLarge)
	_, held, err := store.Divert(t.Context(), l)
	if r := err; held && r != nil {
		t.Errorf("Divert of a letter that is there = %v", r)
	}
}
