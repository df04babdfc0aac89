package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// Topics that crates pass through one after the other.
var (
	weighed = event.NewTopic("weighed", event.KeyBy(func(c crate) string { return c.Key }))
	sealed  = event.NewTopic("sealed", event.KeyBy(func(c crate) string { return c.Key }))
	shipped = event.NewTopic("shipped", event.KeyBy(func(c crate) string { return c.Key }))
)

// carries is a handler of Map that passes its payload on after a while.
func carries(d time.Duration) func(context.Context, event.Event[crate]) (crate, error) {
	return func(_ context.Context, e event.Event[crate]) (crate, error) {
		time.Sleep(d)
		return e.Payload, nil
	}
}

// begin makes the pipeline stop, in the background, and waits until it has begun to.
func (y *yard) begin() <-chan error {
	over := make(chan error, 1)
	go func() { over <- y.Stop() }()
	synctest.Wait()
	return over
}

// wantLeft checks the events that Run handed back: "state id" of each, those of a key in their order.
func (y *yard) wantLeft(err error, want map[string][]string) {
	y.t.Helper()
	_ = y.left(err, want)
}

// left is wantLeft, for a closer look.
func (y *yard) left(err error, want map[string][]string) *pipeline.UnfinishedError {
	y.t.Helper()
	var left *pipeline.UnfinishedError
	if !errors.As(err, &left) || !errors.Is(err, pipeline.ErrUnfinished) {
		y.t.Fatalf("Run = %v, want an UnfinishedError", err)
	}
	got := map[string][]string{}
	for _, u := range left.Events {
		got[u.Meta.Key] = append(got[u.Meta.Key], u.State+" "+u.Meta.ID())
		if c, ok := u.Payload.(crate); !ok || c.id() != u.Meta.ID() {
			y.t.Errorf("event %s is handed back with the payload %+v", u.Meta.ID(), u.Payload)
		}
	}
	for key := range got {
		if !slices.Equal(got[key], want[key]) {
			y.t.Errorf("key %s: handed back %q, want %q", key, got[key], want[key])
		}
	}
	for key := range want {
		if got[key] == nil {
			y.t.Errorf("key %s: nothing handed back, want %q", key, want[key])
		}
	}
	return left
}

// TestS1_NothingIsLostOnTheWayDown: events pass through three stages, each slower than the one before
// it, and the shutdown begins when all but the first are empty. All arrive, in order.
func TestS1_NothingIsLostOnTheWayDown(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				opts := []stage.Option{stage.Workers(workers), stage.Buffer(4)}
				y := runYard(t, pipeline.Config{Grace: 24 * time.Hour},
					stage.Map(crates, "weigh", weighed, carries(time.Second), append(opts, stage.Buffer(100))...),
					stage.Map(weighed, "seal", sealed, carries(time.Minute), opts...),
					stage.Map(sealed, "ship", shipped, carries(10*time.Minute), opts...),
					stage.Handle(shipped, "sign", takes(time.Second), opts...))
				for n := range 60 {
					y.put([]string{"a", "b", "c", "d"}[n%4], n)
				}
				over := y.begin()
				if err := y.pub.Publish(t.Context(), crate{"a", 99}); !errors.Is(err, pipeline.ErrClosed) {
					t.Errorf("Publish while it drains = %v, want %v", err, pipeline.ErrClosed)
				}
				if err := <-over; err != nil {
					t.Errorf("Run = %v, want nil", err)
				}
				if err := y.rec.CheckRest(); err != nil {
					t.Error(err)
				}
				last := map[string]int{}
				for _, s := range []string{"weigh", "seal", "ship", "sign"} {
					if n := y.stageOf(s).Done; n != 60 {
						t.Errorf("%s: %d done, want 60", s, n)
					}
				}
				for _, e := range y.rec.Settled("sign") {
					if int(e.Seq) <= last[e.Key] {
						t.Errorf("key %s: event %d after %d", e.Key, e.Seq, last[e.Key])
					}
					last[e.Key] = int(e.Seq)
				}
			})
		})
	}
}

