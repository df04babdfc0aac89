package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

// successes counts the calls that succeeded, by identity.
func (j *journal) successes() map[string]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := map[string]int{}
	for _, c := range j.calls {
		if c.how == "+" {
			n[c.meta.ID()]++
		}
	}
	return n
}

func TestI1_ADuplicateWaitsForTheFirst(t *testing.T) {
	for _, c := range []struct {
		name string
		ends []error // of the calls, in order
		want string  // Done, Duplicate, DeadLettered
	}{
		{"and is settled once it succeeded", []error{nil}, "1 2 0"},
		{"and runs when it failed", []error{stage.Permanent(errBroken), nil}, "1 1 1"},
		// The letter of the second is the first's: one event has one letter.
		{"and runs when that failed too", []error{stage.Permanent(errBroken), stage.Permanent(errBroken), nil}, "1 1 1"},
		{"and is settled once it was skipped", []error{stage.Skip("not for us")}, "0 2 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, workers := range []int{2, 8} { // with one worker there are no two at once
				t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var calls atomic.Int64
						running := &atomic.Int64{}
						d := startDepot(t, letterConfig{
							workers: workers, followers: deadletter.Continue, ids: idempotency.NewMemory(),
							handle: func(context.Context, *call) error {
								if running.Add(1) > 1 {
									t.Error("two deliveries of one identity run at once")
								}
								defer running.Add(-1)
								time.Sleep(time.Minute)
								return c.ends[calls.Add(1)-1]
							},
						})
						for i := range 3 { // three keys, so that no lane keeps them apart
							d.send("same", fmt.Sprint("key-", i), 1)
						}
						time.Sleep(59 * time.Second)
						if n := d.figures(); n.Duplicate != 0 || n.Resident() != 3 {
							t.Errorf("while the first runs %d are settled as duplicates, %d are resident; want 0, 3", n.Duplicate, n.Resident())
						}
						d.settle()
						n := d.figures()
						if got := fmt.Sprint(n.Done, n.Duplicate, n.DeadLettered); got != c.want || int(calls.Load()) != len(c.ends) {
							t.Errorf("done, duplicate and dead-lettered are %s after %d calls, want %s after %d", got, calls.Load(), c.want, len(c.ends))
						}
						d.close()
					})
				})
			}
		})
	}
}

func TestI1_AtMostOneSuccessForEachIdentity(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		var m mishaps
		d := startDepot(t, letterConfig{
			workers: workers, followers: policy, handle: m.handle, ids: idempotency.NewMemory(), timeout: 20 * time.Millisecond,
			retry: middleware.Constant{Attempts: 2, Delay: 3 * time.Millisecond},
		})
		var all sync.WaitGroup
		for p := range 4 {
			all.Go(func() {
				for i := range 60 {
					d.send(fmt.Sprint("id-", i), fmt.Sprint((i+p)%7), i)
					if i%8 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		all.Wait()
		d.settle()
		m.mended.Store(true)
		d.drainDry()
		d.settle()
		d.drainDry()
		for id, n := range d.successes() {
			if n != 1 {
				t.Errorf("%s succeeded %d times, want once", id, n)
			}
		}
		skipped := 5 // of the numbers below 60, those of which the rest is 4 are skipped
		if n := len(d.successes()); n < 60-skipped || n > 60 {
			t.Errorf("%d identities succeeded, want 55 to 60", n)
		}
		d.close()
	})
}

func TestI1_EachStageHasItsOwnIdentities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids, n := idempotency.NewMemory(), 0
		other := stage.Handle(parcels, "other", func(context.Context, event.Event[parcel]) error { n++; return nil }, stage.Workers(1))
		d := startDepot(t, letterConfig{ids: ids, moreStages: []*stage.Stage{other}})
		d.send("same", "a", 1)
		d.send("same", "a", 1)
		d.settle()
		d.wantTrace("a", "1+")
		if n != 1 {
			t.Errorf("the other stage handled it %d times, want once", n)
		}
		d.close()
	})
}

func TestI1_WithoutAnIdentityNothingIsADuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDepot(t, letterConfig{ids: idempotency.NewMemory()})
		d.publish("a", 1, 1, 1)
		d.settle()
		d.wantTrace("a", "1+ 1+ 1+")
		d.close()
	})
}

// badEnds are the ways of an attempt to end without success.
var badEnds = map[string]func(ctx context.Context) error{
	"failed":    func(context.Context) error { return errBroken },
	"permanent": func(context.Context) error { return stage.Permanent(errBroken) },
	"panicked":  func(context.Context) error { panic(errBroken) },
	"goexit":    func(context.Context) error { runtime.Goexit(); return nil },
	"timed out": func(ctx context.Context) error { <-ctx.Done(); return nil },
}

