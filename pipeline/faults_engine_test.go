package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

func TestFault01_FullStageAndADeadline(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(takes(time.Hour), stage.Workers(1), stage.Buffer(1)))
		y.put("a", 1)
		synctest.Wait()
		y.put("a", 2)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 1234*time.Millisecond, errDamaged)
		defer cancel()
		began := time.Now()
		err := y.pub.Publish(ctx, crate{"a", 3})
		if took := time.Since(began); !errors.Is(err, errDamaged) || took != 1234*time.Millisecond {
			t.Errorf("Publish = %v after %v, want the context's cause after exactly 1.234s", err, took)
		}
		y.Settle()
		y.wantIDs("began", y.began("load"), "a1", "a2")
		if n := y.stageOf("load").Accepted; n != 2 {
			t.Errorf("%d accepted, want 2: what was refused leaves no trace", n)
		}
	})
}

func TestFault02_HandlerPublishesToItsOwnFullStage(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var y *yard
		var errs []error
		y = newYard(t, pipeline.Config{}, loading(func(ctx context.Context, e event.Event[crate]) error {
			for n := range 5 {
				if e.Payload.N == 0 {
					errs = append(errs, y.pub.Publish(ctx, crate{"a", 10 + n}))
				}
			}
			return nil
		}, stage.Workers(1), stage.Buffer(2)))
		y.start()
		began := time.Now()
		y.put("a", 0)
		y.Settle()
		full := 0
		for _, err := range errs {
			if errors.Is(err, pipeline.ErrCycle) && errors.Is(err, pipeline.ErrFull) && strings.Contains(err.Error(), "load → load") {
				full++
			} else if err != nil {
				t.Errorf("Publish = %v, want nil or %v", err, pipeline.ErrCycle)
			}
		}
		if full == 0 || time.Since(began) != 0 {
			t.Errorf("%d of %v refused after %v, want some, at once", full, errs, time.Since(began))
		}
	})
}

// TestFault02_HandlersThatWaitForEachOther: from one topic to another and back, both full. Somebody gets the
// error, and everything goes on.
func TestFault02_HandlersThatWaitForEachOther(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var there, back event.Publisher[crate]
		var cycles atomic.Int64
		send := func(to *event.Publisher[crate]) crateHandler {
			return func(ctx context.Context, e event.Event[crate]) error {
				if e.Payload.N == 0 {
					return nil
				}
				for range 3 {
					if err := (*to).Publish(ctx, crate{e.Key, e.Payload.N - 1}); errors.Is(err, pipeline.ErrCycle) {
						cycles.Add(1)
					} else if err != nil {
						return err
					}
				}
				return nil
			}
		}
		y := newYard(t, pipeline.Config{Grace: time.Hour},
			loading(send(&there), stage.Workers(2), stage.Buffer(2)),
			stage.Handle(weighed, "weigh", send(&back), stage.Workers(2), stage.Buffer(2)))
		there, back = pipeline.NewPublisher(y.p, weighed), y.pub
		y.start()
		began := time.Now()
		for _, key := range []string{"a", "b", "c", "d"} {
			y.put(key, 6)
		}
		y.Settle()
		if err := y.Stop(); err != nil || time.Since(began) > time.Minute {
			t.Errorf("Run = %v after %v, want nil at once", err, time.Since(began))
		}
		if cycles.Load() == 0 {
			t.Error("nobody was told of the cycle: the test shows nothing")
		}
	})
}

// TestFault03_PublishRacesShutdown: each event is either accepted, and ends, or refused with ErrClosed.
func TestFault03_PublishRacesShutdown(t *testing.T) {
	for range 30 {
		var mu sync.Mutex
		handled := map[string]bool{}
		y := runYard(t, pipeline.Config{}, loading(func(_ context.Context, e event.Event[crate]) error {
			mu.Lock()
			defer mu.Unlock()
			handled[e.ID()] = true
			return nil
		}, stage.Buffer(4)))
		var accepted sync.Map
		var group sync.WaitGroup
		for k := range 4 {
			group.Go(func() {
				for n := range 500 {
					c := crate{fmt.Sprint(k, "-"), n}
					switch err := y.pub.Publish(context.Background(), c); {
					case err == nil:
						accepted.Store(c.id(), true)
					case !errors.Is(err, pipeline.ErrClosed):
						t.Errorf("Publish = %v, want nil or %v", err, pipeline.ErrClosed)
					}
				}
			})
		}
		runtime.Gosched()
		if err := y.Stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		group.Wait()
		n := 0
		accepted.Range(func(id, _ any) bool {
			n++
			if !handled[id.(string)] {
				t.Errorf("event %v was accepted and not handled", id)
			}
			return true
		})
		if n != len(handled) {
			t.Errorf("%d handled, %d accepted", len(handled), n)
		}
	}
}