// TestS1_RestIsNotMistaken: the drain looks at one stage after the other. While it is at the second, which is
// slow to look at for its many held keys, events pass from the third, which it has not yet looked at, to the
// first, which it found at rest.
func TestS1_RestIsNotMistaken(t *testing.T) {
	rounds, held := 5, 30_000
	if underRace {
		rounds, held = 2, 3000
	}
	unrecorded := pipeline.Observer{Settled: func(*stage.Delivery, stage.Outcome, error) {}}
	spin := func(d time.Duration) {
		for began := time.Now(); time.Since(began) < d; {
			runtime.Gosched()
		}
	}
	for range rounds {
		y := newYard(t, pipeline.Config{Observer: unrecorded},
			stage.Handle(weighed, "sign", func(context.Context, event.Event[crate]) error {
				spin(time.Millisecond)
				return nil
			}, stage.Workers(1)),
			stage.Handle(sealed, "decoy", yields(stage.Hold(errDamaged)), stage.Buffer(2*held)),
			stage.Expand(crates, "split", weighed, func(_ context.Context, e event.Event[crate]) ([]crate, error) {
				spin(10 * time.Millisecond)
				return cratesOf(e.Key, 5), nil
			}))
		decoys := pipeline.NewPublisher(y.p, sealed)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- y.p.Run(ctx) }()
		for n := range held {
			if err := decoys.Publish(t.Context(), crate{strconv.Itoa(n), n}); err != nil {
				t.Fatal(err)
			}
		}
		for y.stageOf("decoy").Held < held {
			runtime.Gosched()
		}
		y.put("a", 1)
		cancel()
		var err error
		for ended := false; !ended; {
			select {
			case err = <-over:
				ended = true
			default:
				_ = y.p.Resume("decoy") // makes the drain look
				runtime.Gosched()
			}
		}
		var left *pipeline.UnfinishedError
		if !errors.As(err, &left) || len(left.Events) != held || y.stageOf("sign").Done != 5 {
			t.Fatalf("Run = %v with %d signed, want the %d held events alone to be left", err, y.stageOf("sign").Done, held)
		}
	}
}

// TestS1_HandlersMayStillPublish: with a publisher of their own, from topic to topic and back, while those
// outside are refused.
func TestS1_HandlersMayStillPublish(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var y *yard
		var onward event.Publisher[crate]
		y = newYard(t, pipeline.Config{}, loading(func(ctx context.Context, e event.Event[crate]) error {
			time.Sleep(time.Second)
			if e.Payload.N < 5 { // its own topic and key
				return errors.Join(y.pub.Publish(ctx, crate{e.Key, e.Payload.N + 1}), onward.Publish(ctx, e.Payload))
			}
			return onward.Publish(ctx, e.Payload)
		}), stage.Handle(weighed, "weigh", takes(time.Second)))
		onward = pipeline.NewPublisher(y.p, weighed)
		y.start()
		y.put("a", 0)
		over := y.begin()
		if err := y.pub.Publish(t.Context(), crate{"b", 0}); !errors.Is(err, pipeline.ErrClosed) {
			t.Errorf("Publish from outside = %v, want %v", err, pipeline.ErrClosed)
		}
		if err := <-over; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		y.wantIDs("done", y.ended("load", stage.OutcomeDone), "a0", "a1", "a2", "a3", "a4", "a5")
		if n := y.stageOf("weigh").Done; n != 6 {
			t.Errorf("%d events of the second topic are done, want 6", n)
		}
	})
}

// TestS1_WaitingPublishersAreRefused: one that waits for room when the intake closes gets ErrClosed, and a
// handler that waits gets its room.
func TestS1_WaitingPublishersAreRefused(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var onward event.Publisher[crate]
		y := newYard(t, pipeline.Config{Grace: time.Hour}, loading(func(ctx context.Context, e event.Event[crate]) error {
			return onward.Publish(ctx, e.Payload)
		}), stage.Handle(weighed, "weigh", takes(time.Minute), stage.Workers(1), stage.Buffer(1)))
		onward = pipeline.NewPublisher(y.p, weighed)
		y.start()
		y.put("a", 0)
		synctest.Wait()
		y.put("a", 1)
		synctest.Wait()
		y.put("a", 2) // its handler waits
		refused := make(chan error, 1)
		go func() { refused <- onward.Publish(t.Context(), crate{"b", 0}) }()
		synctest.Wait()
		over := y.begin()
		select {
		case err := <-refused:
			if !errors.Is(err, pipeline.ErrClosed) {
				t.Errorf("Publish that waited = %v, want %v", err, pipeline.ErrClosed)
			}
		default:
			t.Error("a publisher still waits although the intake has closed")
		}
		if err := <-over; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if n := y.stageOf("weigh").Done; n != 3 {
			t.Errorf("%d done, want 3", n)
		}
	})
}

