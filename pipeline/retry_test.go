package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// attemptsSeen makes a middleware that notes the attempt numbers that deliveries show.
func attemptsSeen(seen *[]int) stage.Middleware {
	return stage.Middleware{Name: "seen", Wrap: func(next stage.Handler) stage.Handler {
		return func(ctx context.Context, d *stage.Delivery) error {
			*seen = append(*seen, d.Attempt)
			return next(ctx, d)
		}
	}}
}

func TestR1_ExactlyAsManyCallsAsThePolicySays(t *testing.T) {
	hour := time.Hour
	for _, c := range []struct {
		name   string
		policy middleware.Policy
		want   int
	}{
		{"Exponential as it is", middleware.Exponential{}, 5},
		{"Exponential, 1", middleware.Exponential{Attempts: 1}, 1},
		{"Exponential, 7", middleware.Exponential{Attempts: 7, Initial: hour}, 7},
		{"Constant as it is", middleware.Constant{}, 5},
		{"Constant, 3", middleware.Constant{Attempts: 3, Delay: hour}, 3},
		{"Schedule of two waits", middleware.Schedule{Delays: []time.Duration{0, hour}}, 3},
		{"a backoff of one's own", middleware.BackOff(func() backoff.BackOff {
			return backoff.WithMaxRetries(backoff.NewConstantBackOff(hour), 3)
		}), 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				letters := deadletter.NewMemory()
				var seen []int
				calls := 0
				chain := []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(c.policy), attemptsSeen(&seen)}
				w := runPlant(t, chain, work(func(context.Context, event.Event[job]) error { calls++; return errFlop }))
				w.put("a", 1)
				w.rest()
				if calls != c.want || !slices.Equal(seen, oneTo(c.want)) {
					t.Errorf("%d calls, attempts %v; want %d, %v", calls, seen, c.want, oneTo(c.want))
				}
				pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDeadLettered)
				ls := listed(t, letters, deadletter.Filter{})
				if len(ls) != 1 || ls[0].Attempts != c.want {
					t.Errorf("letters %+v, want one with %d attempts", ls, c.want)
				}
				if s := w.figures(); s.Attempts != uint64(c.want) || s.Retries != uint64(c.want-1) {
					t.Errorf("%d attempts and %d retries counted, want %d and %d", s.Attempts, s.Retries, c.want, c.want-1)
				}
			})
		})
	}
}

func TestR1_ClassificationEndsTheAttempts(t *testing.T) {
	retryable := middleware.If(func(err error) bool { return errors.Is(err, errFlop) })
	for _, c := range []struct {
		name string
		err  error
		want int // attempts
	}{
		{"worth another", errFlop, 3},
		{"worth another, wrapped", fmt.Errorf("at work: %w", errFlop), 3},
		{"not worth another", errors.New("hopeless"), 1},
		{"permanent", stage.Permanent(errFlop), 1},
		{"permanent, wrapped", fmt.Errorf("at work: %w", stage.Permanent(errFlop)), 1},
		{"permanent, joined", errors.Join(errors.New("and"), stage.Permanent(errFlop)), 1},
		{"with a delay of its own", stage.RetryAfter(time.Hour, errFlop), 3},
		{"skipped", stage.Skip("not this one"), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 3}, retryable)},
					work(func(context.Context, event.Event[job]) error { calls++; return c.err }))
				w.put("a", 1)
				w.rest()
				if calls != c.want {
					t.Errorf("%d calls, want %d", calls, c.want)
				}
			})
		})
	}
}