func TestFault04_EndedContextWithRoomLeft(t *testing.T) {
	y := newYard(t, pipeline.Config{}, loading(pass))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errDamaged)
	for range 100 { // a choice by chance would show
		if err := y.pub.Publish(ctx, crate{"a", 1}); !errors.Is(err, errDamaged) {
			t.Fatalf("Publish = %v, want the context's cause", err)
		}
	}
	if n := y.stageOf("load").Accepted; n != 0 {
		t.Errorf("%d accepted, want none", n)
	}
}

// TestFault05_KeyOfANilPayload: a key function that panics is the publisher's error, not the program's end.
func TestFault05_KeyOfANilPayload(t *testing.T) {
	topic := event.NewTopic("pointers", event.KeyBy(func(c *crate) string { return c.Key }))
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Handle(topic, "load", func(context.Context, event.Event[*crate]) error { return nil }))
	pub := pipeline.NewPublisher(p, topic)
	if err := pub.Publish(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "a key or identity function panicked") {
		t.Errorf("Publish(nil) = %v, want an error that tells of the panic", err)
	}
	if err := pub.Publish(t.Context(), &crate{"a", 1}); err != nil {
		t.Errorf("Publish of another = %v, want nil", err)
	}
}

func TestFault06_PayloadIsChangedAfterPublish(t *testing.T) {
	y := newYard(t, pipeline.Config{}, loading(func(_ context.Context, e event.Event[crate]) error {
		if e.Payload != (crate{"a", 1}) || e.Header["h"] != "1" {
			t.Errorf("the handler got %+v with %v", e.Payload, e.Header)
		}
		return nil
	}))
	c, h := crate{"a", 1}, event.Header{"h": "1"}
	if err := y.pub.Publish(t.Context(), c, event.WithHeaders(h)); err != nil {
		t.Fatal(err)
	}
	c.Key, c.N, h["h"] = "changed", 2, "changed"
	if n := pipelinetest.Drain(t, y.p); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// TestFault07_ALargePayloadIsNotCopied on its way.
func TestFault07_ALargePayloadIsNotCopied(t *testing.T) {
	topic := event.NewTopic[[]byte]("blobs")
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Handle(topic, "load", func(context.Context, event.Event[[]byte]) error { return nil }))
	pub := pipeline.NewPublisher(p, topic)
	blob := make([]byte, 64<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := pub.Publish(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Drain(t, p)
	runtime.ReadMemStats(&after)
	if more := after.TotalAlloc - before.TotalAlloc; more > 8<<20 {
		t.Errorf("%d MiB were allocated for a payload of 64", more>>20)
	}
}

func TestFault08_StrangeKeysAreKeysLikeOthers(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(pass))
		keys := []string{"a\x00b", "a\nb", "\xff\xfe", "../../etc", " ", strings.Repeat("k", event.MaxTextBytes)}
		for _, key := range keys {
			if err := y.pub.Publish(t.Context(), crate{key, 1}, event.WithID("x")); err != nil {
				t.Errorf("Publish with key %q = %v, want nil", key, err)
			}
		}
		if err := y.pub.Publish(t.Context(), crate{strings.Repeat("k", 1<<20), 1}); !errors.Is(err, event.ErrTooLong) {
			t.Errorf("Publish with a key of a MiB = %v, want %v", err, event.ErrTooLong)
		}
		y.Settle()
		if s := y.stageOf("load"); int(s.Done) != len(keys) || s.Lanes != 0 {
			t.Errorf("%d done, %d lanes, want %d and none", s.Done, s.Lanes, len(keys))
		}
	})
}

