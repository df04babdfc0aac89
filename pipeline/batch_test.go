package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// batches records the calls of a handler of batches.
type batches struct {
	t     *testing.T
	takes time.Duration
	fail  func(context.Context, []event.Event[job]) error

	mu    sync.Mutex
	calls [][]string
	busy  map[string]bool
}

func (b *batches) handle(ctx context.Context, es []event.Event[job]) error {
	b.mu.Lock()
	if b.busy == nil {
		b.busy = map[string]bool{}
	}
	var ids []string
	for _, e := range es {
		if b.busy[e.Key] {
			b.t.Errorf("key %s is in two places at once", e.Key)
		}
		ids = append(ids, e.Payload.id())
	}
	for _, e := range es {
		b.busy[e.Key] = true
	}
	b.calls = append(b.calls, ids)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range es {
			delete(b.busy, e.Key)
		}
	}()
	if b.takes > 0 {
		time.Sleep(b.takes)
	}
	if b.fail != nil {
		return b.fail(ctx, es)
	}
	return nil
}

// sizes are those of the calls, in their order.
func (b *batches) sizes() (all []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		all = append(all, len(c))
	}
	return all
}

func (b *batches) of(id string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if slices.Contains(c, id) {
			n++
		}
	}
	return n
}

func (b *batches) stage(l stage.Limits, opts ...stage.Option) *stage.Stage {
	return stage.Batch(jobs, "work", l, b.handle, opts...)
}

// keyed is n jobs of as many keys.
func keyed(w *plant, n int) {
	for i := range n {
		w.put(fmt.Sprint("k", i, "-"), i)
	}
}

// answer is a handler of batches made of one of jobs: the first failure of a key leaves the rest of it alone.
func answer(each func(event.Event[job]) error) func(context.Context, []event.Event[job]) error {
	return func(_ context.Context, es []event.Event[job]) error {
		errs, failed := make(stage.BatchErrors, len(es)), map[string]bool{}
		for i, e := range es {
			if failed[e.Key] {
				continue
			}
			errs[i] = each(e)
			failed[e.Key] = errs[i] != nil
		}
		return errs
	}
}

func TestB1_AKeyIsInOneBatchAtATimeAndInOrder(t *testing.T) {
	for _, workers := range []int{8, 16, 64} {
		synctest.Test(t, func(t *testing.T) {
			b := &batches{t: t, takes: time.Second}
			var n atomic.Int64
			b.fail = func(_ context.Context, es []event.Event[job]) error {
				if n.Add(1)%3 == 0 && len(es) > 1 { // order must hold through failures
					return errFlop
				}
				return nil
			}
			w := runPlant(t, []stage.Middleware{middleware.DeadLetter(deadletter.NewMemory()), middleware.Retry(middleware.Exponential{})}, b.stage(stage.Limits{Size: 8}, stage.Workers(workers)))
			for n := range 20 {
				for k := range 10 {
					w.put(string(rune('a'+k)), n)
				}
			}
			w.rest() // the history: per key one at a time but in a batch, in accept order
			if largest := slices.Max(b.sizes()); largest != 8 {
				t.Errorf("%d workers: the largest batch has %d events, want 8", workers, largest)
			}
			for _, call := range b.calls {
				last := map[byte]int{}
				for _, id := range call {
					var n int
					_, _ = fmt.Sscan(id[1:], &n)
					if before, ok := last[id[0]]; ok && n != before+1 {
						t.Errorf("a batch has %s after %d of its key: %v", id, before, call)
					}
					last[id[0]] = n
				}
			}
			if s := w.figures(); s.Done != 200 {
				t.Errorf("%d done, want 200", s.Done)
			}
		})
	}
}