// TestS1_OnDrain is what becomes of a parked event and of the one behind it, under each policy.
func TestS1_OnDrain(t *testing.T) {
	// The first attempt asks for another in an hour. What further ones do, the case says.
	failing := func(attempts *atomic.Int64, then error) crateHandler {
		return func(_ context.Context, e event.Event[crate]) error {
			if e.Payload.N == 1 && attempts.Add(1) == 1 {
				return stage.RetryAfter(time.Hour, errDamaged)
			}
			if e.Payload.N == 1 {
				return then
			}
			return nil
		}
	}
	cases := []struct {
		name     string
		policy   stage.DrainPolicy
		then     error
		attempts int64
		took     time.Duration
		outcome  stage.Outcome
	}{
		{"wait until due", stage.WaitUntilDue, nil, 2, time.Hour, stage.OutcomeDone},
		{"wait until due, and fail", stage.WaitUntilDue, errDamaged, 2, time.Hour, stage.OutcomeFailed},
		{"try once", stage.TryOnce, nil, 2, 0, stage.OutcomeDone},
		{"try once, and fail", stage.TryOnce, errDamaged, 2, 0, stage.OutcomeFailed},
		{"give up", stage.GiveUp, nil, 1, 0, stage.OutcomeFailed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				var attempts atomic.Int64
				y := runYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(failing(&attempts, c.then), stage.OnDrain(c.policy)))
				y.put("a", 1, 2)
				y.put("b", 3)
				synctest.Wait()
				began := time.Now()
				if err := y.Stop(); err != nil {
					t.Errorf("Run = %v, want nil", err)
				}
				if took := time.Since(began); took != c.took || attempts.Load() != c.attempts {
					t.Errorf("the drain took %v and %d attempts, want %v and %d", took, attempts.Load(), c.took, c.attempts)
				}
				pipelinetest.ExpectOutcome(t, y.rec, "load", "a1", c.outcome)
				pipelinetest.ExpectOutcome(t, y.rec, "load", "a2", stage.OutcomeDone)
				if err := y.rec.CheckRest(); err != nil {
					t.Error(err)
				}
				if c.outcome == stage.OutcomeFailed {
					last := y.rec.Settled("load").Filter(func(e pipelinetest.Entry) bool { return e.ID == "a1" })
					if !errors.Is(last[0].Err, errDamaged) {
						t.Errorf("it failed with %v, want what its attempt failed with", last[0].Err)
					}
				}
			})
		})
	}
}

// TestS1_AnEventThatIsGivenUpSaysWhatItWaitedFor: one that was postponed has not failed, and its error is what it
// waited for.
func TestS1_AnEventThatIsGivenUpSaysWhatItWaitedFor(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Hour}, loading(func(context.Context, event.Event[crate]) error {
			return stage.Postpone(time.Hour, errDamaged)
		}, stage.OnDrain(stage.GiveUp)))
		y.put("a", 1)
		synctest.Wait()
		if err := y.Stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if last := y.rec.Settled("load"); len(last) != 1 || !errors.Is(last[0].Err, errDamaged) {
			t.Errorf("it settled as %v, want %v", last, errDamaged)
		}
	})
}

// TestS1_AnAttemptThatParksWhileTheDrainBegins: what its policy says of parked events goes for that one too.
func TestS1_AnAttemptThatParksWhileTheDrainBegins(t *testing.T) {
	for _, policy := range []stage.DrainPolicy{stage.TryOnce, stage.GiveUp, stage.Return} {
		t.Run(policy.String(), func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				const slow = 10 * time.Millisecond
				y := runYard(t, pipeline.Config{Grace: 24 * time.Hour, Observer: pipeline.Observer{
					Parked:  func(*stage.Delivery, stage.Verdict) { time.Sleep(slow) }, // the drain begins meanwhile
					Settled: func(*stage.Delivery, stage.Outcome, error) {},
				}}, loading(retriesIn(time.Hour), stage.OnDrain(policy)))
				y.put("a", 1)
				synctest.Wait()
				began := time.Now()
				_ = y.Stop()
				if took := time.Since(began); took != slow {
					t.Errorf("the drain took %v, want the %v of the observer", took, slow)
				}
				s := y.stageOf("load")
				if got := map[stage.DrainPolicy]uint64{stage.TryOnce: s.Done, stage.GiveUp: s.Failed, stage.Return: s.Returned}; got[policy] != 1 {
					t.Errorf("figures = %+v, want it ended as %v says", s, policy)
				}
			})
		})
	}
}