// TestR1_CrashesAreFailedAttemptsWithAStack has no Recover in one half of its cases: what leaves the chain,
// the stage itself catches.
func TestR1_CrashesAreFailedAttemptsWithAStack(t *testing.T) {
	crashes := map[string]struct {
		crash jobHandler
		want  error
	}{
		"a panic":              {func(context.Context, event.Event[job]) error { panic("crashing on purpose") }, nil},
		"a panic of an error":  {func(context.Context, event.Event[job]) error { panic(errFlop) }, errFlop},
		"a fault of Go's own":  {func(_ context.Context, e event.Event[job]) error { _ = oneTo(0)[e.Payload.N]; return nil }, nil},
		"a Goexit":             {func(context.Context, event.Event[job]) error { runtime.Goexit(); return nil }, stage.ErrGoexit},
		"a Goexit when panics": {func(context.Context, event.Event[job]) error { defer runtime.Goexit(); panic("crashing on purpose") }, stage.ErrGoexit},
	}
	for name, c := range crashes {
		for _, workers := range []int{1, 2, 8} {
			t.Run(fmt.Sprintf("%s, %d workers", name, workers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					letters := deadletter.NewMemory()
					chain := []stage.Middleware{
						middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 3}), middleware.Recover(),
					}
					w := runPlant(t, chain, work(func(ctx context.Context, e event.Event[job]) error {
						if e.Payload.N == 1 {
							return c.crash(ctx, e)
						}
						return nil
					}, stage.Workers(workers)))
					w.put("a", 1)
					for i := range 20 {
						w.put(fmt.Sprintf("k%d.", i), 1, 2)
					}
					w.rest()
					pipelinetest.ExpectSettled(t, w.rec, "work", 41)
					// The followers of a letter are attempts that call no handler.
					if s := w.figures(); s.Attempts != 21*3+20 {
						t.Errorf("%d attempts, want 83", s.Attempts)
					}
					head := listed(t, letters, deadletter.Filter{Reason: deadletter.Panicked})
					for _, l := range head {
						if l.Attempts != 3 || !strings.Contains(l.Stack, "retry_test.go") {
							t.Errorf("letter %+v, want 3 attempts and a stack of this file", l)
						}
					}
					if len(head) != 21 {
						t.Errorf("%d letters of panics, want 21", len(head))
					}
					last := w.rec.Of("work", "a").Filter(func(e pipelinetest.Entry) bool { return e.What == pipelinetest.Parked })
					var p *stage.PanicError
					if len(last) != 2 || !errors.As(last[1].Err, &p) || len(p.Stack) == 0 || c.want != nil && !errors.Is(p, c.want) {
						t.Errorf("parked with %v, want twice with a PanicError of %v that has a stack", last, c.want)
					}
				})
			})
		}
	}
}

// TestR1_ACrashThatNothingCatchesSettlesAsFailed runs without any middleware.
func TestR1_ACrashThatNothingCatchesSettlesAsFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var unhandled []error
		rec := pipelinetest.NewRecorder()
		w := newPlantIn(t, pipeline.Config{
			Observer:    rec.Observer(),
			OnUnhandled: func(_ *stage.Delivery, err error) { unhandled = append(unhandled, err) },
		}, nil, work(func(_ context.Context, e event.Event[job]) error {
			switch e.Payload.N {
			case 1:
				panic("crashing on purpose")
			case 2:
				runtime.Goexit()
			}
			return nil
		}, stage.Workers(1)))
		w.rec = rec
		w.run()
		w.put("a", 1, 2, 3)
		w.rest()
		pipelinetest.ExpectOutcome(t, rec, "work", "a1", stage.OutcomeFailed)
		pipelinetest.ExpectOutcome(t, rec, "work", "a2", stage.OutcomeFailed)
		pipelinetest.ExpectOutcome(t, rec, "work", "a3", stage.OutcomeDone)
		if len(unhandled) != 2 {
			t.Fatalf("OnUnhandled got %v, want two crashes", unhandled)
		}
		for _, err := range unhandled {
			var p *stage.PanicError
			if !errors.As(err, &p) || len(p.Stack) == 0 {
				t.Errorf("OnUnhandled got %v, want a PanicError with a stack", err)
			}
		}
	})
}