func TestFault10_TopicThatNobodyHandles(t *testing.T) {
	y := newYard(t, pipeline.Config{}, loading(pass))
	if err := pipeline.NewPublisher(y.p, weighed).Publish(t.Context(), crate{"a", 1}); !errors.Is(err, pipeline.ErrNoStage) {
		t.Errorf("Publish = %v, want %v", err, pipeline.ErrNoStage)
	}
	impostor := event.NewTopic[int]("crates")
	if err := pipeline.NewPublisher(y.p, impostor).Publish(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "another topic of that name") {
		t.Errorf("Publish to another topic of that name = %v, want that as an error", err)
	}
	twin := event.NewTopic[crate]("crates")
	if err := pipeline.NewPublisher(y.p, twin).Publish(t.Context(), crate{"a", 1}); err == nil {
		t.Error("Publish to a topic that was declared twice = nil, want an error")
	}
}

// TestFault11_Panics of every kind are failed attempts with a stack, and cost no worker.
func TestFault11_Panics(t *testing.T) {
	var none map[string]int
	var handler func()
	for name, bang := range map[string]func(){
		"an error":                func() { panic(errDamaged) },
		"nil":                     func() { panic(nil) }, //nolint:govet // that is the point
		"a write to a nil map":    func() { none["a"] = 1 },
		"a nil func":              func() { handler() },
		"a send on closed":        func() { ch := make(chan int); close(ch); ch <- 1 },
		"a negative wait group":   func() { new(sync.WaitGroup).Add(-1) },
		"out of range":            func() { _ = []int{}[len(none)] },
		"a value that panics too": func() { panic(badValue{}) },
		"deep down":               func() { deep(2000) },
	} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				var p *stage.PanicError
				y := runYard(t, pipeline.Config{OnUnhandled: func(_ *stage.Delivery, err error) { errors.As(err, &p) }},
					loading(func(_ context.Context, e event.Event[crate]) error {
						if e.Payload.N == 1 {
							bang()
						}
						return nil
					}, stage.Workers(1)))
				y.put("a", 1, 2)
				y.Settle()
				if p == nil || len(p.Stack) == 0 || len(p.Stack) > stage.MaxStackBytes || !strings.Contains(string(p.Stack), "faults_engine_test.go") {
					t.Fatalf("the failure is %+v, want a PanicError with the stack of the handler, at most 16 KiB", p)
				}
				if s := y.stageOf("load"); s.Failed != 1 || s.Done != 1 || s.Panics != 1 {
					t.Errorf("%d failed, %d done, %d panics, want one each", s.Failed, s.Done, s.Panics)
				}
			})
		})
	}
}

type badValue struct{}

func (badValue) String() string { panic("String panics") }

func deep(n int) {
	if n == 0 {
		panic("deep down")
	}
	deep(n - 1)
}

// TestFault12_Goexit is a failed attempt: the next event of the key runs, with every worker there.
func TestFault12_Goexit(t *testing.T) {
	for _, use := range [][]stage.Middleware{nil, {middleware.Recover()}} {
		pipelinetest.Bubble(t, func(t *testing.T) {
			var failed error
			y := newYard(t, pipeline.Config{OnUnhandled: func(_ *stage.Delivery, err error) { failed = err }},
				loading(func(_ context.Context, e event.Event[crate]) error {
					if e.Payload.N%2 == 1 {
						runtime.Goexit()
					}
					return nil
				}, stage.Workers(2)))
			y.p.Use(use...)
			y.start()
			for n := range 20 {
				y.put("a", n)
			}
			y.Settle()
			var p *stage.PanicError
			if !errors.Is(failed, stage.ErrGoexit) || !errors.As(failed, &p) || len(p.Stack) == 0 {
				t.Errorf("the failure is %v, want %v with a stack", failed, stage.ErrGoexit)
			}
			if s := y.stageOf("load"); s.Failed != 10 || s.Done != 10 || s.Workers != 2 {
				t.Errorf("%d failed, %d done on %d workers, want 10, 10 and 2", s.Failed, s.Done, s.Workers)
			}
			if err := y.rec.CheckRest(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFault12_GoexitIsRetried like any failure: the chain gets it as an error.
func TestFault12_GoexitIsRetried(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		calls := 0
		y := newYard(t, pipeline.Config{}, loading(func(context.Context, event.Event[crate]) error {
			if calls++; calls < 3 {
				runtime.Goexit()
			}
			return nil
		}))
		y.p.Use(middleware.Retry(middleware.Constant{Attempts: 3}), middleware.Recover())
		y.start()
		y.put("a", 1)
		y.Settle()
		if s := y.stageOf("load"); s.Done != 1 || calls != 3 {
			t.Errorf("%d done after %d calls, want 1 after 3", s.Done, calls)
		}
	})
}

func TestFault14_HandlerIgnoresItsContext(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Minute, Linger: time.Second}, loading(takes(24*time.Hour)))
		y.put("a", 1)
		began := time.Now()
		left := y.left(y.Stop(), map[string][]string{"a": {"running a1"}})
		if !slices.Equal(left.Stuck, []string{"load"}) || time.Since(began) != 61*time.Second {
			t.Errorf("stuck are %v after %v, want load after the grace and the linger", left.Stuck, time.Since(began))
		}
		time.Sleep(25 * time.Hour)
	})
}

