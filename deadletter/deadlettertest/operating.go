package deadlettertest

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// RunOperations checks the part of a store that keeps operations. Open and config are as for Run, which
// checks the rest.
func RunOperations(t *testing.T, open func(t *testing.T) deadletter.RedriveStore, config ...Config) {
	s := newSuite(func(t *testing.T) deadletter.Store { return open(t) }, config)
	for _, f := range operating {
		t.Run(f.name, func(t *testing.T) { f.prove(t, s) })
	}
}

var operating = []fact{
	{"an operation keeps every byte of what was asked for", operationKeepsBytes},
	{"an operation outlives its process", operationReopens},
	{"the oldest operation that nobody has is taken", operationOldest},
	{"an operation is taken by who has its stage", operationStages},
	{"of many takers one gets an operation", operationOneTaker},
	{"an operation whose lease ended is taken up, and the old lease is fenced off", operationExpires},
	{"a lease on an operation that is renewed lasts", operationRenewed},
	{"an operation that was given back is taken at once", operationReleased},
	{"Resolve and Fail count in their operation", operationCounts},
	{"what a lost claim did not change is not counted", operationCountsFenced},
	{"a letter that failed is listed once, with its latest error", operationFailures},
	{"an operation that ended says how, and is taken no more", operationEnds},
	{"an operation that was cancelled is nobody's", operationCancelled},
	{"ended operations are kept, open ones always", operationsKept},
}

func (s *suite) redriving(t *testing.T) deadletter.RedriveStore {
	return s.open(t).(deadletter.RedriveStore)
}

// timedOperations is timed for a store that keeps operations.
func (s *suite) timedOperations(t *testing.T, f func(*testing.T, deadletter.RedriveStore, time.Duration)) {
	if s.Bubble {
		synctest.Test(t, func(t *testing.T) { f(t, s.redriving(t), time.Minute) })
		return
	}
	f(t, s.redriving(t), s.Lease)
}

func addOperation(t *testing.T, s deadletter.Operations, stage string) deadletter.Operation {
	t.Helper()
	o, err := s.AddOperation(t.Context(), deadletter.Operation{
		Filter: deadletter.Filter{Stage: stage}, Selected: 3, Who: "ann", Why: "mended", At: time.Now(),
	}, "", 0)
	if err != nil || o.ID == "" || o.State != deadletter.OperationRequested {
		t.Fatalf("AddOperation = %+v, %v", o, err)
	}
	return o
}

func takeOperation(t *testing.T, s deadletter.Operations, owner string, lease time.Duration, stages ...string) deadletter.Operation {
	t.Helper()
	o, err := s.TakeOperation(t.Context(), owner, stages, lease)
	if err != nil {
		t.Fatalf("TakeOperation(%s) = %v", owner, err)
	}
	return o
}

func getOperation(t *testing.T, s deadletter.Operations, id string) deadletter.Operation {
	t.Helper()
	o, err := s.Operation(t.Context(), id)
	if err != nil {
		t.Fatalf("Operation(%s) = %v", id, err)
	}
	return o
}

func nothingToTake(t *testing.T, s deadletter.Operations, when string) {
	t.Helper()
	if o, err := s.TakeOperation(t.Context(), "nobody", nil, time.Hour); !errors.Is(err, deadletter.ErrNotFound) {
		t.Errorf("TakeOperation %s = %+v, %v, want %v", when, o, err, deadletter.ErrNotFound)
	}
}

func failuresOf(t *testing.T, s deadletter.Operations, id string) (all []deadletter.LetterFailure) {
	t.Helper()
	for f, err := range s.OperationFailures(t.Context(), id) {
		if err != nil {
			t.Fatalf("OperationFailures = %v", err)
		}
		all = append(all, f)
	}
	return all
}

const nasty = "a\x00b\xff\xfe\n\x1b[31m 'quoted\" é"

func nastyOperation() deadletter.Operation {
	key := nasty + "key"
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	return deadletter.Operation{
		Filter: deadletter.Filter{
			IDs: []string{nasty, "", "x"}, Stage: nasty + "stage", Topic: nasty + "topic", Key: &key,
			Reason: deadletter.Permanent, Fingerprint: nasty, ErrorText: nasty + "text", ErrorType: nasty + "type",
			Before: at.Add(time.Hour), After: at.Add(-time.Hour), States: []deadletter.State{deadletter.Active},
		},
		Selected: 12, Rate: 2.5, Limit: 7, Parallel: 3, Who: nasty + "who", Why: nasty + "why", At: at,
	}
}

// asked is the part of o that was asked for.
func asked(o deadletter.Operation) deadletter.Operation {
	return deadletter.Operation{
		Filter: o.Filter, Selected: o.Selected, Rate: o.Rate, Limit: o.Limit, Parallel: o.Parallel,
		Who: o.Who, Why: o.Why, At: o.At.UTC(),
	}
}

func operationKeepsBytes(t *testing.T, s *suite) {
	store := s.redriving(t)
	for _, want := range []deadletter.Operation{
		nastyOperation(), {At: time.Unix(1, 0).UTC()},
		{At: time.Unix(1, 0).UTC(), Filter: deadletter.Filter{IDs: []string{}}},
	} {
		added, err := store.AddOperation(t.Context(), want, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []deadletter.Operation{added, getOperation(t, store, added.ID)} {
			if !reflect.DeepEqual(asked(got), want) {
				t.Errorf("operation = %+v\nwant %+v", asked(got), want)
			}
			if got.Owner != "" || got.Starts != 0 || got.Succeeded+got.Failed != 0 || !got.StartedAt.IsZero() || !got.EndedAt.IsZero() {
				t.Errorf("an operation that nobody has = %+v", got)
			}
		}
	}
}

func operationReopens(t *testing.T, s *suite) {
	if s.Reopen == nil {
		t.Skip("the store's operations end with it")
	}
	store := s.redriving(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "ann", "2"))
	added := addOperation(t, store, "charge")
	o := takeOperation(t, store, "me", time.Hour)
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	c.Operation = o.ID
	err := errors.Join(
		store.Resolve(t.Context(), c, ids[0]),
		store.Fail(t.Context(), c, ids[1], deadletter.Failure{Error: "again"}),
	)
	if err != nil {
		t.Fatal(err)
	}
	before := getOperation(t, store, o.ID)
	store = s.Reopen(t, store).(deadletter.RedriveStore)
	if got := getOperation(t, store, added.ID); !reflect.DeepEqual(got, before) || got.Succeeded != 1 || got.Failed != 1 {
		t.Errorf("reopened: %+v\nwant %+v", got, before)
	}
	if got := failuresOf(t, store, o.ID); len(got) != 1 || got[0].Error != "again" {
		t.Errorf("reopened: failures %+v", got)
	}
	if err := store.RenewOperation(t.Context(), o, time.Hour); err != nil {
		t.Errorf("RenewOperation after reopening = %v", err)
	}
}
