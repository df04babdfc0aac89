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

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// cratesOf yields n crates of a key.
func cratesOf(key string, n int) []crate {
	var all []crate
	for i := range n {
		all = append(all, crate{key, i})
	}
	return all
}

func TestSources_RunEndsWithTheLastOfThem(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := newYard(t, pipeline.Config{StopAfterSources: true, Grace: time.Hour}, loading(takes(time.Second)))
		slow := make(chan crate)
		go func() {
			defer close(slow)
			for _, c := range cratesOf("b", 5) {
				time.Sleep(time.Minute)
				slow <- c
			}
		}()
		pipeline.From(y.p, crates, event.FromSeq(slices.Values(cratesOf("a", 50))))
		pipeline.From(y.p, crates, event.FromChan(slow))
		y.start()
		if err := y.Wait(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if n := y.stageOf("load").Done; n != 55 {
			t.Errorf("%d done, want 55", n)
		}
		if err := y.rec.CheckRest(); err != nil {
			t.Error(err)
		}
	})
}

func TestSources_RunGoesOnWhenTheyHaveEnded(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := newYard(t, pipeline.Config{}, loading(pass))
		pipeline.From(y.p, crates, event.FromSeq(slices.Values(cratesOf("a", 3))))
		y.start()
		y.Settle()
		y.put("b", 1)
		y.Settle()
		if s := y.p.Snapshot(); s.State != "running" || s.Stages[0].Done != 4 {
			t.Errorf("state %s with %d done, want it running with 4", s.State, s.Stages[0].Done)
		}
	})
}

// TestSources_AFaultEndsTheRun: an error, a panic or a Goexit of a source; what was accepted before is
// still handled.
func TestSources_AFaultEndsTheRun(t *testing.T) {
	broken := errors.New("the line is dead")
	for name, c := range map[string]struct {
		fail func() error
		want string
	}{
		"an error": {func() error { return broken }, "the source of topic crates: the line is dead"},
		"a panic":  {func() error { panic(broken) }, "the source of topic crates panicked: panic: the line is dead"},
		"a goexit": {func() error { runtime.Goexit(); return nil }, "the source of topic crates ended its goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				y := newYard(t, pipeline.Config{}, loading(takes(time.Second)))
				pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
					for _, c := range cratesOf("a", 3) {
						if err := emit(ctx, event.Incoming[crate]{Payload: c}); err != nil {
							return err
						}
					}
					return c.fail()
				}))
				pipeline.From(y.p, crates, event.FromChan(make(chan crate))) // another goes on until it is stopped
				y.start()
				err := y.Wait()
				if err == nil || !strings.Contains(err.Error(), c.want) || name != "a goexit" && !errors.Is(err, broken) {
					t.Errorf("Run = %v, want %q", err, c.want)
				}
				if n := y.stageOf("load").Done; n != 3 {
					t.Errorf("%d done, want the 3 that were accepted before", n)
				}
			})
		})
	}
}

// TestFault18_ASourceWhoseErrorPanics, or has no end, ends the run like one that fails in any other way.
func TestFault18_ASourceWhoseErrorPanics(t *testing.T) {
	for _, broken := range []error{panicky{}, badUnwrap{}, badIs{}, endless{}, circle()} {
		t.Run(fmt.Sprintf("%T", broken), func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				y := newYard(t, pipeline.Config{}, loading(pass))
				pipeline.From(y.p, crates, event.FromReceive(func(context.Context, event.Emit[crate]) error { return broken }))
				y.start()
				if err := y.Wait(); err == nil || !strings.Contains(err.Error(), "the source of topic crates: ") {
					t.Errorf("Run = %v, want the source's failure", err)
				}
			})
		})
	}
}

// TestSources_OneThatIgnoresItsContext is reported when the grace and the linger have ended; all that was accepted is
// done.
func TestSources_OneThatIgnoresItsContext(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := newYard(t, pipeline.Config{Grace: time.Minute}, loading(pass))
		pipeline.From(y.p, crates, event.FromReceive(func(context.Context, event.Emit[crate]) error {
			time.Sleep(24 * time.Hour)
			return nil
		}))
		y.start()
		y.put("a", 1)
		began := time.Now()
		err := y.Stop()
		if err == nil || !strings.Contains(err.Error(), "a source did not end when its context did") || time.Since(began) != time.Minute+pipeline.DefaultLinger {
			t.Errorf("Run = %v after %v, want the source reported after the grace and the linger", err, time.Since(began))
		}
		if n := y.stageOf("load").Done; n != 1 {
			t.Errorf("%d done, want 1", n)
		}
		time.Sleep(25 * time.Hour)
	})
}