func TestFault15_SuccessAfterTheTimeout(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var failed error
		y := runYard(t, pipeline.Config{OnUnhandled: func(_ *stage.Delivery, err error) { failed = err }},
			loading(takes(time.Minute), stage.Use(middleware.Timeout(time.Second))))
		y.put("a", 1, 2)
		y.Settle()
		if s := y.stageOf("load"); s.Failed != 2 || !errors.Is(failed, middleware.ErrTimeout) {
			t.Errorf("%d failed, with %v, want both with %v: what a timed-out attempt returns is ignored", s.Failed, failed, middleware.ErrTimeout)
		}
		if err := y.rec.CheckRest(); err != nil { // and none ran beside it
			t.Error(err)
		}
	})
}

func TestFault16_SuccessWithAnEndedContext(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Second}, loading(func(ctx context.Context, _ event.Event[crate]) error {
			<-ctx.Done()
			return nil
		}, stage.Workers(1)))
		y.put("a", 1)
		if err := y.Stop(); err != nil {
			t.Errorf("Run = %v, want nil: the only event succeeded", err)
		}
		if n := y.stageOf("load").Done; n != 1 {
			t.Errorf("%d done, want 1", n)
		}
	})
}

func TestFault17_CanceledWithoutAShutdown(t *testing.T) {
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, pipeline.ErrShutdown, fmt.Errorf("call: %w", context.Canceled)} {
		pipelinetest.Bubble(t, func(t *testing.T) {
			y := runYard(t, pipeline.Config{}, loading(yields(err)))
			y.put("a", 1)
			y.Settle()
			if s := y.stageOf("load"); s.Failed != 1 {
				t.Errorf("a handler that returns %v: figures %+v, want it failed", err, s)
			}
		})
	}
}

// TestFault20_SlowKey: the others go on, and its backlog is bounded and shows.
func TestFault20_SlowKey(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Hour}, loading(func(_ context.Context, e event.Event[crate]) error {
			if e.Key == "slow" {
				time.Sleep(time.Second)
			}
			return nil
		}, stage.Workers(2), stage.Buffer(200), stage.MaxPerKey(50)))
		go func() {
			for n := range 200 {
				y.put("slow", n)
			}
		}()
		time.Sleep(10500 * time.Millisecond)
		began := time.Now()
		for n := range 100 {
			y.put("quick", n)
		}
		synctest.Wait()
		quick := y.rec.Of("load", "quick").Filter(settledOnly)
		if len(quick) != 100 || quick[99].At != began {
			t.Errorf("%d quick ones are done, want all 100 at once", len(quick))
		}
		s := y.stageOf("load")
		if n := s.Queued + s.Running; n != 50 || s.Oldest.IsZero() || s.Lanes != 1 {
			t.Errorf("%d of the slow key are resident, oldest %v, want 50, and that it shows", n, s.Oldest)
		}
		time.Sleep(time.Hour)
	})
}

// TestFault21_ChildrenOfAFailedAttempt: what a handler published itself is out; what it returned is not.
func TestFault21_ChildrenOfAFailedAttempt(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var onward event.Publisher[crate]
		y := newYard(t, pipeline.Config{},
			loading(func(ctx context.Context, e event.Event[crate]) error {
				for n := range 1000 {
					if err := onward.Publish(ctx, crate{e.Key, n}); err != nil {
						t.Error(err)
					}
				}
				return errDamaged
			}),
			stage.Expand(crates, "split", sealed, func(_ context.Context, e event.Event[crate]) ([]crate, error) {
				return cratesOf(e.Key, 1000), errDamaged
			}),
			stage.Handle(weighed, "weigh", pass), stage.Handle(sealed, "seal", pass))
		onward = pipeline.NewPublisher(y.p, weighed)
		y.start()
		y.put("a", 1)
		y.Settle()
		if published, emitted := y.stageOf("weigh").Done, y.stageOf("seal").Accepted; published != 1000 || emitted != 0 {
			t.Errorf("%d published and %d emitted, want 1000 and none", published, emitted)
		}
	})
}

