package deadlettertest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// What operations count while they are done, and how they end.

func operationCounts(t *testing.T, s *suite) {
	store := s.redriving(t)
	ids := put(t, store, letter("charge", nasty, "1"), letter("charge", nasty, "2"), solo("charge", "3"))
	a, b := addOperation(t, store, "charge"), addOperation(t, store, "charge")
	c := claim(t, store, sequence("charge", nasty), "me", time.Hour)
	c.Operation = a.ID
	alone := claim(t, store, deadletter.Sequence{Stage: "charge", Solo: ids[2]}, "me", time.Hour)
	alone.Operation = a.ID
	err := errors.Join(
		store.Resolve(t.Context(), c, ids[0]),
		store.Fail(t.Context(), c, ids[1], deadletter.Failure{Error: nasty}),
		store.Resolve(t.Context(), alone, ids[2]),
	)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "Resolve of a letter that is gone", store.Resolve(t.Context(), c, ids[0]), deadletter.ErrNotFound)
	wantError(t, "Fail of a letter that is gone", store.Fail(t.Context(), c, ids[0], deadletter.Failure{}), deadletter.ErrNotFound)
	if o := getOperation(t, store, a.ID); o.Succeeded != 2 || o.Failed != 1 {
		t.Errorf("%d succeeded, %d failed, want 2 and 1", o.Succeeded, o.Failed)
	}
	want := []deadletter.LetterFailure{{ID: ids[1], Stage: "charge", Key: nasty, Error: nasty}}
	if got := failuresOf(t, store, a.ID); !slices.Equal(got, want) {
		t.Errorf("failures = %+v, want %+v", got, want)
	}
	if o := getOperation(t, store, b.ID); o.Succeeded+o.Failed != 0 {
		t.Errorf("the other operation has %d and %d", o.Succeeded, o.Failed)
	}
	c.Operation = "unknown"
	if err := store.Resolve(t.Context(), c, ids[1]); err != nil {
		t.Errorf("Resolve for an unknown operation = %v", err)
	}
}

func operationCountsFenced(t *testing.T, s *suite) {
	store := s.redriving(t)
	ids := put(t, store, letter("charge", "ann", "1"))
	o := addOperation(t, store, "charge")
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	c.Operation = o.ID
	claim(t, store, sequence("charge", "ann"), "me", time.Hour) // c is lost
	wantError(t, "Resolve", store.Resolve(t.Context(), c, ids[0]), deadletter.ErrClaimLost)
	wantError(t, "Fail", store.Fail(t.Context(), c, ids[0], deadletter.Failure{}), deadletter.ErrClaimLost)
	if o := getOperation(t, store, o.ID); o.Succeeded+o.Failed != 0 {
		t.Errorf("a lost claim was counted: %+v", o)
	}
}

func operationFailures(t *testing.T, s *suite) {
	store := s.redriving(t)
	addOperation(t, store, "charge")
	o := takeOperation(t, store, "me", time.Hour)
	for _, f := range []deadletter.LetterFailure{
		{ID: "b", Error: "first"}, {ID: "a", Stage: "charge", Key: nasty, Error: nasty}, {ID: "b", Error: "second"},
	} {
		if err := store.FailOperation(t.Context(), o, f); err != nil {
			t.Fatalf("FailOperation = %v", err)
		}
	}
	want := []deadletter.LetterFailure{{ID: "b", Error: "second"}, {ID: "a", Stage: "charge", Key: nasty, Error: nasty}}
	if got := failuresOf(t, store, o.ID); !slices.Equal(got, want) {
		t.Errorf("failures = %+v\nwant %+v", got, want)
	}
	if n := getOperation(t, store, o.ID).Failed; n != 2 {
		t.Errorf("Failed = %d, want 2", n)
	}
	if got := failuresOf(t, store, "unknown"); len(got) != 0 {
		t.Errorf("failures of an unknown operation = %+v", got)
	}
}

func operationEnds(t *testing.T, s *suite) {
	store := s.redriving(t)
	addOperation(t, store, "charge")
	o := takeOperation(t, store, "me", time.Hour)
	o.Selected, o.Blocked, o.Untouched, o.Stopped = 4, 1, 2, deadletter.StoppedLimit
	o.Succeeded, o.Who = 77, "somebody else" // not what EndOperation takes
	if err := store.EndOperation(t.Context(), o); err != nil {
		t.Fatalf("EndOperation = %v", err)
	}
	got := getOperation(t, store, o.ID)
	if got.State != deadletter.OperationFinished || got.Selected != 4 || got.Blocked != 1 || got.Untouched != 2 || got.EndedAt.IsZero() ||
		got.Stopped != deadletter.StoppedLimit || got.Succeeded != 0 || got.Who != "ann" || got.Open() {
		t.Errorf("ended: %+v", got)
	}
	nothingToTake(t, store, "that ended")
	fencedOperation(t, store, o)
	if changed, err := store.CancelOperation(t.Context(), o.ID, deadletter.Note{}); changed || err != nil {
		t.Errorf("CancelOperation of an ended one = %v, %v", changed, err)
	}
	_, err := store.Operation(t.Context(), "unknown")
	wantError(t, "Operation", err, deadletter.ErrNotFound)
	_, err = store.CancelOperation(t.Context(), "unknown", deadletter.Note{})
	wantError(t, "CancelOperation", err, deadletter.ErrNotFound)
}

func operationCancelled(t *testing.T, s *suite) {
	store := s.redriving(t)
	ids := put(t, store, letter("charge", "ann", "1"))
	addOperation(t, store, "charge")
	o := takeOperation(t, store, "me", time.Hour)
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	c.Operation = o.ID
	by := deadletter.Note{Who: nasty + "who", Why: nasty + "why"}
	if changed, err := store.CancelOperation(t.Context(), o.ID, by); !changed || err != nil {
		t.Fatalf("CancelOperation = %v, %v", changed, err)
	}
	if changed, err := store.CancelOperation(t.Context(), o.ID, deadletter.Note{Who: "late"}); changed || err != nil {
		t.Errorf("CancelOperation again = %v, %v", changed, err)
	}
	fencedOperation(t, store, o)
	nothingToTake(t, store, "that was cancelled")
	if err := store.Resolve(t.Context(), c, ids[0]); err != nil {
		t.Fatal(err)
	}
	got := getOperation(t, store, o.ID)
	if got.State != deadletter.OperationCancelled || got.Cancelled.Who != by.Who || got.Cancelled.Why != by.Why ||
		got.Cancelled.At.IsZero() || got.EndedAt.IsZero() || got.Succeeded != 1 {
		t.Errorf("cancelled, with one letter on its way: %+v", got)
	}
}

func operationsKept(t *testing.T, s *suite) {
	store, n := s.redriving(t), min(s.Rounds, 40)
	open := addOperation(t, store, "open")
	want := []string{open.ID}
	for range n {
		o, err := store.AddOperation(t.Context(), deadletter.Operation{}, "me", time.Hour)
		if err == nil {
			err = store.EndOperation(t.Context(), o)
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, o.ID)
	}
	slices.Reverse(want)
	var got []string
	for o, err := range store.Operations(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.ID)
		if len(got) == 1 { // no lock is held
			addOperation(t, store, "later")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("Operations yields %q, want %q", got, want)
	}
}
