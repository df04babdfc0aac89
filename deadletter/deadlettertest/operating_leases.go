package deadlettertest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// The leases of operations: who does one, and what becomes of it when that process ends.

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