// TestR1_ACrashWithoutRecoverIsRetriedAndDeadLettered: what the chain does about a failure it does about a crash
// too, whether or not Recover is part of it.
func TestR1_ACrashWithoutRecoverIsRetriedAndDeadLettered(t *testing.T) {
	for name, crash := range map[string]func(){"panic": func() { panic("crashing on purpose") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				letters := deadletter.NewMemory()
				chain := []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 3, Delay: time.Second})}
				var seen []int
				w := runPlant(t, chain, work(func(_ context.Context, e event.Event[job]) error {
					if e.Payload.N == 1 {
						crash()
					}
					return nil
				}, stage.Workers(1), stage.Use(attemptsSeen(&seen))))
				w.put("a", 1)
				w.put("b", 2)
				w.rest()
				if l := nthLetter(t, letters, "a", 0); l.Reason != deadletter.Panicked || l.Attempts != 3 || len(l.Stack) == 0 {
					t.Errorf("the letter says %s after %d attempts with a stack of %d bytes, want panicked after 3 with one", l.Reason, l.Attempts, len(l.Stack))
				}
				if s := w.figures(); s.DeadLettered != 1 || s.Done != 1 || s.Panics != 3 {
					t.Errorf("%d letters, %d done, %d panics; want 1, 1 and 3", s.DeadLettered, s.Done, s.Panics)
				}
			})
		})
	}
}

func TestR2_NoAttemptBeginsBeforeItIsDue(t *testing.T) {
	for _, workers := range []int{1, 2, 8, 16} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Exponential{Attempts: 6, Initial: time.Second})},
					work(func(_ context.Context, e event.Event[job]) error {
						time.Sleep(time.Duration(e.Payload.N%5) * 300 * time.Millisecond)
						return errFlop
					}, stage.Workers(workers)))
				publishAll(t, w.pub, someKeys, 10)
				w.rest()
				parked := map[string]pipelinetest.Entry{}
				waits := 0
				for _, e := range w.rec.History() {
					p, was := parked[e.ID]
					switch {
					case e.What == pipelinetest.Parked:
						parked[e.ID] = e
					case e.What == pipelinetest.Started && was:
						waits++
						if due := p.At.Add(p.Delay); e.At.Before(due) {
							t.Errorf("%v at %v, want not before %v", e, e.At, due)
						}
					}
				}
				if want := len(someKeys) * 10 * 5; waits != want {
					t.Errorf("%d waits, want %d", waits, want)
				}
			})
		})
	}
}

// TestR2_AnAttemptBeginsWhenItIsDue: a free worker is there at that very moment, and the due times of other
// keys, earlier and later ones, do not get in the way.
func TestR2_AnAttemptBeginsWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 300
		delay := func(n int) time.Duration { return time.Duration((n*7919)%keys+1) * time.Minute }
		w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
			if time.Since(e.Time) == 0 {
				return stage.RetryAfter(delay(e.Payload.N), errFlop)
			}
			if after := time.Since(e.Time); after != delay(e.Payload.N) {
				t.Errorf("%s began after %v, want %v", e.ID(), after, delay(e.Payload.N))
			}
			return nil
		}, stage.Workers(2)))
		for n := range keys {
			w.put(fmt.Sprintf("k%d.", n), n)
		}
		w.rest()
		pipelinetest.ExpectSettled(t, w.rec, "work", keys)
	})
}

func TestR3_NoGoroutineWaitsWithAParkedEvent(t *testing.T) {
	const events, workers = 100_000, 4
	synctest.Test(t, func(t *testing.T) {
		w := newPlantIn(t, pipeline.Config{}, nil, work(func(_ context.Context, e event.Event[job]) error {
			if time.Since(e.Time) < time.Hour {
				return stage.RetryAfter(time.Hour, errFlop)
			}
			return nil
		}, stage.Workers(workers), stage.Buffer(2*events)))
		w.run()
		synctest.Wait()
		idle := runtime.NumGoroutine()
		for n := range events {
			w.put("k"+strconv.Itoa(n)+".", 1)
		}
		synctest.Wait()
		if s := w.figures(); s.Parked != events {
			t.Errorf("%d events are parked, want %d", s.Parked, events)
		}
		if n := runtime.NumGoroutine(); n > idle {
			t.Errorf("%d goroutines while %d events are parked, %d without", n, events, idle)
		}
		w.Settle()
	})
}