// TestB1_ABatchHoldsARunOfAKey: one key fills batches as many do.
func TestB1_ABatchHoldsARunOfAKey(t *testing.T) {
	for name, order := range map[string]stage.Order{"per key": stage.PerKey, "serial": stage.Serial} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &batches{t: t, takes: time.Second}
				w := runPlant(t, middleware.Standard(middleware.StandardConfig{Letters: deadletter.NewMemory(), Idempotency: idempotency.NewMemory()}),
					b.stage(stage.Limits{Size: 4, Wait: time.Minute}, stage.WithOrder(order)))
				w.put("a", oneTo(10)...)
				w.rest()
				want := [][]string{{"a1", "a2", "a3", "a4"}, {"a5", "a6", "a7", "a8"}, {"a9", "a10"}}
				if !slices.EqualFunc(b.calls, want, slices.Equal) {
					t.Errorf("batches %v, want %v", b.calls, want)
				}
			})
		})
	}
}

// TestB1_WhatIsNotHandledDoesNotCutARun: a duplicate, an event that is filtered or has expired.
func TestB1_WhatIsNotHandledDoesNotCutARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		b := &batches{t: t}
		none := stage.Middleware{Name: "none", Inside: []string{"deadletter"}, Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				switch d.GivenID {
				case "a3", "a4":
					return stage.Skip("not wanted")
				case "a6":
					return stage.Permanent(errFlop)
				}
				return next(ctx, d)
			}
		}}
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters, middleware.WithPolicy(deadletter.Continue)), none},
			b.stage(stage.Limits{Size: 10, Wait: time.Second}))
		w.put("a", oneTo(9)...)
		w.rest()
		want := [][]string{{"a1", "a2", "a5"}, {"a7", "a8", "a9"}} // a failure ends the run
		if !slices.EqualFunc(b.calls, want, slices.Equal) {
			t.Errorf("batches %v, want %v", b.calls, want)
		}
		pipelinetest.ExpectLetters(t, letters, "work", "a6")
	})
}

// TestB1_OrderHoldsWhateverGoesWrong plays the scripts of the other orders with batches.
func TestB1_OrderHoldsWhateverGoesWrong(t *testing.T) {
	for _, policy := range []deadletter.Policy{deadletter.Park, deadletter.Continue} {
		for _, size := range []int{2, 5, 32} {
			for _, sc := range scripts {
				t.Run(fmt.Sprintf("%v, at most %d, %s", policy, size, sc.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { playInBatches(t, policy, size, sc) })
				})
			}
		}
	}
}

func playInBatches(t *testing.T, policy deadletter.Policy, size int, sc script) {
	const n = 24
	state := states(someKeys)
	b := &batches{t: t, fail: answer(func(e event.Event[job]) (err error) {
		defer func() {
			if p := recover(); p != nil { // of the whole batch: see TestB3_OneBadEventTakesNoOtherAlong
				err = errFlop
			}
		}()
		return state[e.Key].play(t, e.Payload, sc)
	})}
	rec, letters := pipelinetest.NewRecorder(), deadletter.NewMemory()
	chain := []stage.Middleware{
		middleware.DeadLetter(rec.Letters(letters), middleware.WithPolicy(policy)),
		middleware.Retry(middleware.Constant{Attempts: 3, Delay: 7 * time.Millisecond}),
		rec.Middleware(), middleware.Timeout(jobTimeout), middleware.Recover(),
	}
	w := newPlantIn(t, pipeline.Config{Observer: rec.Observer()}, chain,
		b.stage(stage.Limits{Size: size, Wait: 3 * time.Millisecond}, stage.Workers(max(16, size))))
	w.rec = rec
	w.run()
	publishAll(t, w.pub, someKeys, n)
	w.rest()
	pipelinetest.ExpectSettled(t, rec, "work", n*len(someKeys))
	if err := rec.CheckStage("work", pipelinetest.Rules{Attempts: 3, InOrder: policy == deadletter.Park}); err != nil {
		t.Error(err)
	}
}

func TestB2_TheHandlerAnswersForEachEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		b := &batches{t: t}
		b.fail = func(_ context.Context, es []event.Event[job]) error {
			errs := make(stage.BatchErrors, len(es))
			for i, e := range es {
				switch e.Key {
				case "bad":
					errs[i] = stage.Permanent(errFlop)
				case "flaky":
					if e.Payload.N == 1 && b.of("flaky1") == 1 {
						errs[i] = errFlop
					}
				case "old":
					errs[i] = stage.Skip("old")
				}
			}
			return errs
		}
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Exponential{})},
			b.stage(stage.Limits{Wait: time.Second}))
		for _, key := range []string{"good", "bad", "flaky", "old"} {
			w.put(key, 1, 2)
		}
		w.rest()
		for id, want := range map[string]stage.Outcome{
			"good1": stage.OutcomeDone, "good2": stage.OutcomeDone, "flaky1": stage.OutcomeDone, "flaky2": stage.OutcomeDone,
			"old1": stage.OutcomeDropped, "bad1": stage.OutcomeDeadLettered, "bad2": stage.OutcomeDiverted,
		} {
			pipelinetest.ExpectOutcome(t, w.rec, "work", id, want)
		}
		if b.of("good1") != 1 || b.of("bad2") != 1 || b.of("flaky1") != 2 || b.of("flaky2") != 2 {
			t.Errorf("calls of good1, bad2, flaky1, flaky2: %d, %d, %d, %d; want 1, 1 (in the batch in which bad1 failed), 2, 2",
				b.of("good1"), b.of("bad2"), b.of("flaky1"), b.of("flaky2"))
		}
		if len(b.calls[0]) != 8 {
			t.Errorf("the first batch is %v, want all", b.calls[0])
		}
	})
}

// TestB2_TheFirstFailureOfAKeyLeavesTheRestUntried: they keep their place, and their attempts.
func TestB2_TheFirstFailureOfAKeyLeavesTheRestUntried(t *testing.T) {
	first := []string{"a1", "a2", "a3", "a4", "a5", "a6", "b1", "b2"} // a4 to a6 are left alone, b goes on
	for name, c := range map[string]struct {
		fail error
		then [][]string
	}{
		"a failure":   {errFlop, [][]string{{"a3"}, {"a4", "a5", "a6"}}},
		"retry after": {stage.RetryAfter(time.Second, errFlop), [][]string{{"a3"}, {"a4", "a5", "a6"}}},
		"put off":     {stage.Postpone(time.Second, errFlop), [][]string{{"a3", "a4", "a5", "a6"}}}, // as if for the first time
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &batches{t: t}
				b.fail = answer(func(e event.Event[job]) error {
					if e.Payload.id() == "a3" && b.of("a3") == 1 {
						return c.fail
					}
					return nil
				})
				w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Second})},
					b.stage(stage.Limits{Size: 8, Wait: time.Second}))
				w.put("a", oneTo(6)...)
				w.put("b", 1, 2)
				w.rest()
				slices.Sort(b.calls[0]) // keys come in any order
				if want := append([][]string{first}, c.then...); !slices.EqualFunc(b.calls, want, slices.Equal) {
					t.Errorf("batches %v, want %v", b.calls, want)
				}
				for _, e := range w.rec.Started("work") {
					if e.Attempt > 1 && e.ID != "a3" {
						t.Errorf("%v: an attempt was counted that was none", e)
					}
				}
				if s := w.figures(); s.Attempts != 9 || s.Done != 8 {
					t.Errorf("%d attempts and %d done, want 9 and 8", s.Attempts, s.Done)
				}
			})
		})
	}
}

// TestB2_ADeadLetterIsFollowedByTheRestOfItsRun: under Park they are diverted, in order and untried.
func TestB2_ADeadLetterIsFollowedByTheRestOfItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters, b := deadletter.NewMemory(), &batches{t: t}
		b.fail = answer(func(e event.Event[job]) error {
			if e.Payload.id() == "a3" {
				return stage.Permanent(errFlop)
			}
			return nil
		})
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{})},
			b.stage(stage.Limits{Size: 10, Wait: time.Second}))
		w.put("a", oneTo(6)...)
		w.rest()
		if s := w.figures(); s.Done != 2 || s.DeadLettered != 1 || s.Diverted != 3 || len(b.calls) != 1 {
			t.Errorf("%d done, %d letters, %d followers, batches %v; want 2, 1, 3, and one batch", s.Done, s.DeadLettered, s.Diverted, b.calls)
		}
		pipelinetest.ExpectLetters(t, letters, "work", "a3", "a4", "a5", "a6")
	})
}