// TestSources_TheyAreStoppedFirst: one is told by its context, with the cause, and its emit is refused once the intake
// has closed. That it was stopped is no error.
func TestSources_TheyAreStoppedFirst(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var cause, refused error
		y := newYard(t, pipeline.Config{}, loading(takes(time.Second)))
		pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
			if err := emit(ctx, event.Incoming[crate]{Payload: crate{"a", 1}}); err != nil {
				return err
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			refused = emit(ctx, event.Incoming[crate]{Payload: crate{"a", 2}})
			return cause
		}))
		y.start()
		synctest.Wait()
		if err := y.Stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if !errors.Is(cause, pipeline.ErrShutdown) || !errors.Is(refused, pipeline.ErrShutdown) {
			t.Errorf("its context ended with %v, its emit with %v, want %v", cause, refused, pipeline.ErrShutdown)
		}
		if s := y.stageOf("load"); s.Done != 1 || s.Accepted != 1 {
			t.Errorf("%d of %d done, want one", s.Done, s.Accepted)
		}
	})
}

// TestSources_FeelBackpressure: a source is never ahead of a slow stage by more than it holds.
func TestSources_FeelBackpressure(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var emitted, handled atomic.Int64
		const room = 2 + 4
		y := newYard(t, pipeline.Config{StopAfterSources: true, Grace: time.Hour}, loading(func(context.Context, event.Event[crate]) error {
			time.Sleep(time.Second)
			handled.Add(1)
			return nil
		}, stage.Workers(2), stage.Buffer(4)))
		pipeline.From(y.p, crates, event.FromFunc(func(context.Context) (crate, bool, error) {
			n := int(emitted.Add(1))
			if ahead := emitted.Load() - handled.Load(); ahead > room+1 { // the one in its hand
				t.Errorf("the source is %d ahead, want at most %d", ahead, room+1)
			}
			return crate{[]string{"a", "b", "c"}[n%3], n}, n <= 100, nil
		}))
		y.start()
		if err := y.Wait(); err != nil || handled.Load() != 100 {
			t.Errorf("Run = %v after %d events, want nil after 100", err, handled.Load())
		}
	})
}

// acks counts how often each event was acknowledged, and with what.
type acks struct {
	mu  sync.Mutex
	got map[string][]error
}

func (a *acks) of(c crate) func(error) {
	return func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.got == nil {
			a.got = map[string][]error{}
		}
		a.got[c.id()] = append(a.got[c.id()], err)
	}
}

// TestSources_SettledIsCalledOnce, whatever becomes of the event: with nil when it is done with, with an error
// when it is not.
func TestSources_SettledIsCalledOnce(t *testing.T) {
	cases := map[string]struct {
		handle crateHandler
		good   bool
		is     error
	}{
		"done":                {pass, true, nil},
		"skipped":             {yields(stage.Skip("late")), true, nil},
		"a duplicate":         {yields(stage.Skip(stage.ReasonDuplicate)), true, nil},
		"a dead letter":       {yields(stage.Stored("L1", errDamaged)), true, nil},
		"diverted":            {yields(stage.Diverted("L1")), true, nil},
		"failed":              {yields(errDamaged), false, errDamaged},
		"permanent":           {yields(stage.Permanent(errDamaged)), false, errDamaged},
		"a panic":             {func(context.Context, event.Event[crate]) error { panic(errDamaged) }, false, errDamaged},
		"a goexit":            {func(context.Context, event.Event[crate]) error { runtime.Goexit(); return nil }, false, stage.ErrGoexit},
		"held":                {yields(stage.Hold(errDamaged)), false, pipeline.ErrShutdown},
		"parked":              {yields(stage.RetryAfter(100*time.Hour, errDamaged)), false, pipeline.ErrShutdown},
		"interrupted":         {waits, false, pipeline.ErrShutdown},
		"running, and stuck":  {takes(100 * time.Hour), false, pipeline.ErrShutdown},
		"done at another try": {retriesOnce(), true, nil},
		"not done at another": {func(context.Context, event.Event[crate]) error {
			return stage.Permanent(fmt.Errorf("again: %w", errDamaged))
		}, false, errDamaged},
		"done, one stage of two": {onlyOnce(), false, errDamaged},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				var a acks
				stages := []*stage.Stage{loading(c.handle)}
				if name == "done, one stage of two" {
					stages = append(stages, stage.Handle(crates, "second", c.handle))
				}
				y := newYard(t, pipeline.Config{Grace: time.Minute, Linger: time.Second}, stages...)
				one := crate{"a", 1}
				pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
					return emit(ctx, event.Incoming[crate]{Payload: one, Settled: a.of(one)})
				}))
				y.start()
				time.Sleep(time.Second)
				_ = y.Stop()
				time.Sleep(101 * time.Hour) // the stuck one comes back
				got := a.got[one.id()]
				if len(got) != 1 {
					t.Fatalf("Settled was called %d times (%v), want once", len(got), got)
				}
				if (got[0] == nil) != c.good || c.is != nil && !errors.Is(got[0], c.is) {
					t.Errorf("Settled(%v), want %v", got[0], c.is)
				}
			})
		})
	}
}