// TestS1_OnDrainReturn hands a parked event back in the error, untried, with the attempts it has had, and
// the one behind it, which may not overtake it.
func TestS1_OnDrainReturn(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var attempts atomic.Int64
		y := runYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(func(_ context.Context, e event.Event[crate]) error {
			if e.Payload.N == 1 {
				attempts.Add(1)
				return stage.RetryAfter(time.Hour, errDamaged)
			}
			return nil
		}, stage.OnDrain(stage.Return)))
		y.put("a", 1, 2)
		y.put("b", 2)
		synctest.Wait()
		began := time.Now()
		left := y.left(y.Stop(), map[string][]string{"a": {"parked a1", "queued a2"}})
		if took := time.Since(began); took != 0 || attempts.Load() != 1 {
			t.Errorf("the drain took %v and %d attempts, want none and 1", took, attempts.Load())
		}
		if n := left.Events[0].Attempts; n != 1 {
			t.Errorf("the event is handed back with %d attempts, want 1", n)
		}
		if s := y.stageOf("load"); s.Returned != 2 || s.Done != 1 {
			t.Errorf("%d returned, %d done, want 2 and 1", s.Returned, s.Done)
		}
	})
}

// TestS2_NilMeansNothingLeft: after a run that ended with nil, the figures add up and no goroutine is
// left over.
func TestS2_NilMeansNothingLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	y := runYard(t, pipeline.Config{}, stage.Map(crates, "weigh", weighed, carries(0), stage.Workers(8)),
		stage.Handle(weighed, "load", pass, stage.Workers(8)))
	for n := range 1000 {
		y.put(fmt.Sprint(n%17), n)
	}
	if err := y.Stop(); err != nil {
		t.Fatalf("Run = %v, want nil", err)
	}
	if err := y.p.Snapshot().Sum(true); err != nil {
		t.Error(err)
	}
	if err := y.rec.CheckRest(); err != nil {
		t.Error(err)
	}
	for i := 0; runtime.NumGoroutine() > before && i < 1_000_000; i++ {
		runtime.Gosched() // Run has returned; whoever called it may not have
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, before there were %d", n, before)
	}
}

// TestS3_ForcedHandsBackWhatIsLeft: the grace ends while a handler waits, events are queued behind it, one is
// parked and one is held.
func TestS3_ForcedHandsBackWhatIsLeft(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		causes := make(chan error, 1)
		y := runYard(t, pipeline.Config{Grace: time.Minute, Linger: time.Second}, loading(func(ctx context.Context, e event.Event[crate]) error {
			switch e.Payload.id() {
			case "a1":
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return ctx.Err()
			case "b1":
				return stage.RetryAfter(time.Hour, errDamaged)
			case "c1":
				return stage.Hold(errDamaged)
			}
			return nil
		}, stage.Workers(2)))
		y.put("a", 1, 2, 3)
		y.put("b", 1, 2)
		y.put("c", 1, 2)
		y.put("d", 1, 2)
		synctest.Wait()
		began := time.Now()
		err := y.Stop()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the shutdown took %v, want the grace of a minute: the handler obeys its context", took)
		}
		if cause := <-causes; !errors.Is(cause, pipeline.ErrShutdown) {
			t.Errorf("the handler's context ended with %v, want %v", cause, pipeline.ErrShutdown)
		}
		left := y.left(err, map[string][]string{
			"a": {"queued a1", "queued a2", "queued a3"},
			"b": {"parked b1", "queued b2"},
			"c": {"held c1", "queued c2"},
		})
		if len(left.Stuck) != 0 {
			t.Errorf("stuck are %v, want none", left.Stuck)
		}
		for _, u := range left.Events {
			if want := map[string]int{"b1": 1}[u.Meta.ID()]; u.Attempts != want || u.Stage != "load" {
				t.Errorf("event %s of stage %s: %d attempts had failed, want %d", u.Meta.ID(), u.Stage, u.Attempts, want)
			}
		}
		s := y.stageOf("load")
		if s.Returned != 7 || s.Done != 2 || s.DeadLettered+s.Failed != 0 {
			t.Errorf("figures = %+v, want 7 returned, 2 done, and no failure", s)
		}
		if err := s.Sum(true); err != nil {
			t.Error(err)
		}
		if text := err.Error(); !strings.Contains(text, "7 events are unfinished: 5 queued, 1 parked, 1 held") {
			t.Errorf("the error reads %q", text)
		}
	})
}