// TestFault22_MiddlewareMisusesNext: calls it twice, never, with a clone, or when all is over.
func TestFault22_MiddlewareMisusesNext(t *testing.T) {
	var kept func() error
	for name, c := range map[string]struct {
		wrap    func(ctx context.Context, d *stage.Delivery, next stage.Handler) error
		calls   int
		outcome stage.Outcome
		text    string
	}{
		"twice": {func(ctx context.Context, d *stage.Delivery, next stage.Handler) error {
			return errors.Join(next(ctx, d), next(ctx, d))
		}, 1, stage.OutcomeFailed, "called next twice"},
		"never": {func(context.Context, *stage.Delivery, stage.Handler) error { return nil }, 0, stage.OutcomeDone, ""},
		"a clone": {func(ctx context.Context, d *stage.Delivery, next stage.Handler) error {
			return next(ctx, d.Clone())
		}, 0, stage.OutcomeFailed, "passed on a clone"},
		"after it has returned": {func(ctx context.Context, d *stage.Delivery, next stage.Handler) error {
			kept = func() error { return next(ctx, d) }
			return next(ctx, d)
		}, 1, stage.OutcomeDone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				calls := 0
				var failed error
				misuse := stage.Middleware{Name: "misuse", Wrap: func(next stage.Handler) stage.Handler {
					return func(ctx context.Context, d *stage.Delivery) error { return c.wrap(ctx, d, next) }
				}}
				y := runYard(t, pipeline.Config{OnUnhandled: func(_ *stage.Delivery, err error) { failed = err }},
					loading(func(context.Context, event.Event[crate]) error { calls++; return nil }, stage.Use(misuse)))
				y.put("a", 1)
				y.Settle()
				if kept != nil {
					if err := kept(); err == nil || calls != 1 {
						t.Errorf("next after the end = %v with %d calls, want an error and no second call", err, calls)
					}
					kept = nil
				}
				pipelinetest.ExpectOutcome(t, y.rec, "load", "a1", c.outcome)
				if calls != c.calls || c.text != "" && !strings.Contains(fmt.Sprint(failed), c.text) {
					t.Errorf("%d calls, failed with %v, want %d and %q", calls, failed, c.calls, c.text)
				}
			})
		})
	}
}

// TestFault23_DelaysOutOfRange come out between 1 ms and 30 days under Retry, and never make a hot loop.
func TestFault23_DelaysOutOfRange(t *testing.T) {
	for delay, want := range map[time.Duration]time.Duration{
		0: time.Millisecond, -5: time.Millisecond, math.MinInt64 + 7: time.Millisecond, math.MaxInt64: 30 * 24 * time.Hour,
	} {
		pipelinetest.Bubble(t, func(t *testing.T) {
			tries := 0
			y := newYard(t, pipeline.Config{}, loading(func(context.Context, event.Event[crate]) error {
				if tries++; tries == 3 {
					return nil
				}
				return errDamaged
			}))
			y.p.Use(middleware.Retry(middleware.BackOff(func() backoff.BackOff { return &backoff.ConstantBackOff{Interval: delay} })))
			y.start()
			began := time.Now()
			y.put("a", 1)
			synctest.Wait()
			time.Sleep(2 * want)
			synctest.Wait()
			if took := time.Since(began); tries != 3 || took != 2*want {
				t.Errorf("a delay of %v: %d attempts in %v, want 3, each %v after the one before", delay, tries, took, want)
			}
		})
	}
}

// TestFault23_DelaysOfTheEngineItself: one below zero is none, and one of 292 years waits.
func TestFault23_DelaysOfTheEngineItself(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Second}, loading(func(_ context.Context, e event.Event[crate]) error {
			if e.Key == "forever" {
				return stage.RetryAfter(math.MaxInt64, errDamaged)
			}
			if time.Now().Before(e.Time.Add(time.Second)) {
				time.Sleep(time.Second)
				return stage.RetryAfter(-time.Hour, errDamaged)
			}
			return nil
		}))
		y.put("forever", 1)
		y.put("a", 1)
		time.Sleep(365 * 24 * time.Hour)
		if s := y.stageOf("load"); s.Parked != 1 || s.Done != 1 || s.Attempts != 3 {
			t.Errorf("%d parked, %d done after %d attempts, want one, one and 3", s.Parked, s.Done, s.Attempts)
		}
		y.wantLeft(y.Stop(), map[string][]string{"forever": {"parked forever1"}})
	})
}

