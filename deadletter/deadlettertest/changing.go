package deadlettertest

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

var changing = []fact{
	{"discard and restore are noted and counted once", discardRestore},
	{"a restored letter is back in its place", restoreInPlace},
	{"an edit keeps the first payload", editKeeps},
	{"purge takes every state unless one is named", purgeStates},
	{"purge by age opens what it empties", purgeOpens},
}

func discardRestore(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "ann", "2"))
	by := deadletter.Note{Who: "me", Why: "test order"}
	n, err := store.Discard(t.Context(), append(ids, ids[0], "nothing"), by)
	wantCount(t, "Discard", n, err, 2)
	n, err = store.Discard(t.Context(), ids, by)
	wantCount(t, "Discard again", n, err, 0)
	n, err = store.Restore(t.Context(), ids[:1], deadletter.Note{Who: "you"})
	wantCount(t, "Restore", n, err, 1)
	n, err = store.Restore(t.Context(), ids[:1], by)
	wantCount(t, "Restore again", n, err, 0)
	l := get(t, store, ids[0])
	if l.State != deadletter.Active || len(l.Notes) != 2 {
		t.Fatalf("state %s, notes %v", l.State, l.Notes)
	}
	first, second := l.Notes[0], l.Notes[1]
	if first.What != "discard" || first.Who != "me" || first.Why != "test order" || first.At.IsZero() {
		t.Errorf("note %+v", first)
	}
	if second.What != "restore" || second.Who != "you" {
		t.Errorf("note %+v", second)
	}
}

func restoreInPlace(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "ann", "2"), letter("charge", "ann", "3"))
	if _, err := store.Discard(t.Context(), ids[:2], deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, store, deadletter.Filter{}, "3")
	if _, err := store.Restore(t.Context(), []string{ids[1], ids[0]}, deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, store, deadletter.Filter{}, "1", "2", "3")
}

func editKeeps(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"))
	for _, p := range []string{"one", "two"} {
		if err := store.Edit(t.Context(), ids[0], []byte(p), deadletter.Note{Who: "me", Why: p}); err != nil {
			t.Fatalf("Edit = %v", err)
		}
	}
	l := get(t, store, ids[0])
	if string(l.Payload) != "two" || string(l.Original) != `{"id":"1"}` {
		t.Errorf("payload %q, original %q", l.Payload, l.Original)
	}
	if len(l.Notes) != 2 || l.Notes[1].What != "edit" || l.Notes[1].Why != "two" {
		t.Errorf("notes = %v", l.Notes)
	}
}

func purgeStates(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "bob", "2"), letter("email", "ann", "3"))
	if _, err := store.Discard(t.Context(), ids[:1], deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	n, err := store.Purge(t.Context(), deadletter.Filter{States: []deadletter.State{deadletter.Quarantined}})
	wantCount(t, "Purge of the quarantined", n, err, 0)
	n, err = store.Purge(t.Context(), deadletter.Filter{IDs: []string{}})
	wantCount(t, "Purge of none", n, err, 0)
	n, err = store.Purge(t.Context(), deadletter.Filter{Stage: "charge"})
	wantCount(t, "Purge of a stage", n, err, 2)
	all := deadletter.Filter{States: []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}}
	wantEvents(t, store, all, "3")
}

func purgeOpens(t *testing.T, s *suite) {
	store := s.open(t)
	old := letter("charge", "ann", "1")
	old.DeadAt = time.Now().Add(-48 * time.Hour)
	put(t, store, old, letter("charge", "bob", "2"))
	n, err := store.Purge(t.Context(), deadletter.Filter{Before: time.Now().Add(-24 * time.Hour)})
	wantCount(t, "Purge", n, err, 1)
	if divert(t, store, letter("charge", "ann", "3")) {
		t.Error("the purged sequence is held")
	}
	put(t, store, letter("charge", "ann", "1"))
	wantEvents(t, store, deadletter.Filter{}, "2", "1")
}