// TestS3_StuckHandlersAreNamed: handlers that ignore their context, in two stages. Run returns after
// the grace and the linger with their events marked as running, and what they decide later changes nothing.
func TestS3_StuckHandlersAreNamed(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Minute, Linger: time.Second},
			stage.Handle(crates, "weigh", takes(24*time.Hour), stage.Workers(1)),
			stage.Handle(crates, "seal", waits),
			stage.Handle(crates, "load", takes(24*time.Hour), stage.Workers(1)))
		y.put("a", 1, 2)
		began := time.Now()
		err := y.Stop()
		if took := time.Since(began); took != time.Minute+time.Second {
			t.Errorf("the shutdown took %v, want the grace and the linger", took)
		}
		left := y.left(err, map[string][]string{"a": {
			"running a1", "queued a2", "queued a1", "queued a2", "running a1", "queued a2",
		}})
		if want := []string{"weigh", "load"}; !slices.Equal(left.Stuck, want) {
			t.Errorf("stuck are %v, want %v", left.Stuck, want)
		}
		before := y.p.Snapshot().Stages
		time.Sleep(25 * time.Hour) // the handlers come back
		for i, s := range y.p.Snapshot().Stages {
			if s.Returned != 2 || s.Done != before[i].Done || s.Sum(true) != nil {
				t.Errorf("%s: the figures were %+v and are %+v", s.Name, before[i], s)
			}
		}
	})
}

// TestS3_NothingIsWrittenByAShutdown: no attempt is counted for what a shutdown interrupts, and neither
// failure nor dead letter comes of it, whatever error the handler returns.
func TestS3_NothingIsWrittenByAShutdown(t *testing.T) {
	for name, answer := range map[string]func(context.Context) error{
		"the context's error": func(ctx context.Context) error { return ctx.Err() },
		"the cause":           context.Cause,
		"an error of its own": func(context.Context) error { return errDamaged },
		"a permanent one":     func(context.Context) error { return stage.Permanent(errDamaged) },
		"a request to retry":  func(context.Context) error { return stage.RetryAfter(time.Hour, errDamaged) },
		"a hold":              func(context.Context) error { return stage.Hold(errDamaged) },
		"a panic":             func(context.Context) error { panic("interrupted") },
		"a goexit":            func(context.Context) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				var unhandled atomic.Int64
				y := runYard(t, pipeline.Config{Grace: time.Minute, OnUnhandled: func(*stage.Delivery, error) { unhandled.Add(1) }},
					loading(func(ctx context.Context, _ event.Event[crate]) error {
						<-ctx.Done()
						return answer(ctx)
					}))
				y.put("a", 1, 2)
				left := y.left(y.Stop(), map[string][]string{"a": {"queued a1", "queued a2"}})
				if n := left.Events[0].Attempts; n != 0 {
					t.Errorf("%d attempts had failed, want none", n)
				}
				if s := y.stageOf("load"); s.Returned != 2 || s.Failed+s.Retries != 0 || unhandled.Load() != 0 {
					t.Errorf("figures = %+v and %d unhandled, want two returned and nothing else", s, unhandled.Load())
				}
			})
		})
	}
}

// TestS3_ShutdownIsForcedWhenItsContextEnds, however long the grace.
func TestS3_ShutdownIsForcedWhenItsContextEnds(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(waits))
		y.put("a", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := y.p.Shutdown(ctx)
		if took := time.Since(began); took != time.Second || !errors.Is(err, pipeline.ErrUnfinished) {
			t.Errorf("Shutdown = %v after %v, want an UnfinishedError after its context's second", err, took)
		}
		_ = y.Wait()
	})
}

