package pgstore_test

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/deadletter"
)

func TestASequenceThatAnotherProcessFilledIsDivertedSoon(t *testing.T) {
	schema := fresh(t)
	s, other := open(t, schema, pgstore.Config{Watch: time.Millisecond}), open(t, schema, pgstore.Config{})
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
	schema := fresh(t)
	s, other := open(t, schema, pgstore.Config{Watch: -1}), open(t, schema, pgstore.Config{})
	put(t, other, letter("ann", "1"))
	if s.MayHold("charge", "ann") {
		t.Error("it watches")
	}
	put(t, s, letter("bob", "1"))
	if !s.MayHold("charge", "ann") {
		t.Error("a write did not tell it")
	}
}

// The watcher may read what another process did before the writer publishes an older commit of its own, which had
// opened the same lane.
func TestALatePublishHidesNoLane(t *testing.T) {
	schema := fresh(t)
	s, other := open(t, schema, pgstore.Config{Watch: -1}), open(t, schema, pgstore.Config{})
	put(t, s, letter("ann", "1"))
	own := s.Seen()
	_, err := other.Purge(t.Context(), deadletter.Filter{})
	must(t, err)
	put(t, other, letter("ann", "2"))
	last := s.Look(0)
	if last <= own || !s.MayHold("charge", "ann") {
		t.Fatalf("the watcher has seen version %d of %d, MayHold %v", last, own, s.MayHold("charge", "ann"))
	}
	s.PublishLate(own, "charge", "ann")
	if s.Look(last); !s.MayHold("charge", "ann") {
		t.Error("the watcher does not look again: MayHold is false until the next write")
	}
}

// The watcher reads beside the writer: a look that hangs keeps no write waiting.
func TestAWatcherThatHangsKeepsNobodyWaiting(t *testing.T) {
	schema := fresh(t)
	s := open(t, schema, pgstore.Config{Watch: time.Millisecond})
	release := s.Starve(t.Context())
	defer release()
	began := time.Now()
	for range 20 {
		put(t, s, letter("ann", ""))
		<-time.After(2 * time.Millisecond)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("20 writes took %v", d)
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
