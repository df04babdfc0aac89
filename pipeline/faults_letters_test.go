package pipeline_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/runnel-go/runnel/stage"
)

func TestFault09_TheSameIdentityTwiceAtOnce(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		d := startDepot(t, letterConfig{workers: workers, ids: idempotency.NewMemory(), handle: func(context.Context, *call) error {
			time.Sleep(time.Second)
			return nil
		}})
		var both sync.WaitGroup
		for _, key := range []string{"a", "b"} {
			both.Go(func() { d.send("same", key, 1) })
		}
		both.Wait()
		d.settle()
		if n := d.figures(); n.Accepted != 2 || n.Done != 1 || n.Duplicate != 1 {
			t.Errorf("%d accepted, %d done, %d duplicates; want 2, 1, 1", n.Accepted, n.Done, n.Duplicate)
		}
		d.close()
	})
}

func TestFault31_TheIdempotencyStoreIsDown(t *testing.T) {
	for _, method := range []string{"claim", "confirm", "release"} {
		t.Run(method, func(t *testing.T) {
			eachCount(t, func(t *testing.T, workers int) {
				ids := newFlakyIDs()
				ids.breaks(method, 6)
				d := startDepot(t, letterConfig{
					workers: workers, ids: ids, retry: middleware.Constant{Attempts: 3, Delay: time.Minute},
					handle: func(_ context.Context, c *call) error {
						if c.key == "a" && c.n == 1 && c.attempt == 1 {
							return errBroken
						}
						return nil
					},
				})
				d.send("one", "a", 1)
				d.send("two", "a", 2)
				d.publish("b", 1) // without an identity nothing is asked
				time.Sleep(10 * time.Millisecond)
				d.wantTrace("b", "1+")
				d.settle()
				d.wantTrace("a", "1- 1+ 2+") // no handler is called for an outage, and none twice
				if c := d.of("work", "a"); c[1].attempt != 2 {
					t.Errorf("the outage counted as an attempt: %d, want 2", c[1].attempt)
				}
				d.send("one", "a", 1)
				d.settle()
				if n := d.figures(); n.Duplicate != 1 {
					t.Errorf("%d duplicates, want 1", n.Duplicate)
				}
				d.close()
			})
		})
	}
}

func TestFault31_FailOpenRunsUnguarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := newFlakyIDs()
		ids.breaks("claim", 1000)
		j := &journal{}
		p := pipeline.New(pipeline.Config{Logger: quiet})
		p.Use(middleware.Idempotent(ids, middleware.FailOpen(), middleware.WithLogger(quiet)))
		p.Add(stage.Handle(parcels, "work", recorded[parcel](j, func(context.Context, *call) error { return nil }), stage.Use(j.probe())))
		if err := pipeline.NewPublisher(p, parcels).Publish(t.Context(), parcel{"a", 1}, event.WithID("one")); err != nil {
			t.Fatal(err)
		}
		if n, err := p.Drain(t.Context(), 0); n != 1 || err != nil || j.trace("a") != "1+" {
			t.Errorf("Drain = %d, %v with the calls %q; want one, done", n, err, j.trace("a"))
		}
	})
}

func TestFault38_AFailedHandlerLeavesNoMark(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		f := failing("a", 1)
		d := startDepot(t, letterConfig{workers: workers, followers: deadletter.Continue, ids: idempotency.NewMemory(), handle: f.handle})
		d.send("one", "a", 1)
		d.settle()
		f.mend()
		d.send("one", "a", 1)
		d.settle()
		d.wantTrace("a", "1- 1+")
		if r := d.drain(deadletter.DrainOptions{}); r.Succeeded != 1 { // its letter is a duplicate by now
			t.Errorf("%v, want 1 succeeded", r)
		}
		d.wantTrace("a", "1- 1+")
		d.close()
	})
}