func TestFault24_ExactAttempts(t *testing.T) {
	for attempts, want := range map[int]uint64{0: middleware.DefaultAttempts, 1: 1, 3: 3} {
		pipelinetest.Bubble(t, func(t *testing.T) {
			y := newYard(t, pipeline.Config{}, loading(yields(errDamaged)))
			y.p.Use(middleware.Retry(middleware.Constant{Attempts: attempts}))
			y.start()
			y.put("a", 1)
			y.Settle()
			if s := y.stageOf("load"); s.Attempts != want || s.Failed != 1 {
				t.Errorf("Attempts %d: %d calls, want %d", attempts, s.Attempts, want)
			}
		})
	}
}

// TestFault25_ManyEventsInBackoff hold no goroutine and no worker.
func TestFault25_ManyEventsInBackoff(t *testing.T) {
	const n = 100_000
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Second, Observer: pipeline.Observer{Settled: func(*stage.Delivery, stage.Outcome, error) {}}},
			loading(func(_ context.Context, e event.Event[crate]) error {
				if e.Key == "other" {
					return nil
				}
				return stage.RetryAfter(time.Hour, errDamaged)
			}, stage.Workers(4), stage.Buffer(4*n)))
		synctest.Wait()
		before := runtime.NumGoroutine()
		for i := range n {
			y.put(fmt.Sprint(i), i)
		}
		synctest.Wait()
		if s, now := y.stageOf("load"), runtime.NumGoroutine(); s.Parked != n || now > before {
			t.Errorf("%d parked with %d goroutines, want %d with %d", s.Parked, now, n, before)
		}
		y.put("other", 1)
		synctest.Wait()
		if s := y.stageOf("load"); s.Done != 1 {
			t.Error("no worker was there for another key")
		}
		_ = y.Stop()
	})
}

// TestFault29_NothingRunsAfterRunHasReturned, though parked events become due just then, and afterwards.
func TestFault29_NothingRunsAfterRunHasReturned(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var runs atomic.Int64
		y := runYard(t, pipeline.Config{Grace: time.Minute}, loading(func(_ context.Context, e event.Event[crate]) error {
			runs.Add(1)
			return stage.RetryAfter(time.Minute-time.Duration(e.Payload.N)*time.Microsecond, errDamaged)
		}))
		for n := range 20 {
			y.put(fmt.Sprint(n), n-10)
		}
		err := y.Stop()
		before := runs.Load()
		time.Sleep(time.Hour)
		if runs.Load() != before || !errors.Is(err, pipeline.ErrUnfinished) {
			t.Errorf("%d attempts after Run had returned %v", runs.Load()-before, err)
		}
	})
}

// TestFault30_RetryStorm: however many become due at once, no more run than there are workers.
func TestFault30_RetryStorm(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var now, most atomic.Int64
		due := time.Now().Add(time.Hour)
		y := runYard(t, pipeline.Config{}, loading(func(_ context.Context, e event.Event[crate]) error {
			if wait := time.Until(due); wait > 0 {
				return stage.RetryAfter(wait, errDamaged)
			}
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}, stage.Workers(3), stage.Buffer(2000)))
		for n := range 1000 {
			y.put(fmt.Sprint(n), n)
		}
		y.Settle()
		if n := y.stageOf("load").Done; most.Load() != 3 || n != 1000 {
			t.Errorf("at most %d ran at once, %d are done, want 3 and 1000", most.Load(), n)
		}
	})
}

// TestFault54_ShutdownInTheMiddleOfEverything: it drains what it can, and at its end hands back the rest.
func TestFault54_ShutdownInTheMiddleOfEverything(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		y := newYard(t, pipeline.Config{Grace: time.Minute}, loading(func(ctx context.Context, e event.Event[crate]) error {
			switch e.Key {
			case "slow":
				time.Sleep(10 * time.Second)
			case "soon", "late":
				if time.Since(e.Time) < map[string]time.Duration{"soon": 30 * time.Second, "late": time.Hour}[e.Key] {
					return stage.RetryAfter(10*time.Second, errDamaged)
				}
			case "bad":
				return errDamaged
			}
			return nil
		}))
		y.p.Use(middleware.DeadLetter(letters))
		y.start()
		for _, key := range []string{"slow", "soon", "late", "bad"} {
			y.put(key, 1, 2)
		}
		began := time.Now()
		y.wantLeft(y.Stop(), map[string][]string{"late": {"parked late1", "queued late2"}})
		s := y.stageOf("load")
		if s.Done != 4 || s.DeadLettered != 1 || s.Diverted != 1 || time.Since(began) != time.Minute {
			t.Errorf("figures = %+v after %v, want 4 done, and the bad key in the store", s, time.Since(began))
		}
	})
}

