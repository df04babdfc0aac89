package deadletter_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

var quiet = slog.New(slog.DiscardHandler)

// staged is a target that says which stages it has.
type staged struct {
	deadletter.Target
	stages []string
}

func (s staged) Stages() []string { return s.stages }

// redriving runs f in a bubble with a Redriver at work.
func redriving(t *testing.T, handle func(context.Context, deadletter.Letter) error, config deadletter.RedriverConfig,
	f func(t *testing.T, s *deadletter.Memory, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		config.Logger = quiet
		r := deadletter.NewRedriver(s, staged{deadlettertest.NewTarget(s, 0, handle), []string{"charge"}}, config)
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
		})
		stop := func() { cancel(); ended.Wait() }
		defer stop()
		f(t, s, stop)
	})
}

func request(t *testing.T, s deadletter.RedriveStore, o deadletter.Operation) deadletter.Operation {
	t.Helper()
	all, err := deadletter.RequestRedrive(t.Context(), s, o)
	if err != nil || len(all) != 1 {
		t.Fatalf("RequestRedrive = %+v, %v", all, err)
	}
	return all[0]
}

func stored(t *testing.T, s deadletter.Operations, id string) deadletter.Operation {
	t.Helper()
	o, err := s.Operation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func wantOperation(t *testing.T, o deadletter.Operation, state deadletter.OperationState, selected, succeeded, failed, blocked, untouched int) {
	t.Helper()
	if o.State != state || o.Selected != selected || o.Succeeded != succeeded || o.Failed != failed ||
		o.Blocked != blocked || o.Untouched != untouched {
		t.Errorf("operation %+v\nwant %s: selected %d, succeeded %d, failed %d, blocked %d, untouched %d",
			o, state, selected, succeeded, failed, blocked, untouched)
	}
}

func unless(bad ...string) func(context.Context, deadletter.Letter) error {
	return func(_ context.Context, l deadletter.Letter) error {
		if slices.Contains(bad, l.EventID) {
			return errors.New("bad")
		}
		return nil
	}
}

func TestX10_ARunningProgramDoesWhatOthersAskedFor(t *testing.T) {
	redriving(t, unless("a2"), deadletter.RedriverConfig{Rate: 1}, func(t *testing.T, s *deadletter.Memory, _ func()) {
		put(t, s, "a/a1", "a/a2", "a/a3", "b/b1")
		time.Sleep(time.Hour) // it asks and asks
		o := request(t, s, deadletter.Operation{Who: "ann", Why: "mended"})
		wantOperation(t, o, deadletter.OperationRequested, 4, 0, 0, 0, 0)
		started := time.Now()
		for stored(t, s, o.ID).Open() {
			time.Sleep(time.Second)
		}
		o = stored(t, s, o.ID)
		wantOperation(t, o, deadletter.OperationFinished, 4, 2, 1, 1, 0)
		if o.Gone() != 0 || o.Starts != 1 || o.Stopped != deadletter.StoppedFinished {
			t.Errorf("gone %d, starts %d, %s", o.Gone(), o.Starts, o.Stopped)
		}
		if took := time.Since(started); took < 2*time.Second || took > 12*time.Second {
			t.Errorf("3 letters at one a second, asked for each 5 s, took %v", took)
		}
		for f := range s.OperationFailures(t.Context(), o.ID) {
			l, err := s.Get(t.Context(), f.ID)
			if err != nil || l.EventID != "a2" || f.Error != "bad" || l.Notes[0].Who != "ann" || l.Redrives != 1 {
				t.Errorf("failure %+v of %+v, %v", f, l, err)
			}
		}
	})
}

func TestX10_AnOperationTakesWhatWasThereWhenItWasAskedFor(t *testing.T) {
	redriving(t, unless("a1"), deadletter.RedriverConfig{}, func(t *testing.T, s *deadletter.Memory, _ func()) {
		put(t, s, "a/a1")
		o := request(t, s, deadletter.Operation{})
		time.Sleep(time.Millisecond)
		put(t, s, "b/b1", "a/a2")
		time.Sleep(time.Minute)
		wantOperation(t, stored(t, s, o.ID), deadletter.OperationFinished, 1, 0, 1, 0, 0)
		wantLeft(t, s, "a1", "b1", "a2")
		all, err := deadletter.RequestRedrive(t.Context(), s, deadletter.Operation{Filter: deadletter.Filter{Stage: "none"}})
		if err != nil || len(all) != 0 {
			t.Errorf("RequestRedrive of nothing = %+v, %v", all, err)
		}
	})
}

func wantLeft(t *testing.T, s deadletter.Store, want ...string) {
	t.Helper()
	var got []string
	for l, err := range s.List(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l.EventID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
}

func TestX10_AnOperationIsTakenByWhoHasItsStage(t *testing.T) {
	redriving(t, unless(), deadletter.RedriverConfig{}, func(t *testing.T, s *deadletter.Memory, _ func()) {
		put(t, s, "a/a1")
		l := deadletter.Letter{Stage: "ship", Key: "x", Ordered: true, Holds: true, EventID: "s1"}
		if _, err := s.Put(t.Context(), &l); err != nil {
			t.Fatal(err)
		}
		all, err := deadletter.RequestRedrive(t.Context(), s, deadletter.Operation{})
		if err != nil || len(all) != 2 || all[0].Filter.Stage != "charge" || all[1].Filter.Stage != "ship" {
			t.Fatalf("RequestRedrive = %+v, %v", all, err)
		}
		time.Sleep(time.Minute)
		wantOperation(t, stored(t, s, all[0].ID), deadletter.OperationFinished, 1, 1, 0, 0, 0)
		wantOperation(t, stored(t, s, all[1].ID), deadletter.OperationRequested, 1, 0, 0, 0, 0)
		wantLeft(t, s, "s1")
	})
}

// TestX10_X5_AnOperationOfADeadProcessIsTakenUp plays a process that took an operation and a sequence, had a
// letter succeed and another fail, and died.
func TestX10_X5_AnOperationOfADeadProcessIsTakenUp(t *testing.T) {
	var tried []string
	redriving(t, func(_ context.Context, l deadletter.Letter) error {
		tried = append(tried, l.EventID)
		return nil
	}, deadletter.RedriverConfig{Lease: 10 * time.Second}, func(t *testing.T, s *deadletter.Memory, _ func()) {
		put(t, s, "a/a1", "a/a2", "a/a3", "b/b1", "b/b2")
		o, err := s.AddOperation(t.Context(), deadletter.Operation{Selected: 5, Filter: deadletter.Filter{Stage: "charge"}},
			"dead", 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		claim := func(key string) deadletter.Claim {
			c, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: key}, "dead", 30*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			c.Operation = o.ID
			return c
		}
		a, b := claim("a"), claim("b")
		first, err1 := s.Head(t.Context(), a)
		err = errors.Join(err1, s.Resolve(t.Context(), a, first.ID))
		second, err2 := s.Head(t.Context(), a)
		err = errors.Join(err, err2, s.Fail(t.Context(), a, second.ID, deadletter.Failure{Error: "x"}))
		if err != nil || b.Token == 0 {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		wantOperation(t, stored(t, s, o.ID), deadletter.OperationRunning, 5, 1, 1, 0, 0)
		time.Sleep(45 * time.Second)
		got := stored(t, s, o.ID)
		wantOperation(t, got, deadletter.OperationFinished, 5, 3, 1, 1, 0)
		if want := []string{"b1", "b2"}; !slices.Equal(tried, want) || got.Starts != 2 || got.Gone() != 0 {
			t.Errorf("taken up %d times, it tried %q, want %q; %d are gone", got.Starts, tried, want, got.Gone())
		}
	})
}

func TestX10_X8_ACancelledOperationStopsBetweenLetters(t *testing.T) {
	redriving(t, unless(), deadletter.RedriverConfig{}, func(t *testing.T, s *deadletter.Memory, _ func()) {
		put(t, s, "a/a1", "a/a2", "a/a3", "a/a4", "a/a5", "a/a6", "a/a7", "a/a8", "a/a9")
		o := request(t, s, deadletter.Operation{Rate: 0.2})
		time.Sleep(20 * time.Second)
		if changed, err := s.CancelOperation(t.Context(), o.ID, deadletter.Note{Who: "bob"}); !changed || err != nil {
			t.Fatal(changed, err)
		}
		time.Sleep(2 * time.Second)
		before := stored(t, s, o.ID)
		time.Sleep(time.Hour)
		o = stored(t, s, o.ID)
		if o.State != deadletter.OperationCancelled || o.Succeeded == 0 || o.Succeeded > 5 || o.Succeeded != before.Succeeded {
			t.Errorf("cancelled: %+v", o)
		}
		if l, err := s.Stats(t.Context()); err != nil || l.Active != 9-o.Succeeded {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func TestX10_AShutdownGivesTheOperationBack(t *testing.T) {
	redriving(t, unless(), deadletter.RedriverConfig{}, func(t *testing.T, s *deadletter.Memory, stop func()) {
		put(t, s, "a/a1", "a/a2", "a/a3", "a/a4")
		o := request(t, s, deadletter.Operation{Rate: 0.1, Limit: 3})
		for stored(t, s, o.ID).Succeeded < 2 {
			time.Sleep(time.Second)
		}
		stop()
		other := deadletter.NewRedriver(s, deadlettertest.NewTarget(s, 0, unless()), deadletter.RedriverConfig{Logger: quiet})
		done, err := other.Once(t.Context())
		if err != nil || len(done) != 1 {
			t.Fatalf("Once = %+v, %v", done, err)
		}
		wantOperation(t, done[0], deadletter.OperationFinished, 4, 3, 0, 0, 1)
		if done[0].Starts != 2 || done[0].Stopped != deadletter.StoppedLimit {
			t.Errorf("starts %d, %s", done[0].Starts, done[0].Stopped)
		}
	})
}

// TestX10_WhatIsGivenBackIsTakenAgainAfterTheInterval: there are more operations than are done at once, of a target
// that is stopping.
func TestX10_WhatIsGivenBackIsTakenAgainAfterTheInterval(t *testing.T) {
	var tries atomic.Int64
	interrupted := func(ctx context.Context, _ deadletter.Letter) error {
		if tries.Add(1) > 1000 { // without a pause the minute would never be over
			<-ctx.Done()
		}
		return deadletter.ErrInterrupted
	}
	config := deadletter.RedriverConfig{Interval: 5 * time.Second, Operations: 2}
	redriving(t, interrupted, config, func(t *testing.T, s *deadletter.Memory, stop func()) {
		var all []deadletter.Operation
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			put(t, s, key+"/"+key)
			all = append(all, request(t, s, deadletter.Operation{Filter: deadletter.Filter{Key: &key}}))
		}
		time.Sleep(time.Minute)
		stop()
		starts := 0
		for _, o := range all {
			starts += stored(t, s, o.ID).Starts
		}
		if starts < 2 || starts > 2*(60/5+1) {
			t.Errorf("taken %d times in a minute, two at once, want that the interval of 5 s is kept", starts)
		}
	})
}

// TestX10_WhatPerformLeavesOfOneStageIsTakenUp: an operation that names no stage is for nobody who names those that he
// has.
func TestX10_WhatPerformLeavesOfOneStageIsTakenUp(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "a/a1", "b/b1", "c/c1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	redriver := func(handle func(context.Context, deadletter.Letter) error) *deadletter.Redriver {
		return deadletter.NewRedriver(s, staged{deadlettertest.NewTarget(s, 0, handle), []string{"charge"}}, deadletter.RedriverConfig{Logger: quiet})
	}
	o, err := redriver(func(_ context.Context, l deadletter.Letter) error {
		if l.EventID == "b1" {
			cancel()
			return deadletter.ErrInterrupted
		}
		return nil
	}).Perform(ctx, deadletter.Operation{Who: "me"})
	if err == nil || !stored(t, s, o.ID).Open() {
		t.Fatalf("Perform = %+v, %v, want it given back", o, err)
	}
	if done, err := redriver(unless()).Once(t.Context()); err != nil || len(done) != 1 || done[0].ID != o.ID {
		t.Fatalf("Once = %+v, %v, want the operation taken up", done, err)
	}
	wantOperation(t, stored(t, s, o.ID), deadletter.OperationFinished, 3, 3, 0, 0, 0)
}

// TestX10_AProgressThatPanicsKeepsNoLease: nobody is at work, so nobody renews, and another takes the operation up.
func TestX10_AProgressThatPanicsKeepsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		put(t, s, "a/a1", "b/b1")
		target := deadlettertest.NewTarget(s, 0, unless())
		func() {
			defer func() {
				if p := recover(); p != "progress" {
					t.Errorf("recovered %v", p)
				}
			}()
			config := deadletter.RedriverConfig{Logger: quiet, Progress: func(deadletter.Operation, deadletter.Progress) { panic("progress") }}
			_, _ = deadletter.NewRedriver(s, target, config).Perform(t.Context(), deadletter.Operation{})
			t.Error("Perform returned")
		}()
		time.Sleep(time.Minute)
		done, err := deadletter.NewRedriver(s, target, deadletter.RedriverConfig{Logger: quiet}).Once(t.Context())
		if err != nil || len(done) != 1 || done[0].State != deadletter.OperationFinished {
			t.Errorf("Once = %+v, %v, want the operation taken up", done, err)
		}
	})
}

// TestX1_ARequestSharesItsLimitAndRateOverStages: there is an operation for each stage, and they are done at once.
func TestX1_ARequestSharesItsLimitAndRateOverStages(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "a/1", "b/2", "c/3")
	for _, id := range []string{"4", "5", "6", "7", "8", "9"} {
		if _, err := s.Put(t.Context(), &deadletter.Letter{Stage: "ship", EventID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		limit int
		want  []deadletter.Operation // by stage: charge, ship
	}{
		"no limit":             {0, []deadletter.Operation{{Rate: 3}, {Rate: 6}}},
		"enough for the first": {3, []deadletter.Operation{{Limit: 3, Rate: 3}}},
		"less than the first":  {2, []deadletter.Operation{{Limit: 2, Rate: 3}}},
		"some of the second":   {5, []deadletter.Operation{{Limit: 3, Rate: 3}, {Limit: 2, Rate: 6}}},
		"more than there are":  {50, []deadletter.Operation{{Limit: 3, Rate: 3}, {Limit: 6, Rate: 6}}},
	} {
		all, err := deadletter.RequestRedrive(t.Context(), s, deadletter.Operation{Limit: c.limit, Rate: 9})
		if err != nil {
			t.Fatal(err)
		}
		same := func(got, want deadletter.Operation) bool { return got.Limit == want.Limit && got.Rate == want.Rate }
		if !slices.EqualFunc(all, c.want, same) {
			t.Errorf("%s: %+v, want the limits and rates of %+v", name, all, c.want)
		}
	}
}

func TestX10_ATargetThatRecordsNothingIsListed(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "a/a1", "a/a2")
	refuse := target(func(context.Context, deadletter.Letter, deadletter.Claim) error { return deadletter.ErrNoStage })
	o, err := deadletter.NewRedriver(s, refuse, deadletter.RedriverConfig{Logger: quiet}).Perform(t.Context(), deadletter.Operation{Who: "me"})
	if err != nil {
		t.Fatal(err)
	}
	wantOperation(t, o, deadletter.OperationFinished, 2, 0, 1, 1, 0)
	if o.Who != "me" || o.Gone() != 0 {
		t.Errorf("%+v", o)
	}
}

type target func(context.Context, deadletter.Letter, deadletter.Claim) error

func (f target) Redrive(ctx context.Context, l deadletter.Letter, c deadletter.Claim) error {
	return f(ctx, l, c)
}

// broken is a store that fails to give operations for a while.
type broken struct {
	*deadletter.Memory
	until time.Time
}

func (b broken) TakeOperation(ctx context.Context, owner string, stages []string, lease time.Duration) (deadletter.Operation, error) {
	if time.Now().Before(b.until) {
		return deadletter.Operation{}, errors.New("down")
	}
	return b.Memory.TakeOperation(ctx, owner, stages, lease)
}

func TestX10_AStoreThatFailsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := broken{deadletter.NewMemory(), time.Now().Add(time.Minute)}
		put(t, s.Memory, "a/a1")
		o := request(t, s, deadletter.Operation{})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var ended []deadletter.Operation
		r := deadletter.NewRedriver(s, deadlettertest.NewTarget(s, 0, unless()), deadletter.RedriverConfig{
			Logger: quiet, Ended: func(o deadletter.Operation, _ error) { ended = append(ended, o) },
		})
		if _, err := r.Once(ctx); err == nil {
			t.Error("Once = nil of a store that is down")
		}
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		wantOperation(t, stored(t, s, o.ID), deadletter.OperationFinished, 1, 1, 0, 0, 0)
		if len(ended) != 1 || ended[0].ID != o.ID {
			t.Errorf("Ended was told of %+v", ended)
		}
	})
}