// TestB1_WhatWaitsToBeMarkedIsNotPutBehindALetter: a1 is handled, and its mark comes after a2 has died.
func TestB1_WhatWaitsToBeMarkedIsNotPutBehindALetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters, ids, b := deadletter.NewMemory(), newFlakyIDs(), &batches{t: t}
		ids.breaks("confirm", 1)
		b.fail = answer(func(e event.Event[job]) error {
			if e.Payload.id() == "a2" {
				return stage.Permanent(errFlop)
			}
			return nil
		})
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters), middleware.Idempotent(ids), middleware.Retry(middleware.Constant{})},
			b.stage(stage.Limits{Size: 2, Wait: time.Second}))
		for n := 1; n <= 3; n++ {
			if err := w.pub.Publish(t.Context(), job{"a", n}, event.WithID(job{"a", n}.id())); err != nil {
				t.Fatal(err)
			}
		}
		w.rest()
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDone)
		pipelinetest.ExpectLetters(t, letters, "work", "a2", "a3")
		if b.of("a1") != 1 {
			t.Errorf("a1 was handled %d times, want once", b.of("a1"))
		}
	})
}

// TestB2_WhatTheChainMakesOfASuccessCounts: an event whose handler was done too late fails, and with it the rest
// of its run, which was handled after it.
func TestB2_WhatTheChainMakesOfASuccessCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		b.fail = func(_ context.Context, es []event.Event[job]) error {
			if len(es) == 2 {
				time.Sleep(900 * time.Millisecond)
			}
			return nil
		}
		w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Second}), middleware.Timeout(time.Second)},
			b.stage(stage.Limits{Size: 3, Wait: 200 * time.Millisecond}))
		w.put("a", 1)
		time.Sleep(150 * time.Millisecond)
		w.put("a", 2)
		w.rest()
		if !slices.EqualFunc(b.calls, [][]string{{"a1", "a2"}, {"a1"}, {"a2"}}, slices.Equal) {
			t.Errorf("batches %v, want a2 again after a1", b.calls)
		}
	})
}

// TestB3_OneBadEventTakesNoOtherAlong: whatever way it makes its batch fail, and with a single attempt.
func TestB3_OneBadEventTakesNoOtherAlong(t *testing.T) {
	for name, bad := range map[string]func(context.Context) error{
		"an error":     func(context.Context) error { return errFlop },
		"a panic":      func(context.Context) error { panic("boom") },
		"a Goexit":     func(context.Context) error { runtime.Goexit(); return nil },
		"wrong length": func(context.Context) error { return stage.BatchErrors{nil, nil} },
		"permanent":    func(context.Context) error { return stage.Permanent(errFlop) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				letters := deadletter.NewMemory()
				b := &batches{t: t}
				b.fail = func(ctx context.Context, es []event.Event[job]) error {
					if slices.ContainsFunc(es, func(e event.Event[job]) bool { return e.Payload.N == 7 }) {
						return bad(ctx)
					}
					return nil
				}
				w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 1}), middleware.Recover()},
					b.stage(stage.Limits{Size: 10, Wait: time.Second}))
				keyed(w, 10)
				w.rest()
				s := w.figures()
				if s.Done != 9 || s.DeadLettered != 1 {
					t.Errorf("%d done and %d letters, want 9 and 1", s.Done, s.DeadLettered)
				}
				if !slices.Equal(b.sizes(), []int{10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}) {
					t.Errorf("calls of %v events, want all ten and then each", b.sizes())
				}
			})
		})
	}
}