// TestR4_AForcedShutdownCountsNoAttemptAndWritesNoLetter has handlers at work in every way when the grace ends.
func TestR4_AForcedShutdownCountsNoAttemptAndWritesNoLetter(t *testing.T) {
	ways := map[string]func(ctx context.Context) error{
		"returns the context's error": func(ctx context.Context) error { return ctx.Err() },
		"returns its cause":           func(ctx context.Context) error { return fmt.Errorf("at work: %w", context.Cause(ctx)) },
		"returns its own error":       func(context.Context) error { return errFlop },
		"gives up for good":           func(context.Context) error { return stage.Permanent(errFlop) },
		"panics":                      func(context.Context) error { panic("the connection is gone") },
		"ends its goroutine":          func(context.Context) error { runtime.Goexit(); return nil },
		"asks for a retry":            func(context.Context) error { return stage.RetryAfter(time.Hour, errFlop) },
	}
	for name, way := range ways {
		for _, workers := range []int{1, 2, 8} {
			t.Run(fmt.Sprintf("%s, %d workers", name, workers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					letters := deadletter.NewMemory()
					chain := []stage.Middleware{
						middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{}), middleware.Timeout(24 * time.Hour), middleware.Recover(),
					}
					w := runPlant(t, chain, work(func(ctx context.Context, _ event.Event[job]) error {
						<-ctx.Done()
						if cause := context.Cause(ctx); !errors.Is(cause, pipeline.ErrShutdown) {
							t.Errorf("the handler's context ended by %v, want ErrShutdown", cause)
						}
						return way(ctx)
					}, stage.Workers(workers)))
					for i := range workers {
						w.put(fmt.Sprintf("k%d.", i), 1, 2)
					}
					synctest.Wait()
					err := w.Stop()
					var left *pipeline.UnfinishedError
					if !errors.As(err, &left) || len(left.Events) != 2*workers || len(left.Stuck) != 0 {
						t.Fatalf("Run = %v, want an UnfinishedError with %d events and nobody stuck", err, 2*workers)
					}
					for _, u := range left.Events {
						if u.Attempts != 0 {
							t.Errorf("%s has %d failed attempts, want none", u.Meta.ID(), u.Attempts)
						}
					}
					if err := w.rec.CheckRest(left.Events...); err != nil {
						t.Error(err)
					}
					if ls := listed(t, letters, deadletter.Filter{}); len(ls) != 0 {
						t.Errorf("%d letters, want none", len(ls))
					}
					if s := w.figures(); s.Retries != 0 || s.Failed != 0 || s.DeadLettered != 0 || s.Returned != uint64(2*workers) {
						t.Errorf("figures %+v, want all returned and nothing else", s)
					}
				})
			})
		}
	}
}

// TestR4_SuccessStandsEvenThen: what a handler has finished in spite of the shutdown is done.
func TestR4_SuccessStandsEvenThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{})}, work(func(ctx context.Context, _ event.Event[job]) error {
			<-ctx.Done()
			return nil
		}, stage.Workers(1)))
		w.put("a", 1, 2)
		synctest.Wait()
		err := w.Stop()
		var left *pipeline.UnfinishedError
		if !errors.As(err, &left) || len(left.Events) != 1 || left.Events[0].Meta.ID() != "a2" {
			t.Errorf("Run = %v, want a2 unfinished", err)
		}
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDone)
	})
}

// TestR4_ACancelledDrainCountsNoAttempt cancels the step-by-step drain in the midst of a handler.
func TestR4_ACancelledDrainCountsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		var seen []int
		patient := true
		chain := []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 2}), attemptsSeen(&seen)}
		w := newPlant(t, chain, work(func(ctx context.Context, _ event.Event[job]) error {
			if patient {
				<-ctx.Done()
			}
			return ctx.Err()
		}))
		w.put("a", 1, 2)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if n, err := w.p.Drain(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Drain = %d, %v, want the deadline", n, err)
			}
			cancel()
		}
		if !slices.Equal(seen, []int{1, 1, 1}) {
			t.Errorf("attempts %v, want the first one three times", seen)
		}
		if s := w.figures(); s.Queued != 2 || s.Retries != 0 {
			t.Errorf("%d queued and %d retries, want 2 and 0", s.Queued, s.Retries)
		}
		patient = false
		if n := pipelinetest.Drain(t, w.p); n != 2 {
			t.Errorf("Drain = %d, want 2", n)
		}
		pipelinetest.ExpectOrder(t, w.rec, "work", "a", "a1", "a2")
		if ls := listed(t, letters, deadletter.Filter{}); len(ls) != 0 {
			t.Errorf("%d letters, want none", len(ls))
		}
	})
}