func TestI2_AnAttemptWithoutSuccessReleasesItsClaim(t *testing.T) {
	for name, end := range badEnds {
		t.Run(name, func(t *testing.T) {
			eachPolicy(t, allPolicies, func(t *testing.T, workers int, policy deadletter.Policy) {
				ids := idempotency.NewMemory()
				var mended atomic.Bool
				d := startDepot(t, letterConfig{
					workers: workers, followers: policy, ids: ids, timeout: time.Second,
					retry: middleware.Constant{Attempts: 2, Delay: time.Minute},
					handle: func(ctx context.Context, _ *call) error {
						if mended.Load() {
							return nil
						}
						return end(ctx)
					},
				})
				d.send("one", "a", 1)
				time.Sleep(10 * time.Second) // past the first attempt
				free := func(when string) {
					t.Helper()
					if n := ids.Stats().InFlight; n != 0 {
						t.Errorf("%s %d claims are held, want none", when, n)
					}
				}
				free("in backoff")
				d.settle()
				free("after the last attempt")
				mended.Store(true)
				switch policy {
				case deadletter.HaltStage:
					_ = d.shut()
					return
				case deadletter.Block:
					_, _ = d.p.Release("work", "a")
				default:
					if r := d.drain(deadletter.DrainOptions{}); r.Succeeded != 1 {
						t.Errorf("%v, want 1 succeeded", r)
					}
				}
				d.settle()
				if got := d.trace("a"); !strings.HasSuffix(got, "1+r") && !strings.HasSuffix(got, "1+") {
					t.Errorf("the calls are %q: the redrive was swallowed as a duplicate", got)
				}
				d.send("one", "a", 1)
				d.settle()
				if n := d.figures().Duplicate; n != 1 {
					t.Errorf("after the success %d duplicates are settled, want 1", n)
				}
				d.close()
			})
		})
	}
}

func TestI2_ADeadLetterIsNoDuplicateOfItself(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		f := failing("a", 1)
		d := startDepot(t, letterConfig{workers: workers, followers: policy, ids: idempotency.NewMemory(), handle: f.handle})
		d.send("one", "a", 1)
		d.settle()
		d.send("one", "a", 1) // again, from a producer that does not know
		d.settle()
		d.wantLetters("a", "1") // one letter, whatever happened to the second
		f.mend()
		d.drainDry()
		d.settle()
		if n := d.successes()["one"]; n != 1 {
			t.Errorf("it succeeded %d times, want once: %s", n, d.trace("a"))
		}
		d.close()
	})
}

func TestI2_AShutdownReleasesTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := idempotency.NewMemory()
		d := startDepot(t, letterConfig{
			ids: ids, config: pipeline.Config{Grace: time.Second},
			handle: func(ctx context.Context, _ *call) error { <-ctx.Done(); return ctx.Err() },
		})
		d.send("one", "a", 1)
		synctest.Wait()
		if err := d.shut(); len(unfinished(err)) != 1 {
			t.Errorf("Run = %v, want one unfinished event", err)
		}
		if n := ids.Stats().InFlight; n != 0 {
			t.Errorf("%d claims are held, want none", n)
		}
		d.wantLetters("a", "")
	})
}

func TestI3_TheWindowIsBoundedAndEarlyForgettingIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 10})
		d := startDepot(t, letterConfig{ids: ids})
		for i := range 25 {
			d.send(fmt.Sprint("id-", i), "a", i)
		}
		d.settle()
		if s := ids.Stats(); s.Keys > 10 || s.Evicted != 15 {
			t.Errorf("%d keys are remembered and %d were forgotten early, want at most 10, and 15", s.Keys, s.Evicted)
		}
		d.send("id-24", "a", 24) // in the window
		d.send("id-0", "a", 0)   // forgotten
		d.settle()
		if n := d.figures(); n.Duplicate != 1 || n.Done != 26 {
			t.Errorf("%d duplicates and %d done, want 1 and 26", n.Duplicate, n.Done)
		}
		d.close()
	})
}

func TestI3_TheWindowEndsWithTheRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := idempotency.NewMemory(idempotency.MemoryConfig{Retention: time.Hour})
		d := startDepot(t, letterConfig{ids: ids})
		for _, wait := range []time.Duration{0, 59 * time.Minute, 2 * time.Minute} {
			time.Sleep(wait)
			d.send("one", "a", 1)
			d.settle()
		}
		if n := d.figures(); n.Duplicate != 1 || n.Done != 2 || ids.Evicted() != 0 {
			t.Errorf("%d duplicates, %d done, %d forgotten early; want 1, 2, 0", n.Duplicate, n.Done, ids.Evicted())
		}
		d.close()
	})
}

// flakyIDs is an idempotency store whose methods fail as told.
type flakyIDs struct {
	idempotency.Store
	mu    sync.Mutex
	left  map[string]int
	calls map[string]int
}

func newFlakyIDs() *flakyIDs {
	return &flakyIDs{Store: idempotency.NewMemory(), left: map[string]int{}, calls: map[string]int{}}
}

func (s *flakyIDs) breaks(method string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left[method] = times
}

func (s *flakyIDs) do(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	if s.left[method] > 0 {
		s.left[method]--
		return errStore
	}
	return nil
}

func (s *flakyIDs) Claim(ctx context.Context, r idempotency.Request) (idempotency.Claim, error) {
	if err := s.do("claim"); err != nil {
		return idempotency.Claim{}, err
	}
	return s.Store.Claim(ctx, r)
}

func (s *flakyIDs) Confirm(ctx context.Context, c idempotency.Claim) error {
	return errors.Join(s.do("confirm"), s.Store.Confirm(ctx, c))
}

func (s *flakyIDs) Release(ctx context.Context, c idempotency.Claim) error {
	if err := s.do("release"); err != nil {
		return err
	}
	return s.Store.Release(ctx, c)
}

// TestL1_TwoStoresMayStandInOneChain: neither waits for the other.
func TestL1_TwoStoresMayStandInOneChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{Memory: idempotency.NewMemory()}
		w := runPlant(t, []stage.Middleware{middleware.Idempotent(idempotency.NewMemory())},
			work(func(context.Context, event.Event[job]) error { return nil }, stage.Use(middleware.Idempotent(b, middleware.InTx()))))
		w.put("a", 1, 2)
		w.rest()
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDone)
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a2", stage.OutcomeDone)
	})
}