// TestB3_ARunOfAFailedBatchIsTriedOneByOne: the first of each key within the attempt, the rest when it has settled.
func TestB3_ARunOfAFailedBatchIsTriedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters, b := deadletter.NewMemory(), &batches{t: t}
		b.fail = func(_ context.Context, es []event.Event[job]) error {
			if slices.ContainsFunc(es, func(e event.Event[job]) bool { return e.Payload.id() == "a2" }) {
				return errFlop
			}
			return nil
		}
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters, middleware.WithPolicy(deadletter.Continue)), middleware.Retry(middleware.Constant{Attempts: 1})},
			b.stage(stage.Limits{Size: 6, Wait: time.Second}))
		w.put("a", oneTo(4)...)
		w.put("b", 1, 2)
		w.rest()
		if s := w.figures(); s.Done != 5 || s.DeadLettered != 1 || s.Attempts != 6 {
			t.Errorf("%d done, %d letters, %d attempts; want 5, 1, 6", s.Done, s.DeadLettered, s.Attempts)
		}
		var singles []string
		for _, call := range b.calls[1:] {
			if len(call) > 1 {
				t.Errorf("a batch of %v after the one that failed", call)
			}
			if call[0][0] == 'a' {
				singles = append(singles, call[0])
			}
		}
		if len(b.calls[0]) != 6 || !slices.Equal(singles, jobIDs("a", 4)) {
			t.Errorf("batches %v, want all six and then each of them", b.calls)
		}
	})
}

func TestB3_ABatchThatTimesOutIsTriedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		b := &batches{t: t}
		b.fail = func(ctx context.Context, es []event.Event[job]) error {
			if slices.ContainsFunc(es, func(e event.Event[job]) bool { return e.Payload.N == 3 }) {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		w := runPlant(t, []stage.Middleware{
			middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 2}), middleware.Timeout(10 * time.Second),
		}, b.stage(stage.Limits{Size: 5}))
		keyed(w, 5)
		w.rest()
		if s := w.figures(); s.Done != 4 || s.DeadLettered != 1 {
			t.Errorf("%d done and %d letters, want 4 and 1", s.Done, s.DeadLettered)
		}
	})
}

func TestABatchIsBoundedBySizeBytesAndWait(t *testing.T) {
	const payload = len(`{"Key":"k0-","N":0}`)
	for name, c := range map[string]struct {
		limits stage.Limits
		want   []int
		after  time.Duration
	}{
		"size":         {stage.Limits{Size: 4, Wait: time.Minute}, []int{4, 4, 2}, time.Minute},
		"bytes":        {stage.Limits{Size: 100, Bytes: 3*payload + 5, Wait: time.Minute}, []int{3, 3, 3, 1}, time.Minute},
		"exact bytes":  {stage.Limits{Size: 100, Bytes: 5 * payload, Wait: time.Minute}, []int{5, 5}, 0},
		"large events": {stage.Limits{Size: 100, Bytes: 1, Wait: time.Minute}, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
		"wait":         {stage.Limits{Size: 100, Wait: 3 * time.Second}, []int{10}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &batches{t: t}
				w := runPlant(t, nil, b.stage(c.limits))
				began := time.Now()
				keyed(w, 10)
				for w.figures().Done < 10 {
					time.Sleep(time.Millisecond)
				}
				took := time.Since(began)
				got := b.sizes()
				slices.Sort(got)
				slices.Reverse(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("batches of %v, want %v", got, c.want)
				}
				if took < c.after || took > c.after+time.Second {
					t.Errorf("done after %v, want %v", took, c.after)
				}
				w.rest()
			})
		})
	}
}

func TestS1_BatchesFlushOnDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		w := runPlant(t, nil, b.stage(stage.Limits{Wait: time.Hour}))
		began := time.Now()
		keyed(w, 7)
		synctest.Wait()
		if len(b.sizes()) != 0 || w.figures().Running != 7 {
			t.Fatalf("%v handled and %d at work before the drain, want none and 7", b.sizes(), w.figures().Running)
		}
		if err := w.Stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if !slices.Equal(b.sizes(), []int{7}) || time.Since(began) > time.Second {
			t.Errorf("batches of %v after %v, want the seven at once", b.sizes(), time.Since(began))
		}
	})
}

func TestS3_AForcedShutdownHandsABatchBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		b.fail = func(ctx context.Context, _ []event.Event[job]) error { <-ctx.Done(); return ctx.Err() }
		w := newPlantIn(t, pipeline.Config{Grace: time.Second}, []stage.Middleware{middleware.DeadLetter(deadletter.NewMemory()), middleware.Retry(middleware.Exponential{})}, b.stage(stage.Limits{}))
		w.run()
		keyed(w, 5)
		synctest.Wait()
		if left := unfinished(w.Stop()); len(left) != 5 {
			t.Errorf("%d events were handed back, want 5", len(left))
		}
		if s := w.figures(); s.Retries != 0 || s.Returned != 5 {
			t.Errorf("%d attempts counted and %d returned, want none and 5", s.Retries, s.Returned)
		}
	})
}

func TestI1_ADuplicateInABatchIsHandledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		w := runPlant(t, []stage.Middleware{middleware.Idempotent(idempotency.NewMemory()), middleware.Retry(middleware.Exponential{})},
			b.stage(stage.Limits{Wait: time.Second}, stage.WithOrder(stage.Unordered)))
		for _, key := range []string{"x", "y", "z"} {
			if err := w.pub.Publish(t.Context(), job{key, 1}, event.WithID("same")); err != nil {
				t.Fatal(err)
			}
		}
		w.Settle()
		if s := w.figures(); s.Done != 1 || s.Duplicate != 2 || !slices.Equal(b.sizes(), []int{1}) {
			t.Errorf("%d done, %d duplicates, batches of %v; want 1, 2, and one event", s.Done, s.Duplicate, b.sizes())
		}
	})
}

func TestStepByStepEachEventIsABatch(t *testing.T) {
	b := &batches{t: t}
	w := newPlant(t, nil, b.stage(stage.Limits{Wait: time.Hour}))
	keyed(w, 3)
	pipelinetest.Drain(t, w.p)
	if !slices.Equal(b.sizes(), []int{1, 1, 1}) {
		t.Errorf("batches of %v, want each event by itself", b.sizes())
	}
}

func TestX3_ARedrivenLetterIsABatchOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		b, down := &batches{t: t}, true
		b.fail = func(context.Context, []event.Event[job]) error {
			if down {
				return errFlop
			}
			return nil
		}
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 1})}, b.stage(stage.Limits{Wait: time.Hour}))
		w.put("a", 1)
		w.Settle()
		down = false
		began := time.Now()
		r, err := deadletter.Drain(t.Context(), letters, w.p, deadletter.DrainOptions{})
		if err != nil || r.Succeeded != 1 || time.Since(began) > time.Second {
			t.Errorf("Drain = %v, %v after %v, want the letter redriven at once", r, err, time.Since(began))
		}
	})
}

func TestWrongBatchesAreFaults(t *testing.T) {
	fine := func(context.Context, []event.Event[job]) error { return nil }
	for want, s := range map[string]*stage.Stage{
		"Limits":             stage.Batch(jobs, "work", stage.Limits{Size: -1}, fine, stage.Workers(1)),
		"Workers(5)":         stage.Batch(jobs, "work", stage.Limits{Size: 10}, fine, stage.Workers(5)),
		"the handler is nil": stage.Batch(jobs, "work", stage.Limits{}, nil),
	} {
		if err := errors.Join(s.Check(nil)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Check = %v", want, err)
		}
	}
	s := stage.Batch(jobs, "work", stage.Limits{Size: 10, Bytes: 100}, fine)
	if err := errors.Join(s.Check(nil)...); err != nil {
		t.Error(err)
	}
	if text := s.Plan(nil).String(); !strings.Contains(text, "batches     at most 10 events, or 100 bytes, or what came within 10ms") {
		t.Errorf("the plan is\n%s", text)
	}
}