func TestFault55_ShutdownAgain(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(pass))
		for range 3 {
			if err := y.p.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown = %v, want nil", err)
			}
		}
		if err := y.p.Run(t.Context()); !errors.Is(err, pipeline.ErrRunning) {
			t.Errorf("Run again = %v, want %v", err, pipeline.ErrRunning)
		}
		if _, err := y.p.Drain(t.Context(), 0); err == nil {
			t.Error("Drain of a pipeline that has run = nil, want an error")
		}
	})
}

// TestFault56_CancelledHandlerIsNoLetter: with the whole chain, nothing is stored and no attempt counted.
func TestFault56_CancelledHandlerIsNoLetter(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		y := newYard(t, pipeline.Config{Grace: time.Second}, loading(waits, stage.Workers(2)))
		y.p.Use(middleware.Standard(middleware.StandardConfig{Letters: letters, Retry: middleware.Constant{Attempts: 1}})...)
		y.start()
		y.put("a", 1, 2)
		y.put("b", 1)
		left := y.left(y.Stop(), map[string][]string{"a": {"queued a1", "queued a2"}, "b": {"queued b1"}})
		for _, u := range left.Events {
			if u.Attempts != 0 {
				t.Errorf("event %s is handed back with %d attempts, want none", u.Meta.ID(), u.Attempts)
			}
		}
		if s := y.stageOf("load"); s.DeadLettered+s.Diverted+s.Failed+s.Retries != 0 {
			t.Errorf("figures = %+v, want nothing but returned", s)
		}
	})
}

// TestFault59_ASecondSignalForces: the first ends Run's context, the second a Shutdown's.
func TestFault59_ASecondSignalForces(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := newYard(t, pipeline.Config{Grace: 24 * time.Hour}, loading(waits))
		y.put("a", 1)
		first, signal := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- y.p.Run(first) }()
		synctest.Wait()
		signal()
		time.Sleep(time.Minute)
		select {
		case err := <-over:
			t.Fatalf("Run = %v after the first signal, want it to drain", err)
		default:
		}
		began := time.Now()
		second, again := context.WithCancel(t.Context())
		again()
		err := y.p.Shutdown(second)
		y.wantLeft(err, map[string][]string{"a": {"queued a1"}})
		if err2 := <-over; err2 != err || time.Since(began) != 0 { //nolint:errorlint // the very same
			t.Errorf("Run = %v after %v, want what Shutdown returned, at once", err2, time.Since(began))
		}
	})
}

// TestFault61_AThousandCycles of start and stop leave no goroutine.
func TestFault61_AThousandCycles(t *testing.T) {
	cycle := func(n int) {
		p := pipeline.New(pipeline.Config{})
		p.Add(stage.Map(crates, "weigh", weighed, carries(0)), stage.Handle(weighed, "load", pass))
		pipeline.From(p, crates, event.FromChan(make(chan crate)))
		pub := pipeline.NewPublisher(p, crates)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- p.Run(ctx) }()
		for i := range n % 5 {
			if err := pub.Publish(t.Context(), crate{"a", i}); err != nil && !errors.Is(err, pipeline.ErrClosed) {
				t.Error(err)
			}
		}
		cancel()
		if err := <-over; err != nil {
			t.Errorf("cycle %d: Run = %v, want nil", n, err)
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what has finalizers goes in two
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for n := range 10 {
		cycle(n)
	}
	before, held := runtime.NumGoroutine(), heap()
	for n := range 1000 {
		cycle(n)
	}
	for i := 0; runtime.NumGoroutine() > before && i < 1_000_000; i++ {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines after 1000 cycles, before there were %d", n, before)
	}
	if now := heap(); now > held+1<<20 { // a kilobyte a cycle would be one MiB
		t.Errorf("%d bytes are held after 1000 cycles, before there were %d", now, held)
	}
}

func TestFault62_HeadRetriesTailWaits(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := newYard(t, pipeline.Config{}, loading(func(_ context.Context, e event.Event[crate]) error {
			if e.Payload.N == 1 && time.Since(e.Time) < time.Hour {
				return errDamaged
			}
			return nil
		}))
		y.p.Use(middleware.Retry(middleware.Constant{Attempts: 100, Delay: 10 * time.Minute}))
		y.start()
		y.put("a", 1, 2, 3)
		time.Sleep(59 * time.Minute)
		if ids := y.ended("load", stage.OutcomeDone); len(ids) != 0 {
			t.Errorf("%v are done while the head retries", ids)
		}
		y.Settle()
		y.wantIDs("done", y.ended("load", stage.OutcomeDone), "a1", "a2", "a3")
	})
}