func TestFault39_TheDeadLetterStoreIsFull(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		store := newFlaky()
		store.how = func(context.Context) error { return errors.New("no space left on device") }
		for _, method := range []string{"put", "divert", "resolve", "fail"} {
			store.breaks(method, 1e9)
		}
		f := failing("a", 1, 2)
		d := startDepot(t, letterConfig{workers: workers, followers: policy, store: store, handle: f.handle})
		d.publish("a", 1, 2, 3)
		time.Sleep(time.Hour)
		d.publish("b", 1)
		synctest.Wait()
		d.wantTrace("a", "1-")
		d.wantTrace("b", "1+")
		if n := store.called("put"); n < 60 || n > 6*60 {
			t.Errorf("in an hour Put was called %d times, want about once in half a minute", n)
		}
		store.breaks("put", 0)
		store.breaks("divert", 0)
		d.settle()
		want := "1 2f 3f"
		if policy == deadletter.Continue {
			want = "1 2"
		}
		d.wantLetters("a", want)
		f.mend()
		time.AfterFunc(time.Hour, func() { store.breaks("resolve", 0) })
		d.drainDry()
		d.settle()
		got := d.done("work", "a")
		if policy == deadletter.Continue {
			slices.Sort(got)
		}
		if !slices.Equal(got, upTo(3)) {
			t.Errorf("completed are %v, want 1 to 3", got)
		}
		d.close()
	})
}

// A busy store fails a while, at every step of a letter's life.
func TestFault40_TheStoreIsBusyAtEveryStep(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		store := newFlaky()
		f := failing("a", 1)
		d := startDepot(t, letterConfig{workers: workers, store: store, handle: f.handle})
		busy := func() {
			for _, method := range []string{"put", "divert", "resolve", "fail"} {
				store.breaks(method, 3)
			}
		}
		busy()
		d.publish("a", 1, 2, 3)
		d.settle()
		d.wantLetters("a", "1 2f 3f")
		busy()
		d.drain(deadletter.DrainOptions{})
		d.wantTrace("a", "1- 1-r")
		f.mend()
		busy()
		d.drainDry()
		d.wantTrace("a", "1- 1-r 1+r 2+r 3+r")
		d.close()
	})
}

func TestFault41_AShutdownDoesNotReachIntoPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFlaky()
		var ended error
		store.breaks("put", 1)
		store.after = true
		store.how = func(ctx context.Context) error {
			time.Sleep(3 * time.Second) // the shutdown is forced meanwhile
			ended = ctx.Err()
			return nil
		}
		d := startDepot(t, letterConfig{store: store, handle: failing("a", 1).handle, config: pipeline.Config{Grace: time.Second, Linger: time.Minute}})
		d.publish("a", 1)
		d.close()
		if ended != nil {
			t.Errorf("the context of Put ended: %v", ended)
		}
		d.wantLetters("a", "1")
	})
}

func TestFault41_APutWhoseAnswerWasLost(t *testing.T) {
	for _, method := range []string{"put", "divert", "resolve", "fail"} {
		t.Run(method, func(t *testing.T) {
			eachCount(t, func(t *testing.T, workers int) {
				store := newFlaky()
				store.after = true
				store.breaks(method, 1)
				f := failing("a", 1)
				d := startDepot(t, letterConfig{workers: workers, store: store, handle: f.handle})
				d.publish("a", 1, 2)
				d.settle()
				d.wantLetters("a", "1 2f") // each once
				if n := d.figures(); n.DeadLettered != 1 || n.Diverted != 1 || n.Duplicate != 0 {
					t.Errorf("%d dead-lettered, %d diverted, %d duplicates; want 1, 1, 0", n.DeadLettered, n.Diverted, n.Duplicate)
				}
				d.drain(deadletter.DrainOptions{})
				f.mend()
				d.drainDry()
				d.wantTrace("a", "1- 1-r 1+r 2+r")
				d.close()
			})
		})
	}
}

