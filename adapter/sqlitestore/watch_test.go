package sqlitestore_test

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

func TestASequenceThatAnotherProcessFilledIsDivertedSoon(t *testing.T) {
	path := fresh(t)
	s, other := open(t, path, sqlitestore.Config{Watch: time.Millisecond}), open(t, path, sqlitestore.Config{})
	put(t, other, letter("ann", "1"))
	known := func() bool { return s.MayHold("charge", "ann") }
	eventually(t, "held by a Put of another", known)
	_, held, err := s.Divert(t.Context(), letter("ann", "2"))
	if err != nil || !held {
		t.Errorf("Divert = %v, %v", held, err)
	}
	_, err = other.Purge(t.Context(), deadletter.Filter{})
	must(t, err)
	if _, held, err = s.Divert(t.Context(), letter("ann", "3")); err != nil || held || known() {
		t.Errorf("Divert to a sequence that another emptied = %v, %v; held %v", held, err, known())
	}
	id := put(t, other, letter("ann", "4"))
	_, err = other.Discard(t.Context(), []string{id}, deadletter.Note{})
	must(t, err)
	if _, held, err = s.Divert(t.Context(), letter("ann", "5")); err != nil || held {
		t.Errorf("Divert to discarded letters = %v, %v", held, err)
	}
	_, err = other.Restore(t.Context(), []string{id}, deadletter.Note{})
	must(t, err)
	eventually(t, "held by a Restore of another", known)
}

func TestAStoreThatDoesNotWatchLearnsWithItsNextWrite(t *testing.T) {
	path := fresh(t)
	s, other := open(t, path, sqlitestore.Config{Watch: -1}), open(t, path, sqlitestore.Config{})
	put(t, other, letter("ann", "1"))
	<-time.After(20 * time.Millisecond)
	if s.MayHold("charge", "ann") {
		t.Error("it watches")
	}
	put(t, s, letter("bob", "1"))
	if !s.MayHold("charge", "ann") {
		t.Error("a write did not tell it")
	}
}

func eventually(t *testing.T, what string, fact func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-time.After(time.Millisecond) {
		if fact() {
			return
		}
	}
	t.Errorf("not within 10 s: %s", what)
}