// TestS4_ShutdownIsTheSameForAll: from many goroutines at once and again afterwards, each gets what Run
// returned.
func TestS4_ShutdownIsTheSameForAll(t *testing.T) {
	for name, handle := range map[string]crateHandler{"nil": takes(time.Second), "unfinished": waits} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				y := runYard(t, pipeline.Config{Grace: time.Minute}, loading(handle))
				y.put("a", 1)
				var group sync.WaitGroup
				errs := make([]error, 50)
				for i := range errs {
					group.Go(func() { errs[i] = y.p.Shutdown(t.Context()) })
				}
				group.Wait()
				want := y.Wait()
				if (want == nil) != (name == "nil") {
					t.Errorf("Run = %v, want %s", want, name)
				}
				for _, err := range append(errs, y.p.Shutdown(t.Context())) {
					if err != want { //nolint:errorlint // the very same
						t.Errorf("Shutdown = %v, want what Run returned, %v", err, want)
					}
				}
				if state := y.p.Snapshot().State; state != "ended" {
					t.Errorf("state = %s, want ended", state)
				}
			})
		})
	}
}

// TestS4_ShutdownFromAHandler begins the shutdown and comes back at once; the handler ends, and so does Run.
func TestS4_ShutdownFromAHandler(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var p *pipeline.Pipeline
		var got error
		y := newYard(t, pipeline.Config{}, loading(func(ctx context.Context, _ event.Event[crate]) error {
			got = p.Shutdown(ctx)
			return nil
		}, stage.Workers(1)))
		p = y.p
		y.start()
		began := time.Now()
		y.put("a", 1)
		if err := y.Wait(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if !errors.Is(got, pipeline.ErrInHandler) || time.Since(began) != 0 {
			t.Errorf("Shutdown in the handler = %v after %v, want %v at once", got, time.Since(began), pipeline.ErrInHandler)
		}
		if s := y.stageOf("load"); s.Done != 1 {
			t.Errorf("%d done, want the event that shut down", s.Done)
		}
	})
}

// TestS4_ShutdownBeforeRun closes the pipeline and hands back what is queued in it; Run then refuses.
func TestS4_ShutdownBeforeRun(t *testing.T) {
	for range 20 { // a choice by chance would show
		y := newYard(t, pipeline.Config{}, loading(pass))
		y.put("a", 1, 2)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		y.wantLeft(y.p.Shutdown(ended), map[string][]string{"a": {"queued a1", "queued a2"}})
		if err := y.pub.Publish(t.Context(), crate{"a", 3}); !errors.Is(err, pipeline.ErrClosed) {
			t.Errorf("Publish = %v, want %v", err, pipeline.ErrClosed)
		}
		if err := y.p.Run(t.Context()); !errors.Is(err, pipeline.ErrRunning) {
			t.Errorf("Run = %v, want %v", err, pipeline.ErrRunning)
		}
		if s := y.stageOf("load"); s.Returned != 2 {
			t.Errorf("%d returned, want 2", s.Returned)
		}
	}
}

// TestS4_ShutdownAfterARunThatWasRefused is one of a pipeline that never ran.
func TestS4_ShutdownAfterARunThatWasRefused(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) { // it would end a Shutdown that waits for a Run
		y := newYard(t, pipeline.Config{}, loading(pass))
		y.put("a", 1)
		y.p.Use() // too late
		if err := y.p.Run(t.Context()); err == nil {
			t.Fatal("Run = nil, want what came too late")
		}
		y.wantLeft(y.p.Shutdown(t.Context()), map[string][]string{"a": {"queued a1"}})
	})
}

// TestS4_ShutdownDuringStart: whoever wins, both come back, and what was accepted is done or handed back.
func TestS4_ShutdownDuringStart(t *testing.T) {
	for range 200 {
		y := newYard(t, pipeline.Config{}, loading(pass))
		y.put("a", 1)
		ran := make(chan error, 1)
		go func() { ran <- y.p.Run(context.Background()) }()
		shut := y.p.Shutdown(t.Context())
		err := <-ran
		s := y.stageOf("load")
		switch {
		case errors.Is(err, pipeline.ErrRunning): // the shutdown came first
			if !errors.Is(shut, pipeline.ErrUnfinished) || s.Returned != 1 {
				t.Fatalf("Shutdown = %v with %+v, want the event handed back", shut, s)
			}
		case err != nil || shut != nil || s.Done != 1:
			t.Fatalf("Run = %v, Shutdown = %v, %d done, want nil, nil and 1", err, shut, s.Done)
		}
	}
}