// TestFault65_WorkersChangeUnderLoad: order is by key, whatever the number of workers is at the time.
func TestFault65_WorkersChangeUnderLoad(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Hour}, loading(func(_ context.Context, e event.Event[crate]) error {
			time.Sleep(time.Duration(e.Payload.N%4) * time.Millisecond)
			return nil
		}, stage.Workers(4), stage.Buffer(64)))
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			for n := range 200 {
				if err := y.p.SetWorkers("load", []int{1, 7, 2, 16, 3}[n%5]); err != nil {
					t.Error(err)
				}
				time.Sleep(3 * time.Millisecond)
			}
		}()
		for n := range 2000 {
			y.put(fmt.Sprint(n%23), n)
		}
		<-changed
		y.Settle()
		if err := y.rec.CheckRest(); err != nil {
			t.Error(err)
		}
		if err := y.p.SetWorkers("load", 0); err == nil || !strings.Contains(err.Error(), "from 1 to") {
			t.Errorf("SetWorkers(0) = %v, want an error that names the mend", err)
		}
	})
}

// TestFault67_FastProducer: the memory is that of the bound, not of what was published.
func TestFault67_FastProducer(t *testing.T) {
	type blob [1000]byte
	topic := event.NewTopic[blob]("blobs")
	var slow atomic.Int64
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Handle(topic, "load", func(context.Context, event.Event[blob]) error {
		for range 100 { // a hundred times what a publish takes
			slow.Add(1)
			runtime.Gosched()
		}
		return nil
	}, stage.Buffer(256), stage.Workers(2)))
	pipelinetest.Start(t, p)
	pub := pipeline.NewPublisher(p, topic)
	before, most := liveHeap(), int64(0)
	for n := range 5000 { // 5 MB in all
		if err := pub.Publish(t.Context(), blob{}); err != nil {
			t.Fatal(err)
		}
		if n%1000 == 999 {
			most = max(most, liveHeap()-before)
		}
	}
	if most > 2<<20 {
		t.Errorf("%d KiB are held while 258 events of 1 KiB may be, of 5000", most>>10)
	}
}

func TestFault68_KeysAreForgotten(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(retriesEach(), stage.MaxPerKey(2), stage.Buffer(30_000)))
		for n := range 10_000 {
			y.put(fmt.Sprint(n), n)
		}
		y.Settle()
		if s := y.stageOf("load"); s.Lanes != 0 || s.Done != 10_000 || len(s.HeldKeys) != 0 {
			t.Errorf("%d lanes after %d keys, want none", s.Lanes, s.Done)
		}
	})
}

// retriesEach parks each event once.
func retriesEach() crateHandler {
	return func(_ context.Context, e event.Event[crate]) error {
		if time.Since(e.Time) < time.Minute {
			return stage.RetryAfter(time.Minute, errDamaged)
		}
		return nil
	}
}

// TestFault70_AnEventThatFailsForEver keeps a bounded history.
func TestFault70_AnEventThatFailsForEver(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		longest := 0
		watch := stage.Middleware{Name: "watch", Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				longest = max(longest, len(d.History()))
				return next(ctx, d)
			}
		}}
		y := runYard(t, pipeline.Config{}, loading(func(_ context.Context, e event.Event[crate]) error {
			if time.Since(e.Time) < time.Hour {
				return stage.RetryAfter(time.Second, errDamaged)
			}
			return nil
		}, stage.Use(watch)))
		y.put("a", 1)
		y.Settle()
		if s := y.stageOf("load"); s.Attempts != 3601 || longest != 10 {
			t.Errorf("%d attempts with at most %d in the history, want 3601 with 10", s.Attempts, longest)
		}
	})
}