func retriesOnce() crateHandler { return retriesIn(time.Millisecond) }

// retriesIn asks for another attempt once, after d, and then succeeds.
func retriesIn(d time.Duration) crateHandler {
	var n atomic.Int64
	return func(context.Context, event.Event[crate]) error {
		if n.Add(1) == 1 {
			return stage.RetryAfter(d, errDamaged)
		}
		return nil
	}
}

// onlyOnce succeeds for whoever calls first.
func onlyOnce() crateHandler {
	var n atomic.Int64
	return func(context.Context, event.Event[crate]) error {
		if n.Add(1) == 1 {
			return nil
		}
		return errDamaged
	}
}

// TestSources_SettledOfWhatOverflowDrops: the drop is on purpose.
func TestSources_SettledOfWhatOverflowDrops(t *testing.T) {
	for _, o := range []stage.Overflow{stage.DropOldest, stage.DropNewest} {
		t.Run(o.String(), func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				var a acks
				y := newYard(t, pipeline.Config{}, loading(takes(time.Second), stage.Workers(1), stage.Buffer(1), stage.WithOverflow(o)))
				pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
					for _, c := range cratesOf("a", 10) {
						if err := emit(ctx, event.Incoming[crate]{Payload: c, Settled: a.of(c)}); err != nil {
							return err
						}
					}
					return nil
				}))
				y.start()
				y.Settle()
				if s := y.stageOf("load"); s.Dropped == 0 || len(a.got) != 10 {
					t.Errorf("%d dropped, %d acknowledged, want some and all 10", s.Dropped, len(a.got))
				}
				for id, errs := range a.got {
					if len(errs) != 1 || errs[0] != nil {
						t.Errorf("event %s: Settled was called with %v, want nil once", id, errs)
					}
				}
			})
		})
	}
}

// TestSources_SettledIsNotCalledForWhatWasRefused.
func TestSources_SettledIsNotCalledForWhatWasRefused(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var a acks
		var errs []error
		y := newYard(t, pipeline.Config{}, loading(takes(time.Second), stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.Reject)))
		pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
			for _, c := range append(cratesOf("a", 5), crate{}) {
				if err := emit(ctx, event.Incoming[crate]{Payload: c, Settled: a.of(c)}); err != nil {
					errs = append(errs, err)
				}
			}
			return nil
		}))
		y.start()
		y.Settle()
		if !errors.Is(errs[0], pipeline.ErrFull) || !errors.Is(errs[len(errs)-1], event.ErrNoKey) {
			t.Errorf("emit = %v, want %v and at last %v", errs, pipeline.ErrFull, event.ErrNoKey)
		}
		if len(a.got)+len(errs) != 6 {
			t.Errorf("%d acknowledged and %d refused, want 6 in all", len(a.got), len(errs))
		}
	})
}

// TestSources_ASettledThatPanics goes no further, at the end of an event or of the pipeline.
func TestSources_ASettledThatPanics(t *testing.T) {
	for name, handle := range map[string]crateHandler{"done": pass, "handed back": waits} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				var called atomic.Int64
				y := newYard(t, pipeline.Config{Grace: time.Minute}, loading(handle))
				pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
					for _, c := range cratesOf("a", 3) {
						if err := emit(ctx, event.Incoming[crate]{Payload: c, Settled: func(error) { called.Add(1); panic("for fun") }}); err != nil {
							return err
						}
					}
					return nil
				}))
				y.start()
				synctest.Wait()
				err := y.Stop()
				if s := y.stageOf("load"); called.Load() != 3 || s.Sum(true) != nil || name == "handed back" && s.Returned != 3 {
					t.Errorf("Run = %v, Settled was called %d times, figures %+v", err, called.Load(), s)
				}
			})
		})
	}
}

