package pipelinetest

import (
	"context"
	"slices"
	"testing"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

// ExpectOrder fails the test unless exactly the events with these identities were done in a lane of a
// stage, in this order. Redriven ones count where they were done.
func ExpectOrder(t testing.TB, rec *Recorder, stageName, lane string, ids ...string) {
	t.Helper()
	done := rec.Of(stageName, lane).Filter(func(e Entry) bool {
		return e.What == Settled && e.Outcome == stage.OutcomeDone
	})
	if got := done.IDs(); !slices.Equal(got, ids) {
		t.Errorf("%s, lane %q: done in the order %q, want %q", stageName, lane, got, ids)
	}
}

// ExpectOutcome fails the test unless the event ended so at a stage; of one that ended more than once, as a
// redriven letter does, the last time.
func ExpectOutcome(t testing.TB, rec *Recorder, stageName, id string, want stage.Outcome) {
	t.Helper()
	ends := rec.Settled(stageName).Filter(func(e Entry) bool { return e.ID == id })
	if len(ends) == 0 {
		t.Errorf("%s: event %q has not settled, want %v", stageName, id, want)
		return
	}
	if last := ends[len(ends)-1]; last.Outcome != want {
		t.Errorf("%s: event %q is %v (%v), want %v", stageName, id, last.Outcome, last.Err, want)
	}
}

// ExpectSettled fails the test unless n events have settled at a stage, redriven letters not counted.
func ExpectSettled(t testing.TB, rec *Recorder, stageName string, n int) {
	t.Helper()
	live := rec.Settled(stageName).Filter(func(e Entry) bool { return e.Redrive == "" })
	if len(live) != n {
		t.Errorf("%s: %d events have settled, want %d", stageName, len(live), n)
	}
}

// Expect fails the test unless exactly the events with these identities were done at a stage, in any order.
func Expect(t testing.TB, rec *Recorder, stageName string, ids ...string) {
	t.Helper()
	done := rec.Settled(stageName).Filter(func(e Entry) bool { return e.Outcome == stage.OutcomeDone })
	got, want := slices.Sorted(slices.Values(done.IDs())), slices.Sorted(slices.Values(ids))
	if !slices.Equal(got, want) {
		t.Errorf("%s: done are %q, want %q", stageName, got, want)
	}
}

// ExpectLetter returns the dead letter of an event at a stage, and ends the test if there is none.
func ExpectLetter(t testing.TB, store deadletter.Browser, stageName, id string) deadletter.Letter {
	t.Helper()
	var others []string
	for l, err := range store.List(context.Background(), deadletter.Filter{Stage: stageName}) {
		if err != nil {
			t.Fatalf("%s: the letters cannot be listed: %v", stageName, err)
		}
		if l.EventID == id {
			return l
		}
		others = append(others, l.EventID)
	}
	t.Fatalf("%s: event %q is no dead letter; %q are", stageName, id, others)
	return deadletter.Letter{}
}

// ExpectLetters fails the test unless exactly the events with these identities are dead letters of a stage, in
// the order in which they were stored.
func ExpectLetters(t testing.TB, store deadletter.Browser, stageName string, ids ...string) {
	t.Helper()
	var got []string
	for l, err := range store.List(context.Background(), deadletter.Filter{Stage: stageName}) {
		if err != nil {
			t.Fatalf("%s: the letters cannot be listed: %v", stageName, err)
		}
		got = append(got, l.EventID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("%s: dead letters are %q, want %q", stageName, got, ids)
	}
}
