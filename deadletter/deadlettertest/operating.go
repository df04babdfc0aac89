package deadlettertest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
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

func operationOldest(t *testing.T, s *suite) {
	store := s.redriving(t)
	nothingToTake(t, store, "of an empty store")
	var want []string
	for range 3 {
		want = append(want, addOperation(t, store, "charge").ID)
	}
	var got []string
	for i := range 3 {
		o := takeOperation(t, store, fmt.Sprint("owner-", i), time.Hour)
		if o.State != deadletter.OperationRunning || o.Owner != fmt.Sprint("owner-", i) || o.Starts != 1 || o.Token == 0 ||
			o.StartedAt.IsZero() || o.Until.Before(o.StartedAt.Add(time.Minute)) || o.Who != "ann" {
			t.Errorf("taken: %+v", o)
		}
		got = append(got, o.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("taken in the order %q, want %q", got, want)
	}
	nothingToTake(t, store, "when all are taken")
	own, err := store.AddOperation(t.Context(), deadletter.Operation{}, "me", time.Hour)
	if err != nil || own.State != deadletter.OperationRunning || own.Owner != "me" {
		t.Errorf("AddOperation with an owner = %+v, %v", own, err)
	}
	nothingToTake(t, store, "of one that was added with an owner")
	if err := store.RenewOperation(t.Context(), own, time.Hour); err != nil {
		t.Errorf("RenewOperation by who added it = %v", err)
	}
}

func operationStages(t *testing.T, s *suite) {
	store := s.redriving(t)
	addOperation(t, store, "charge")
	ship := addOperation(t, store, "ship")
	for _, stages := range [][]string{{}, {"notify"}, {"shi", "ship "}} {
		if o, err := store.TakeOperation(t.Context(), "me", stages, time.Hour); !errors.Is(err, deadletter.ErrNotFound) {
			t.Errorf("TakeOperation(%q) = %+v, %v", stages, o, err)
		}
	}
	if o := takeOperation(t, store, "me", time.Hour, "notify", "ship"); o.ID != ship.ID {
		t.Errorf("taken for ship: %+v", o)
	}
}

func operationOneTaker(t *testing.T, s *suite) {
	store := s.redriving(t)
	for range min(s.Rounds, 50) {
		addOperation(t, store, "charge")
		var winners atomic.Int32
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				_, err := store.TakeOperation(t.Context(), fmt.Sprint(i), nil, time.Hour)
				if err == nil {
					winners.Add(1)
				} else if !errors.Is(err, deadletter.ErrNotFound) {
					t.Errorf("TakeOperation = %v", err)
				}
			})
		}
		all.Wait()
		if n := winners.Load(); n != 1 {
			t.Fatalf("%d of 4 took the operation", n)
		}
	}
}

// fencedOperation checks that o, whose lease was lost, changes nothing.
func fencedOperation(t *testing.T, store deadletter.Operations, o deadletter.Operation) {
	t.Helper()
	before := getOperation(t, store, o.ID)
	o.Blocked, o.Stopped = 99, "fenced"
	wantError(t, "RenewOperation with a lost lease", store.RenewOperation(t.Context(), o, time.Hour), deadletter.ErrClaimLost)
	wantError(t, "EndOperation with a lost lease", store.EndOperation(t.Context(), o), deadletter.ErrClaimLost)
	wantError(t, "FailOperation with a lost lease",
		store.FailOperation(t.Context(), o, deadletter.LetterFailure{ID: "fenced"}), deadletter.ErrClaimLost)
	if err := store.ReleaseOperation(t.Context(), o); err != nil {
		t.Errorf("ReleaseOperation with a lost lease = %v", err)
	}
	if after := getOperation(t, store, o.ID); !reflect.DeepEqual(after, before) {
		t.Errorf("a lost lease changed the operation: %+v\nit was %+v", after, before)
	}
}

func operationExpires(t *testing.T, s *suite) {
	s.timedOperations(t, func(t *testing.T, store deadletter.RedriveStore, lease time.Duration) {
		addOperation(t, store, "charge")
		o := takeOperation(t, store, "me", lease)
		time.Sleep(lease + lease/2)
		other := takeOperation(t, store, "you", time.Hour)
		if other.ID != o.ID || other.Token <= o.Token || other.Starts != 2 || !other.StartedAt.Equal(o.StartedAt) {
			t.Errorf("taken up: %+v, it was %+v", other, o)
		}
		fencedOperation(t, store, o)
		if err := store.RenewOperation(t.Context(), other, time.Hour); err != nil {
			t.Errorf("RenewOperation by who has it = %v", err)
		}
	})
}

func operationRenewed(t *testing.T, s *suite) {
	s.timedOperations(t, func(t *testing.T, store deadletter.RedriveStore, lease time.Duration) {
		addOperation(t, store, "charge")
		o := takeOperation(t, store, "me", lease)
		for range 4 {
			time.Sleep(lease / 2)
			if err := store.RenewOperation(t.Context(), o, 3*lease); err != nil {
				t.Fatalf("RenewOperation = %v", err)
			}
		}
		nothingToTake(t, store, "that was renewed")
	})
}

func operationReleased(t *testing.T, s *suite) {
	store := s.redriving(t)
	addOperation(t, store, "charge")
	o := takeOperation(t, store, "me", time.Hour)
	if err := store.ReleaseOperation(t.Context(), o); err != nil {
		t.Fatalf("ReleaseOperation = %v", err)
	}
	wantError(t, "RenewOperation after ReleaseOperation", store.RenewOperation(t.Context(), o, time.Hour), deadletter.ErrClaimLost)
	other := takeOperation(t, store, "you", time.Hour)
	if other.ID != o.ID || other.Token <= o.Token || other.Starts != 2 {
		t.Errorf("taken up: %+v", other)
	}
	fencedOperation(t, store, o)
}

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