// TestSources_AnUndecodableEventCallsNoHandler, and settles as a permanent failure.
func TestSources_AnUndecodableEventCallsNoHandler(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var a acks
		var seen []byte
		raw := []byte("\x00 not json")
		y := newYard(t, pipeline.Config{OnUnhandled: func(d *stage.Delivery, _ error) { seen, _, _ = d.Encode() }}, loading(func(context.Context, event.Event[crate]) error {
			t.Error("the handler was called")
			return nil
		}))
		pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
			return emit(ctx, event.Incoming[crate]{Err: errDamaged, Raw: raw, Settled: a.of(crate{"raw", 1})})
		}))
		y.start()
		y.Settle()
		got := a.got["raw1"]
		if len(got) != 1 || !errors.Is(got[0], stage.ErrUndecodable) || !errors.Is(got[0], errDamaged) || string(seen) != string(raw) {
			t.Errorf("Settled was called with %v, and Encode gave %q", got, seen)
		}
	})
}

// TestSources_WhatOneHasTakenIsAccepted: a value that a source took before it was stopped waits for room as
// long as the pipeline drains.
func TestSources_WhatOneHasTakenIsAccepted(t *testing.T) {
	for name, source := range map[string]event.Source[crate]{
		"FromSeq":  event.FromSeq(slices.Values(cratesOf("a", 1000))),
		"FromChan": event.FromChan(filled(1000)),
		"FromFunc": event.FromFunc(func(context.Context) (crate, bool, error) { return crate{"a", 1}, true, nil }),
	} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				taken := 0
				y := newYard(t, pipeline.Config{Grace: time.Hour}, loading(takes(time.Second), stage.Buffer(4), stage.Workers(1)))
				pipeline.From(y.p, crates, counted(source, &taken))
				y.start()
				time.Sleep(10 * time.Second)
				if err := y.Stop(); err != nil {
					t.Errorf("Run = %v, want nil", err)
				}
				if s := y.stageOf("load"); int(s.Done) != taken || taken < 10 || taken > 30 {
					t.Errorf("%d done of %d taken, want all, and no more taken than there was room for", s.Done, taken)
				}
			})
		})
	}
}

// filled returns a channel with n crates in it.
func filled(n int) <-chan crate {
	ch := make(chan crate, n)
	for _, c := range cratesOf("a", n) {
		ch <- c
	}
	return ch
}

// counted counts what a source has taken.
func counted(s event.Source[crate], n *int) event.Source[crate] {
	return event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
		return s.Receive(ctx, func(ctx context.Context, in event.Incoming[crate]) error {
			*n++
			return emit(ctx, in)
		})
	})
}

// TestSources_WhatOneHasTakenIsHandedBack: when nothing but a release could make room for it, or when the grace has
// ended, it is among the unfinished, and not lost.
func TestSources_WhatOneHasTakenIsHandedBack(t *testing.T) {
	for name, c := range map[string]struct {
		handle crateHandler
		takes  time.Duration // of the shutdown
	}{
		"behind a held key": {func(context.Context, event.Event[crate]) error { return stage.Hold(errors.New("no")) }, 0},
		"after the grace": {func(ctx context.Context, _ event.Event[crate]) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				taken := 0
				y := newYard(t, pipeline.Config{Grace: time.Hour}, loading(c.handle, stage.Buffer(4), stage.Workers(1)))
				pipeline.From(y.p, crates, counted(event.FromChan(filled(1000)), &taken))
				y.start()
				synctest.Wait()
				began := time.Now()
				err := y.Stop()
				var left *pipeline.UnfinishedError
				if !errors.As(err, &left) {
					t.Fatalf("Run = %v, want an UnfinishedError", err)
				}
				last := left.Events[len(left.Events)-1]
				if last.State != "refused" || last.Meta.Topic != "crates" || last.Stage != "" || last.Payload != (crate{"a", taken - 1}) {
					t.Errorf("the last one left is %+v, want the last one taken, refused", last)
				}
				if len(left.Events) != taken || time.Since(began) != c.takes {
					t.Errorf("%d left of %d taken, after %v; want all, after %v", len(left.Events), taken, time.Since(began), c.takes)
				}
			})
		})
	}
}