// TestS4_RunWithAnEndedContext drains what is queued and ends, every time.
func TestS4_RunWithAnEndedContext(t *testing.T) {
	for range 50 {
		y := newYard(t, pipeline.Config{}, loading(pass))
		y.put("a", 1, 2)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := y.p.Run(ctx); err != nil {
			t.Fatalf("Run = %v, want nil", err)
		}
		if n := y.stageOf("load").Done; n != 2 {
			t.Fatalf("%d done, want 2", n)
		}
	}
}

// TestS5_HeldKeysDoNotHoldUpADrain: Run ends at once, with them and what waits behind them in its report.
func TestS5_HeldKeysDoNotHoldUpADrain(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(func(_ context.Context, e event.Event[crate]) error {
			if e.Key != "ok" && e.Payload.N == 1 {
				return stage.Hold(errDamaged)
			}
			time.Sleep(time.Second)
			return nil
		}, stage.Workers(2)))
		y.put("a", 1, 2, 3)
		y.put("b", 1)
		y.put("ok", 1, 2, 3)
		began := time.Now()
		left := y.left(y.Stop(), map[string][]string{"a": {"held a1", "queued a2", "queued a3"}, "b": {"held b1"}})
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the drain took %v, want the three seconds of the other key", took)
		}
		if len(left.Stuck) != 0 {
			t.Errorf("stuck are %v, want none", left.Stuck)
		}
		if n := y.stageOf("load").Done; n != 3 {
			t.Errorf("%d done, want 3", n)
		}
	})
}

// TestS5_ARedriveBehindAHeldEventDoesNotHoldUpADrain: the letter came while the event ran that is held now. It is
// interrupted, and a letter as before.
func TestS5_ARedriveBehindAHeldEventDoesNotHoldUpADrain(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := newYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(func(context.Context, event.Event[crate]) error {
			time.Sleep(time.Second)
			return stage.Hold(errDamaged)
		}))
		y.p.Use(redrivable)
		y.start()
		y.put("a", 1)
		synctest.Wait()
		redriven := make(chan error, 1)
		go func() { redriven <- y.p.Redrive(t.Context(), letterOf(crate{"a", 7}), deadletter.Claim{}) }()
		time.Sleep(time.Minute)
		began := time.Now()
		var left *pipeline.UnfinishedError
		if err := y.Stop(); !errors.As(err, &left) || len(left.Events) != 2 || left.Events[0].State != "held" {
			t.Errorf("Run = %v, want the held event and the letter handed back", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the drain took %v, want none", took)
		}
		if err := <-redriven; !errors.Is(err, deadletter.ErrInterrupted) {
			t.Errorf("Redrive = %v, want %v", err, deadletter.ErrInterrupted)
		}
	})
}

// TestS5_PausedStagesDoNotHoldUpADrain either: nothing would run in them.
func TestS5_PausedStagesDoNotHoldUpADrain(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(takes(time.Second), stage.Workers(2)))
		y.put("a", 1)
		synctest.Wait()
		if err := y.p.Pause("load"); err != nil {
			t.Fatal(err)
		}
		y.put("a", 2)
		y.put("b", 1)
		began := time.Now()
		y.wantLeft(y.Stop(), map[string][]string{"a": {"queued a2"}, "b": {"queued b1"}})
		if took := time.Since(began); took != time.Second {
			t.Errorf("the drain took %v, want the second of the event that ran", took)
		}
	})
}

// TestS5_AHaltedStageDoesNotHoldUpADrain: with events waiting in it and another still running, Run returns
// the failure as soon as that one has ended.
func TestS5_AHaltedStageDoesNotHoldUpADrain(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(func(_ context.Context, e event.Event[crate]) error {
			time.Sleep(time.Second)
			if e.Key == "a" {
				return stage.Halt(errDamaged)
			}
			time.Sleep(time.Minute)
			return nil
		}, stage.Workers(2)))
		began := time.Now()
		y.put("a", 1, 2)
		y.put("b", 1, 2)
		y.put("c", 1)
		err := y.Wait()
		if !errors.Is(err, errDamaged) {
			t.Errorf("Run = %v, want it to tell of %v", err, errDamaged)
		}
		y.wantLeft(err, map[string][]string{"a": {"held a1", "queued a2"}, "b": {"queued b2"}, "c": {"queued c1"}})
		if took := time.Since(began); took != time.Minute+time.Second {
			t.Errorf("Run took %v, want the minute of the other event", took)
		}
	})
}