func TestFault41_AStoreThatHangsOrPanics(t *testing.T) {
	for name, how := range map[string]func(context.Context) error{
		"hangs":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"panics": func(context.Context) error { panic("the driver is broken") },
	} {
		t.Run(name, func(t *testing.T) {
			eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
				store := newFlaky()
				store.how = how
				store.breaks("put", 2)
				store.breaks("divert", 2)
				d := startDepot(t, letterConfig{workers: workers, followers: policy, store: store, handle: failing("a", 1).handle})
				d.publish("a", 1, 2)
				d.settle()
				if policy == deadletter.Park {
					d.wantLetters("a", "1 2f")
				} else {
					d.wantTrace("a", "1- 2+")
				}
				if l := nthLetter(t, store, "a", 0); l.Attempts != 1 {
					t.Errorf("the letter has %d attempts, want 1", l.Attempts)
				}
				d.close()
			})
		})
	}
}

func TestFault42_AnyBytesAsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = "NUL \x00, half a rune \xe2\x82, line\r\nbreak, \u202e, <script>, %!s(MISSING), '; DROP TABLE"
		long := errors.New(text + hundredMB())
		d := startDepot(t, letterConfig{handle: func(_ context.Context, c *call) error {
			if c.redrive {
				return nil
			}
			return long
		}})
		d.publish("a", 1)
		d.settle()
		l := nthLetter(t, d.letters, "a", 0)
		if !strings.HasPrefix(l.Error, "NUL \x00, half a rune") || len(l.Error) > deadletter.MaxErrorBytes || strings.ContainsAny(l.Error, "\r\n") {
			t.Errorf("the letter's error has %d bytes: %.200q", len(l.Error), l.Error)
		}
		if !strings.HasSuffix(l.Error, "… (cut)") {
			t.Errorf("the end of the letter's error is %q, want that it says it was cut", l.Error[len(l.Error)-20:])
		}
		d.drainDry()
		d.close()
	})
}

func TestFault46_AReplayThatFailsAgainIsTheSameLetter(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 1, "a")
		d := again(letterConfig{
			journal: j, store: letters, retry: middleware.Constant{Attempts: 2, Delay: time.Second},
			handle: func(_ context.Context, c *call) error { return fmt.Errorf("call %d", c.attempt) },
		})
		before := nthLetter(t, letters, "a", 0)
		for range 3 {
			time.Sleep(time.Minute)
			d.drain(deadletter.DrainOptions{})
		}
		all := listed(t, letters, deadletter.Filter{States: []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}})
		if len(all) != 1 {
			t.Fatalf("there are %d letters, want 1", len(all))
		}
		l := all[0]
		if l.ID != before.ID || l.EventID != before.EventID || l.Seq != before.Seq || !l.DeadAt.Equal(before.DeadAt) {
			t.Errorf("it became %+v, want the same letter", l)
		}
		if l.Redrives != 3 || l.Attempts != 7 || len(l.History) != 7 || !strings.Contains(l.Error, "call 2") || !l.UpdatedAt.After(before.UpdatedAt) {
			t.Errorf("%d redrives, %d attempts, %d in its history, %q; want 3, 7, 7, the newest failure", l.Redrives, l.Attempts, len(l.History), l.Error)
		}
		d.closeAny()
	})
}

func TestFault47_ADoubleClick(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 1, "a")
		d := again(letterConfig{journal: j, store: letters, handle: func(context.Context, *call) error {
			time.Sleep(time.Second)
			return nil
		}})
		one := deadletter.DrainOptions{Filter: deadletter.Filter{IDs: ids(lettersOf(t, letters, "a"))}}
		var succeeded, skipped atomic.Int64
		var clicks sync.WaitGroup
		for range 2 {
			clicks.Go(func() {
				r := d.drain(one)
				succeeded.Add(int64(r.Succeeded))
				skipped.Add(int64(r.Skipped))
			})
		}
		clicks.Wait()
		if succeeded.Load() != 1 || skipped.Load() != 1 {
			t.Errorf("%d succeeded, %d skipped; want 1, 1", succeeded.Load(), skipped.Load())
		}
		d.wantTrace("a", "1- 1+r")
		if r := d.drain(one); !r.Empty() {
			t.Errorf("a third click: %v, want nothing to do", r)
		}
		d.closeAny()
	})
}