// TestR4_ACancellationOfOnesOwnIsAFailure: no shutdown, no excuse.
func TestR4_ACancellationOfOnesOwnIsAFailure(t *testing.T) {
	ways := map[string]jobHandler{
		"context.Canceled as it is": func(context.Context, event.Event[job]) error { return context.Canceled },
		"a context of one's own": func(ctx context.Context, _ event.Event[job]) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return fmt.Errorf("the query: %w", ctx.Err())
		},
		"a deadline of one's own": func(ctx context.Context, _ event.Event[job]) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		},
		"ErrShutdown of another pipeline": func(context.Context, event.Event[job]) error { return pipeline.ErrShutdown },
	}
	for name, way := range ways {
		for _, while := range []string{"running", "draining"} {
			t.Run(name+", while "+while, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					letters := deadletter.NewMemory()
					w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 3})}, work(way))
					w.put("a", 1)
					if while == "draining" {
						if err := w.Stop(); err != nil {
							t.Errorf("Run = %v, want nil", err)
						}
					} else {
						w.rest()
					}
					if n := len(w.rec.Started("work")); n != 3 {
						t.Errorf("%d attempts, want 3", n)
					}
					pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDeadLettered)
				})
			})
		}
	}
}

// TestR4_AContextThatMiddlewareEndsIsNoShutdown has a middleware of the user's outside of Retry that ends the
// attempt's context.
func TestR4_AContextThatMiddlewareEndsIsNoShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hasty := stage.Middleware{Name: "hasty", Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				return next(ctx, d)
			}
		}}
		letters := deadletter.NewMemory()
		chain := []stage.Middleware{hasty, middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 3})}
		w := runPlant(t, chain, work(func(ctx context.Context, _ event.Event[job]) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		w.put("a", 1)
		w.rest()
		if n := len(w.rec.Started("work")); n != 3 {
			t.Errorf("%d attempts, want 3", n)
		}
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDeadLettered)
	})
}

func TestR4_AHandlersTimeoutIsAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		chain := []stage.Middleware{
			middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 3}), middleware.Timeout(time.Minute), middleware.Recover(),
		}
		w := runPlant(t, chain, work(func(ctx context.Context, _ event.Event[job]) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		w.put("a", 1)
		w.rest()
		ls := listed(t, letters, deadletter.Filter{})
		if len(ls) != 1 || ls[0].Attempts != 3 || ls[0].Reason != deadletter.TimedOut {
			t.Errorf("letters %+v, want one of 3 attempts that took too long", ls)
		}
		if s := w.figures(); s.Retries != 2 {
			t.Errorf("%d retries, want 2", s.Retries)
		}
	})
}

// TestR5_ParkedEventsCountAgainstTheCapacity: what may wait in the stage and one event a worker is in it, and
// no more, however little of it is at work.
func TestR5_ParkedEventsCountAgainstTheCapacity(t *testing.T) {
	const buffer, workers = 6, 2
	for _, overflow := range []stage.Overflow{stage.Reject, stage.Block} {
		t.Run(overflow.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
					if time.Since(e.Time) < time.Hour {
						return stage.RetryAfter(time.Hour, errFlop)
					}
					return nil
				}, stage.Workers(workers), stage.Buffer(buffer), stage.WithOverflow(overflow)))
				began := time.Now()
				for i := range buffer + workers {
					w.put(fmt.Sprintf("k%d.", i), 1)
					synctest.Wait()
				}
				if time.Since(began) > 0 {
					t.Errorf("the first %d publishes took %v, want no time", buffer+workers, time.Since(began))
				}
				err := w.pub.Publish(t.Context(), job{"late", 1})
				took := time.Since(began)
				switch overflow {
				case stage.Reject:
					if !errors.Is(err, pipeline.ErrFull) || took > 0 {
						t.Errorf("Publish to a full stage = %v after %v, want ErrFull at once", err, took)
					}
				default:
					if err != nil || took != time.Hour {
						t.Errorf("Publish to a full stage = %v after %v, want nil after 1h", err, took)
					}
				}
				w.rest()
			})
		})
	}
}