func TestFault49_LettersOfAKeyInBulk(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 200, "a", "b")
		d := again(letterConfig{journal: j, store: letters, handle: failing("a", 150).handle})
		r := d.drain(deadletter.DrainOptions{Parallel: 4})
		if r.Succeeded != 349 || r.Failed != 1 || r.Blocked != 50 {
			t.Errorf("%v, want 349 succeeded, 1 failed, 50 blocked", r)
		}
		for key, n := range map[string]int{"a": 149, "b": 200} {
			if got := d.done("work", key); !slices.Equal(got, upTo(n)) {
				t.Errorf("key %s completed %v, want 1 to %d", key, got, n)
			}
		}
		d.closeAny()
	})
}

func TestFault50_NewLettersDoNotKeepADrainGoing(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		var d *depot
		var next atomic.Int64
		d = startDepot(t, letterConfig{workers: workers, followers: policy, handle: func(_ context.Context, c *call) error {
			if c.redrive { // each redriven letter makes two more events, which fail
				for range 2 {
					d.publish(fmt.Sprint("key-", next.Add(1)%3), int(next.Load()))
				}
				return nil
			}
			return errBroken
		}})
		d.publish("key-0", 1, 2, 3)
		d.publish("key-1", 1)
		d.settle()
		had := len(listed(t, d.letters, deadletter.Filter{}))
		r := d.drain(deadletter.DrainOptions{Parallel: 2})
		if r.Selected != had || r.Succeeded != had || r.Stopped != deadletter.StoppedFinished {
			t.Errorf("%v, want the %d letters that were there", r, had)
		}
		d.settle()
		if got := len(listed(t, d.letters, deadletter.Filter{})); got == 0 {
			t.Error("no new letter is there")
		}
		d.close()
	})
}

func TestFault62_WhileTheHeadIsRetriedTheTailWaits(t *testing.T) {
	eachPolicy(t, allPolicies, func(t *testing.T, workers int, policy deadletter.Policy) {
		d := startDepot(t, letterConfig{
			workers: workers, followers: policy, retry: middleware.Constant{Attempts: 4, Delay: time.Hour},
			handle: func(_ context.Context, c *call) error {
				if c.n == 1 && c.attempt < 4 {
					return errBroken
				}
				return nil
			},
		})
		d.publish("a", 1, 2, 3)
		time.Sleep(90 * time.Minute)
		d.wantTrace("a", "1- 1-")
		d.settle()
		d.wantTrace("a", "1- 1- 1- 1+ 2+ 3+")
		d.close()
	})
}

func TestFault63_AReplayGoesBeforeWhatIsParkedBehindIt(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		f := failing("a", 1)
		d := startDepot(t, letterConfig{
			workers: workers, handle: f.handle,
			// Only the head finds room: its followers wait in the lane, in front of which it is redriven.
			store: deadletter.NewMemory(deadletter.MemoryConfig{MaxPerSequence: 1}),
		})
		d.publish("a", 1, 2, 3)
		time.Sleep(time.Second)
		d.wantLetters("a", "1")
		f.mend()
		d.drain(deadletter.DrainOptions{})
		d.settle()
		d.wantTrace("a", "1- 1+r 2+ 3+")
		d.close()
	})
}

// The handler itself may run twice when a drainer stalls beyond its lease, one after the other in one
// process; what the first decides then is refused.
func TestFault64_ADrainerThatStallsBeyondItsLeaseIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, left := overrun(t, nil)
		if left != "1" {
			t.Errorf("the letters are %q: the stalled drainer removed what was no longer its own", left)
		}
		if r := d.drain(deadletter.DrainOptions{}); r.Succeeded != 1 {
			t.Errorf("the other drainer: %v, want 1 succeeded", r)
		}
		d.close()
	})
}
