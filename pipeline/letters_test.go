package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
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

// mishaps is a handler that does all that handlers do, until it is mended, but fails none for ever: what
// blocks its key would never give way.
type mishaps struct {
	mended atomic.Bool
	calls  sync.Map // seq → *atomic.Int64
}

func (m *mishaps) handle(ctx context.Context, c *call) error {
	n, _ := m.calls.LoadOrStore(c.meta.Seq, new(atomic.Int64))
	if m.mended.Load() || n.(*atomic.Int64).Add(1) > 4 {
		return nil
	}
	switch c.n % 12 {
	case 0, 1, 2:
		crash(c.n)
	case 3:
		return stage.Permanent(errBroken)
	case 4:
		return stage.Skip("not for us")
	case 5:
		if c.attempt == 1 {
			return errBroken
		}
	case 6:
		<-ctx.Done()
		return context.Cause(ctx)
	case 7:
		time.Sleep(time.Duration(c.n) * time.Microsecond)
	}
	return nil
}

// watchFigures looks at the figures all the time, until the function that it returns is called.
func (d *depot) watchFigures(pause func()) (stop func()) {
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for looks := 0; ; looks++ {
			if err := d.p.Snapshot().Sum(false); err != nil {
				d.t.Errorf("look %d: %v", looks, err)
				return
			}
			select {
			case <-over:
				return
			default:
				pause()
			}
		}
	}()
	return func() { close(over); <-gone }
}

// traffic publishes n parcels of five keys, one in eight a second time.
func (d *depot) traffic(n int) {
	for i := range n {
		id := fmt.Sprint("parcel-", i-i%8%2)
		err := d.pub.Publish(context.Background(), parcel{fmt.Sprint(i % 5), i}, event.WithID(id))
		if errors.Is(err, pipeline.ErrClosed) {
			return
		}
		if err != nil {
			d.t.Errorf("Publish = %v", err)
		}
		if i%16 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// breakDown publishes parcels that fail, until the pipeline has halted.
func (d *depot) breakDown() {
	for {
		err := d.pub.Publish(context.Background(), parcel{"0", 3})
		if errors.Is(err, pipeline.ErrClosed) {
			return
		}
		if err != nil {
			d.t.Errorf("Publish = %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// releaseAll lets every held key go on.
func (d *depot) releaseAll() {
	for _, key := range d.figures().HeldKeys {
		_, _ = d.p.Release("work", key)
	}
}

// drainDry drains until no letter is left.
func (d *depot) drainDry() {
	d.t.Helper()
	for range 100 {
		if r := d.drain(deadletter.DrainOptions{Parallel: 3}); r.Remaining == 0 {
			return
		}
	}
	d.t.Fatalf("letters are left: %s", numbers(listed(d.t, d.letters, deadletter.Filter{})))
}

// agrees compares the figures with what the recorder saw of each event.
func (d *depot) agrees(err error) {
	d.t.Helper()
	want := map[stage.Outcome]uint64{}
	accepted, redriven := uint64(0), uint64(0)
	for _, e := range d.rec.History() {
		switch {
		case e.What == pipelinetest.Accepted:
			accepted++
		case e.What == pipelinetest.Settled && e.Redrive == "":
			want[e.Outcome]++
		case e.What == pipelinetest.Settled && e.Outcome == stage.OutcomeDone:
			redriven++
		}
	}
	n := d.figures()
	reasons := uint64(0)
	for _, r := range n.Reasons {
		reasons += r
	}
	for _, f := range []struct {
		name      string
		got, want uint64
	}{
		{"Accepted", n.Accepted, accepted},
		{"Done", n.Done, want[stage.OutcomeDone]},
		{"DeadLettered", n.DeadLettered, want[stage.OutcomeDeadLettered]},
		{"Diverted", n.Diverted, want[stage.OutcomeDiverted]},
		{"Dropped", n.Dropped, want[stage.OutcomeDropped]},
		{"Duplicate", n.Duplicate, want[stage.OutcomeDuplicate]},
		{"Failed", n.Failed, want[stage.OutcomeFailed]},
		{"Returned", n.Returned, uint64(len(unfinished(err)))},
		{"Redriven", n.Redriven, redriven},
		{"the sum of Reasons", reasons, n.Dropped},
	} {
		if f.got != f.want {
			d.t.Errorf("%s is %d, want %d", f.name, f.got, f.want)
		}
	}
}

func TestD1_FiguresAddUpAtAnyTimeAndAtRest(t *testing.T) {
	for _, overflow := range []stage.Overflow{stage.Block, stage.DropOldest, stage.DropNewest} {
		t.Run(overflow.String(), func(t *testing.T) {
			eachPolicy(t, allPolicies, func(t *testing.T, workers int, policy deadletter.Policy) {
				var m mishaps
				d := startDepot(t, letterConfig{
					workers: workers, followers: policy, handle: m.handle,
					ids: idempotency.NewMemory(), timeout: 20 * time.Millisecond,
					retry:   middleware.Constant{Attempts: 2, Delay: 5 * time.Millisecond},
					options: []stage.Option{stage.Buffer(6), stage.WithOverflow(overflow)},
				})
				stop := d.watchFigures(func() { time.Sleep(100 * time.Microsecond) })
				var traffic sync.WaitGroup
				for range 3 {
					traffic.Go(func() { d.traffic(100) })
				}
				published := make(chan struct{})
				go func() { traffic.Wait(); close(published) }()
				for waiting := true; waiting; {
					select {
					case <-published:
						waiting = false
					case <-time.After(10 * time.Millisecond):
						d.releaseAll()
					}
				}
				if policy == deadletter.HaltStage {
					d.breakDown() // all that would have failed may have been dropped
				}
				m.mended.Store(true)
				if policy == deadletter.HaltStage {
					stop()
					err := d.run.Wait()
					d.agrees(err)
					_ = d.shut()
					return
				}
				for d.settle(); len(d.figures().HeldKeys) > 0; d.settle() {
					d.releaseAll()
				}
				d.drainDry()
				d.settle()
				stop()
				err := d.shut()
				if err != nil {
					t.Errorf("Run = %v, want nil", err)
				}
				d.agrees(err)
			})
		})
	}
}

// The same with real goroutines, which stop between any two instructions.
func TestD1_FiguresAddUpOutsideOfABubble(t *testing.T) {
	for _, overflow := range []stage.Overflow{stage.Block, stage.DropOldest, stage.DropNewest} {
		t.Run(overflow.String(), func(t *testing.T) {
			handle := func(_ context.Context, c *call) error {
				switch c.n % 16 {
				case 1:
					crash(c.n)
				case 2:
					return errBroken
				case 3:
					return stage.Skip("not for us")
				}
				return nil
			}
			d := startDepot(t, letterConfig{
				workers: 2, followers: deadletter.Continue, handle: handle, ids: idempotency.NewMemory(),
				options: []stage.Option{stage.Buffer(2), stage.WithOverflow(overflow)},
			})
			stop := d.watchFigures(runtime.Gosched)
			var traffic sync.WaitGroup
			for p := range 8 {
				traffic.Go(func() {
					for i := range 300 {
						_ = d.pub.Publish(t.Context(), parcel{fmt.Sprint(i % 5), i}, event.WithID(fmt.Sprint(p, i/2)))
					}
				})
			}
			traffic.Wait()
			stop()
			err := d.shut()
			if err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			d.agrees(err)
		})
	}
}

func TestD2_AFailingStoreKeepsTheEventInItsPlace(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		store := newFlaky()
		store.breaks("put", 5)
		d := startDepot(t, letterConfig{
			workers: workers, followers: policy, store: store, handle: failing("a", 1).handle,
			retry: middleware.Constant{Attempts: 2, Delay: time.Millisecond},
		})
		d.publish("a", 1, 2, 3)
		time.Sleep(5 * time.Millisecond) // both attempts, and the first Put
		d.publish("b", 1, 2, 3)
		synctest.Wait()
		d.wantTrace("a", "1- 1-")
		d.wantTrace("b", "1+ 2+ 3+")
		if n := d.figures(); n.Parked != 1 || n.DeadLettered != 0 || n.Resident() != 3 {
			t.Errorf("while the store is down: %d parked, %d dead-lettered, %d resident; want 1, 0, 3", n.Parked, n.DeadLettered, n.Resident())
		}
		d.settle()
		if got := store.called("put"); got != 6 {
			t.Errorf("Put was called %d times, want 6", got)
		}
		if n := d.figures().Retries; n != 1 {
			t.Errorf("%d retries are counted, want the handler's one: an outage is no attempt", n)
		}
		if policy == deadletter.Park {
			d.wantTrace("a", "1- 1-")
			d.wantLetters("a", "1 2f 3f")
		} else {
			d.wantTrace("a", "1- 1- 2+ 3+")
			d.wantLetters("a", "1")
		}
		if l := nthLetter(t, store, "a", 0); l.Attempts != 2 || len(l.History) != 2 || !strings.Contains(l.Error, errBroken.Error()) {
			t.Errorf("the letter has %d attempts, %d in its history, error %q; want 2, 2 and the handler's", l.Attempts, len(l.History), l.Error)
		}
		d.close()
	})
}

func TestD2_AFollowerIsNotTriedWhileDivertFails(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		store := newFlaky()
		f := failing("a", 1)
		d := startDepot(t, letterConfig{workers: workers, store: store, handle: f.handle})
		d.publish("a", 1)
		d.settle()
		f.mend()
		store.breaks("divert", 4)
		d.publish("a", 2, 3)
		d.publish("b", 1)
		synctest.Wait()
		d.wantTrace("a", "1-")
		d.wantTrace("b", "1+")
		d.wantLetters("a", "1")
		d.settle()
		d.wantTrace("a", "1-")
		d.wantLetters("a", "1 2f 3f")
		for _, l := range lettersOf(t, store, "a")[1:] {
			if l.Attempts != 0 || len(l.History) != 0 {
				t.Errorf("follower %s has %d attempts and %d in its history, want none", l.ID, l.Attempts, len(l.History))
			}
		}
		d.drainDry()
		d.wantTrace("a", "1- 1+r 2+r 3+r")
		d.close()
	})
}

func TestD2_ARedriveIsNotRepeatedBecauseTheStoreFails(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("the letter fails again: %v", again), func(t *testing.T) {
			eachCount(t, func(t *testing.T, workers int) {
				store := newFlaky()
				f := failing("a", 1)
				d := startDepot(t, letterConfig{workers: workers, store: store, handle: f.handle})
				d.publish("a", 1)
				d.settle()
				if !again {
					f.mend()
				}
				store.breaks("resolve", 5)
				store.breaks("fail", 5)
				drained := make(chan deadletter.Report)
				go func() { drained <- d.drain(deadletter.DrainOptions{}) }()
				synctest.Wait()
				d.wantLetters("a", "1")
				d.publish("a", 2)
				d.publish("b", 1)
				synctest.Wait()
				d.wantTrace("b", "1+")
				r := <-drained
				d.settle()
				if again {
					d.wantTrace("a", "1- 1-r")
					d.wantLetters("a", "1 2f")
					if l := nthLetter(t, store, "a", 0); r.Failed != 1 || l.Redrives != 1 || l.Attempts != 2 {
						t.Errorf("%v; the letter has %d redrives and %d attempts; want 1 failed, 1 and 2", r, l.Redrives, l.Attempts)
					}
				} else {
					d.wantTrace("a", "1- 1+r 2+")
					d.wantLetters("a", "")
				}
				d.close()
			})
		})
	}
}

func TestD2_BlockAndHaltStageNeedNoStore(t *testing.T) {
	eachPolicy(t, []deadletter.Policy{deadletter.Block, deadletter.HaltStage}, func(t *testing.T, workers int, policy deadletter.Policy) {
		store := newFlaky()
		d := startDepot(t, letterConfig{workers: workers, followers: policy, store: store, handle: failing("a", 1).handle})
		d.publish("a", 1)
		d.settle()
		if err := d.shut(); len(unfinished(err)) != 1 {
			t.Errorf("Run = %v, want one unfinished event", err)
		}
		if len(store.calls) != 0 {
			t.Errorf("the store was called: %v", store.calls)
		}
	})
}

func TestD3_ParkCompletesInAcceptOrder(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		f := failing("a", 1, 7)
		f.set("b", 3, errBroken)
		d := startDepot(t, letterConfig{workers: workers, handle: f.handle})
		for _, n := range upTo(10) {
			d.publish("a", n)
			d.publish("b", n)
		}
		d.settle()
		d.wantTrace("a", "1-")
		d.wantTrace("b", "1+ 2+ 3-")
		d.wantLetters("a", "1 2f 3f 4f 5f 6f 7f 8f 9f 10f")
		f.set("a", 1, nil)
		d.drain(deadletter.DrainOptions{})
		d.wantTrace("a", "1- 1+r 2+r 3+r 4+r 5+r 6+r 7-r")
		d.publish("a", 11)
		d.settle()
		f.mend()
		d.drainDry()
		d.publish("a", 12)
		d.settle()
		for key, n := range map[string]int{"a": 12, "b": 10} {
			if got := d.done("work", key); !slices.Equal(got, upTo(n)) {
				t.Errorf("key %s completed in the order %v, want 1 to %d", key, got, n)
			}
		}
		d.close()
	})
}

func TestD3_ContinueLeavesAGap(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		f := failing("a", 2)
		d := startDepot(t, letterConfig{workers: workers, followers: deadletter.Continue, handle: f.handle})
		d.publish("a", 1, 2, 3)
		d.settle()
		d.wantTrace("a", "1+ 2- 3+")
		if d.letters.MayHold("work", "a") {
			t.Error("the letter holds its key")
		}
		f.mend()
		d.drainDry()
		d.publish("a", 4)
		d.settle()
		d.wantTrace("a", "1+ 2- 3+ 2+r 4+")
		if was, is := d.nth("a", 1), d.nth("a", 3); is.meta.Seq != was.meta.Seq || !is.redrive || is.attempt != 1 {
			t.Errorf("redriven as seq %d, redrive %v, attempt %d; want seq %d, true, 1", is.meta.Seq, is.redrive, is.attempt, was.meta.Seq)
		}
		d.close()
	})
}

func TestD3_BlockKeepsTheKeyWaiting(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		f := failing("a", 1)
		d := startDepot(t, letterConfig{
			workers: workers, followers: deadletter.Block, handle: f.handle,
			retry:   middleware.Constant{Attempts: 2, Delay: time.Millisecond},
			options: []stage.Option{stage.MaxPerKey(3), stage.WithOverflow(stage.Reject)},
		})
		d.publish("a", 1, 2, 3)
		d.publish("b", 1, 2)
		d.settle()
		if err := d.pub.Publish(t.Context(), parcel{"a", 4}); !errors.Is(err, pipeline.ErrFull) {
			t.Errorf("Publish to the blocked key = %v, want ErrFull", err)
		}
		time.Sleep(time.Hour)
		d.wantTrace("a", "1- 1-")
		d.wantTrace("b", "1+ 2+")
		if n := d.figures(); n.Held != 1 || !slices.Equal(n.HeldKeys, []string{"a"}) {
			t.Errorf("%d held of keys %q, want 1 of a", n.Held, n.HeldKeys)
		}
		d.wantLetters("a", "")
		if n, err := d.p.Release("work", "a"); n != 1 || err != nil { // too early: it fails once more
			t.Errorf("Release = %d, %v, want 1", n, err)
		}
		d.settle()
		f.mend()
		if n, err := d.p.Release("work", "a"); n != 1 || err != nil {
			t.Errorf("Release = %d, %v, want 1", n, err)
		}
		d.settle()
		d.wantTrace("a", "1- 1- 1- 1- 1+ 2+ 3+")
		if c := d.nth("a", 2); c.attempt != 1 {
			t.Errorf("after the release it was attempt %d, want 1", c.attempt)
		}
		d.close()
	})
}

func TestD3_HaltStageRunsNothingMore(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		d := startDepot(t, letterConfig{
			workers: workers, followers: deadletter.HaltStage,
			handle: func(_ context.Context, c *call) error {
				time.Sleep(time.Millisecond)
				if c.key == "a" && c.n == 5 {
					return errBroken
				}
				return nil
			},
		})
		for _, n := range upTo(20) {
			d.publish("a", n)
			d.publish("b", n)
		}
		err := d.run.Wait()
		if !errors.Is(err, errBroken) || !errors.Is(err, pipeline.ErrUnfinished) {
			t.Errorf("Run = %v, want the failure and the unfinished events", err)
		}
		halted := time.Time{}
		rest := map[string][]int{}
		for _, key := range []string{"a", "b"} {
			for _, c := range d.of("work", key) {
				if c.how == "-" {
					halted = c.at.Add(time.Millisecond)
				}
			}
			rest[key] = d.done("work", key)
		}
		for _, key := range []string{"a", "b"} {
			for _, c := range d.of("work", key) {
				if c.at.After(halted) {
					t.Errorf("%s %d began %v after the halt", key, c.n, c.at.Sub(halted))
				}
			}
		}
		for _, u := range unfinished(err) {
			rest[u.Meta.Key] = append(rest[u.Meta.Key], u.Payload.(parcel).N)
		}
		for key, got := range rest {
			if !slices.Equal(got, upTo(20)) {
				t.Errorf("key %s: completed and handed back are %v, want 1 to 20 in order", key, got)
			}
		}
		_ = d.shut()
	})
}

func TestD1_TheFiguresOfACrashAndOfARedriveThatIsSkipped(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		d := startDepot(t, letterConfig{workers: workers, handle: func(_ context.Context, c *call) error {
			if c.redrive {
				return stage.Skip("late")
			}
			crash(c.n)
			return nil
		}})
		for n, key := range []string{"a", "b", "c"} {
			d.publish(key, n)
		}
		d.settle()
		d.drainDry()
		if n := d.figures(); n.Panics != 3 || n.Dropped != 0 || len(n.Reasons) != 0 || n.Redriven != 3 || n.DeadLettered != 3 {
			t.Errorf("%d panics, %d dropped for %v, %d redriven, %d dead-lettered; want 3, none, 3, 3", n.Panics, n.Dropped, n.Reasons, n.Redriven, n.DeadLettered)
		}
		d.close()
	})
}

// ledger is a store that writes down, in the order in which they were decided, the ends of the letters
// and the starts of the live events.
type ledger struct {
	deadletter.Store
	mu    sync.Mutex
	holds map[string]int // letters of a key
	fault error
}

func (s *ledger) note(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := f(); err != nil && s.fault == nil {
		s.fault = err
	}
}

func (s *ledger) Put(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, err error) {
	s.note(func() error {
		if s.holds[l.Key] > 0 {
			return fmt.Errorf("%s was tried while its key was held", l.EventID)
		}
		s.holds[l.Key]++
		r, err = s.Store.Put(ctx, l)
		return nil
	})
	return r, err
}

func (s *ledger) Divert(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	s.note(func() error {
		r, held, err = s.Store.Divert(ctx, l)
		if held != (s.holds[l.Key] > 0) {
			return fmt.Errorf("%s: Divert said held = %v of a key with %d letters", l.EventID, held, s.holds[l.Key])
		}
		if held {
			s.holds[l.Key]++
		}
		return nil
	})
	return r, held, err
}

func (s *ledger) Resolve(ctx context.Context, c deadletter.Claim, id string) (err error) {
	s.note(func() error {
		if err = s.Store.Resolve(ctx, c, id); err == nil {
			s.holds[c.Sequence.Key]--
		}
		return nil
	})
	return err
}

// live notes that a live event of a key is being tried.
func (s *ledger) live(c *call) {
	s.note(func() error {
		if s.holds[c.key] > 0 {
			return fmt.Errorf("%s %d overtook %d letters", c.key, c.n, s.holds[c.key])
		}
		return nil
	})
}

// divertRounds has, for each of many keys, live events published while the key is being drained.
func divertRounds(t *testing.T, workers, rounds int, seed uint64, yield func(*rand.Rand)) {
	var mended sync.Map // keys
	s := &ledger{Store: deadletter.NewMemory(), holds: map[string]int{}}
	var left sync.Map // key → *atomic.Int64: parcels that are not done
	d := startDepot(t, letterConfig{
		workers: workers, store: s,
		handle: func(_ context.Context, c *call) error {
			if !c.redrive {
				s.live(c)
			}
			if _, ok := mended.Load(c.key); !ok {
				return stage.Permanent(errBroken)
			}
			return nil
		},
		settled: func(d *stage.Delivery, o stage.Outcome) {
			if o == stage.OutcomeDone {
				n, _ := left.Load(d.Key)
				n.(*atomic.Int64).Add(-1)
			}
		},
	})
	var all sync.WaitGroup
	for lane := range 4 { // four keys at a time
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(lane)))
			for round := range rounds / 4 {
				key := fmt.Sprintf("%d-%d", lane, round)
				total := 2 + r.IntN(8)
				before := 1 + r.IntN(total-1)
				n := &atomic.Int64{}
				n.Store(int64(total))
				left.Store(key, n)
				d.publish(key, upTo(total)[:before]...)
				mended.Store(key, true)
				var live sync.WaitGroup
				live.Go(func() {
					other := rand.New(rand.NewPCG(seed+uint64(round), uint64(lane)))
					for _, i := range upTo(total)[before:] {
						yield(other)
						d.publish(key, i)
					}
				})
				for n.Load() > 0 {
					d.drain(deadletter.DrainOptions{Filter: deadletter.Filter{Key: &key}})
					yield(r)
				}
				live.Wait()
				if got := d.done("work", key); !slices.Equal(got, upTo(total)) {
					t.Errorf("key %s completed %v, want 1 to %d", key, got, total)
				}
				if s.MayHold("work", key) {
					t.Errorf("key %s is held with letters %q after all of it was done", key, numbers(lettersOf(t, s, key)))
				}
			}
		})
	}
	all.Wait()
	if s.fault != nil {
		t.Error(s.fault)
	}
	if ls := listed(t, s, deadletter.Filter{}); len(ls) > 0 {
		t.Errorf("%d letters are left", len(ls))
	}
	d.close()
}

func TestD4_X4_DivertAndDrainAreDecidedTogether(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("%d workers, in a bubble", workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				divertRounds(t, workers, 400, seed, func(r *rand.Rand) {
					time.Sleep(time.Duration(r.IntN(3)) * time.Nanosecond) // 0 yields within one instant
				})
			})
		})
		t.Run(fmt.Sprintf("%d workers, real goroutines", workers), func(t *testing.T) {
			divertRounds(t, workers, 400, seed, func(r *rand.Rand) {
				for range r.IntN(20) {
					runtime.Gosched()
				}
			})
		})
	}
}

func (s *ledger) Discard(ctx context.Context, ids []string, by deadletter.Note) (n int, err error) {
	s.note(func() error {
		for _, id := range ids {
			l, gone := s.Store.Get(ctx, id)
			if gone != nil {
				continue
			}
			if n, err = s.Store.Discard(ctx, []string{id}, by); n == 1 {
				s.holds[l.Key]--
			}
		}
		return nil
	})
	return n, err
}

// hesitant leaves time between what MayHold said and the Divert that follows.
type hesitant struct{ *ledger }

func (s hesitant) Divert(ctx context.Context, l *deadletter.Letter) (deadletter.Receipt, bool, error) {
	for range 3 {
		runtime.Gosched()
	}
	return s.ledger.Divert(ctx, l)
}

// A lane excludes a drain of its key; an operator who discards letters it does not.
func TestD4_AnEventIsNotDivertedBehindLettersThatWereDiscarded(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			s := &ledger{Store: deadletter.NewMemory(), holds: map[string]int{}}
			settled := make(chan struct{}, 1000)
			d := startDepot(t, letterConfig{
				workers: workers, store: hesitant{s},
				handle: func(_ context.Context, c *call) error {
					s.live(c)
					if c.n == 1 {
						return stage.Permanent(errBroken)
					}
					return nil
				},
				settled: func(*stage.Delivery, stage.Outcome) { settled <- struct{}{} },
			})
			for round := range 300 {
				key := fmt.Sprint("key-", round)
				d.publish(key, 1)
				<-settled
				var live sync.WaitGroup
				live.Go(func() { d.publish(key, 2, 3, 4) })
				for seen := 0; seen < 3; {
					select {
					case <-settled:
						seen++
					default:
						runtime.Gosched()
					}
					if _, err := s.Discard(t.Context(), ids(lettersOf(t, s, key)), deadletter.Note{}); err != nil {
						t.Error(err)
					}
				}
				live.Wait()
				if ls := lettersOf(t, s, key); len(ls) > 0 && !s.MayHold("work", key) {
					t.Errorf("key %s is open, and the letters %q are left", key, numbers(ls))
				}
			}
			if s.fault != nil {
				t.Error(s.fault)
			}
			d.close()
		})
	}
}

// Errors that no letter must choke on.
type (
	panicky    struct{}
	typedNil   struct{ text string }
	endless    struct{}
	pair       struct{ other *pair }
	badUnwrap  struct{}
	badIs      struct{}
	stringless struct{}
)

func (panicky) Error() string     { panic("Error panics") }
func (e *typedNil) Error() string { return e.text }
func (endless) Error() string     { return "endless" }
func (e endless) Unwrap() error   { return e }
func (*pair) Error() string       { return "pair" }
func (p *pair) Unwrap() error     { return p.other }
func (badUnwrap) Error() string   { return "bad unwrap" }
func (badUnwrap) Unwrap() []error { panic("Unwrap panics") }
func (badIs) Error() string       { return "bad is" }
func (badIs) Is(error) bool       { panic("Is panics") }
func (badIs) As(any) bool         { panic("As panics") }
func (stringless) String() string { panic("String panics") }
func circle() error               { a, b := &pair{}, &pair{}; a.other, b.other = b, a; return a }
func nothing() error              { var e *typedNil; return e }
func bytesOf(n int) func() string {
	return sync.OnceValue(func() string { return strings.Repeat("x", n) })
}

var hundredMB = bytesOf(100 << 20)

func TestD5_ALetterCanAlwaysBeBuilt(t *testing.T) {
	for name, fail := range map[string]func() error{
		"a nil error in Permanent":    func() error { return stage.Permanent(nil) },
		"a nil error in RetryAfter":   func() error { return stage.RetryAfter(0, nil) },
		"a typed nil error":           nothing,
		"Error panics":                func() error { return panicky{} },
		"Error panics, wrapped":       func() error { return stage.Permanent(&wrapping{panicky{}}) },
		"a join with nil and panicky": func() error { return errors.Join(nil, panicky{}, nothing()) },
		"100 MB of text":              func() error { return errors.New(hundredMB()) },
		"100 MB in a panic":           func() error { panic(hundredMB()) },
		"NUL, bad UTF-8, %!":          func() error { return errors.New("\x00\xff\xfe %!s(nil) \u2028\r\n.") }, //nolint:revive // on purpose
		"Unwrap returns itself":       func() error { return endless{} },
		"Unwrap goes in a circle":     circle,
		"Unwrap panics":               func() error { return badUnwrap{} },
		"Is and As panic":             func() error { return badIs{} },
		"a million joined":            func() error { return errors.Join(slices.Repeat([]error{errBroken}, 1e5)...) },
		"panic with nil":              func() error { panic(nil) }, //nolint:govet // on purpose
		"panic with a broken error":   func() error { panic(panicky{}) },
		"panic with a broken value":   func() error { panic(stringless{}) },
		"panic with a circle":         func() error { panic(circle()) },
		"Goexit":                      func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			for _, policy := range allPolicies {
				t.Run(string(policy), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { buildsALetter(t, policy, fail) })
				})
			}
		})
	}
}

// wrapping does not call its cause's Error.
type wrapping struct{ err error }

func (w *wrapping) Error() string { return "wrapping: " + w.err.Error() }
func (w *wrapping) Unwrap() error { return w.err }

func buildsALetter(t *testing.T, policy deadletter.Policy, fail func() error) {
	d := startDepot(t, letterConfig{
		workers: 2, followers: policy, retry: middleware.Constant{Attempts: 2, Delay: time.Millisecond},
		handle: func(_ context.Context, c *call) error {
			if c.key == "a" && c.n == 1 {
				return fail()
			}
			return nil
		},
	})
	d.publish("a", 1)
	d.settle()
	if policy == deadletter.Block || policy == deadletter.HaltStage {
		if err := d.shut(); len(unfinished(err)) != 1 {
			t.Errorf("Run left %d events unfinished, want 1", len(unfinished(err)))
		}
		return
	}
	ls := lettersOf(t, d.letters, "a")
	if len(ls) != 1 {
		t.Fatalf("there are %d letters, want 1", len(ls))
	}
	l := ls[0]
	if l.Reason == "" || l.Error == "" || l.ErrorType == "" || l.Fingerprint == "" || l.Attempts == 0 || string(l.Payload) != `{"Key":"a","N":1}` {
		t.Errorf("the letter lacks something: %+.500v", l)
	}
	if len(l.Error) > deadletter.MaxErrorBytes || len(l.Causes) > deadletter.MaxCauses || len(l.Stack) > deadletter.MaxStackBytes {
		t.Errorf("the letter has %d bytes of error, %d causes, %d bytes of stack", len(l.Error), len(l.Causes), len(l.Stack))
	}
	d.publish("a", 2)
	d.publish("b", 1)
	d.settle()
	d.wantTrace("b", "1+")
	r := d.drain(deadletter.DrainOptions{})
	if r.Failed != 1 {
		t.Errorf("%.500v, want 1 failed", r)
	}
	if l := nthLetter(t, d.letters, "a", 0); l.Redrives != 1 {
		t.Errorf("the letter was redriven %d times, want 1", l.Redrives)
	}
	d.close()
}

// badCodec fails in the ways of codecs.
type badCodec struct{ encode func() ([]byte, error) }

func (badCodec) Name() string { return "bad" }

func (c badCodec) Encode(f float64) ([]byte, error) {
	if f == 0 {
		return []byte("0"), nil
	}
	return c.encode()
}

func (badCodec) Decode([]byte) (float64, error) { return 0, nil }

func TestD5_APayloadThatCannotBeEncodedIsKeptAsItIs(t *testing.T) {
	for name, topic := range map[string]*event.Topic[float64]{
		"JSON has no NaN": event.NewTopic[float64]("numbers"),
		"the codec fails": event.NewTopic("numbers", event.WithCodec[float64](badCodec{func() ([]byte, error) { return nil, errBroken }})),
		"the codec panics": event.NewTopic("numbers", event.WithCodec[float64](badCodec{func() ([]byte, error) {
			panic("no")
		}})),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				broken.Store(true)
				var got []float64
				numbers := stage.Handle(topic, "numbers", func(_ context.Context, e event.Event[float64]) error {
					got = append(got, e.Payload)
					if broken.Load() {
						return errBroken
					}
					return nil
				}, stage.Workers(1))
				d := startDepot(t, letterConfig{moreStages: []*stage.Stage{numbers}})
				if err := pipeline.NewPublisher(d.p, topic).Publish(t.Context(), math.NaN()); err != nil {
					t.Fatal(err)
				}
				d.settle()
				ls := listed(t, d.letters, deadletter.Filter{})
				if len(ls) != 1 || len(ls[0].Notes) != 1 || ls[0].Codec != "" {
					t.Fatalf("the letters are %+v, want one with a note", ls)
				}
				broken.Store(false)
				d.drainDry()
				if len(got) != 2 || !math.IsNaN(got[1]) {
					t.Errorf("the handler got %v, want NaN twice", got)
				}
				d.close()
			})
		})
	}
}

func TestD6_AFullSequenceBlocksItsKeyOnly(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		log := &records{}
		f := failing("a", 1)
		d := startDepot(t, letterConfig{
			workers: workers, handle: f.handle, logger: slog.New(log),
			store: deadletter.NewMemory(deadletter.MemoryConfig{MaxPerSequence: 3}),
		})
		d.publish("a", 1, 2, 3, 4, 5)
		d.publish("b", 1, 2)
		time.Sleep(10 * time.Minute)
		d.wantTrace("a", "1-")
		d.wantTrace("b", "1+ 2+")
		d.wantLetters("a", "1 2f 3f")
		if n := d.figures(); n.Parked != 1 || n.Resident() != 2 {
			t.Errorf("%d parked, %d resident; want 1, 2", n.Parked, n.Resident())
		}
		if got := log.with("WARN", "no room for the letter"); got != 1 {
			t.Errorf("it was said %d times that there is no room, want once", got)
		}
		f.mend()
		d.drainDry() // runs in front of 4, which waits at the head of the lane
		d.settle()
		d.wantTrace("a", "1- 1+r 2+r 3+r 4+ 5+")
		if c := d.nth("a", 4); c.attempt != 1 {
			t.Errorf("what waited for room is tried as attempt %d, want 1", c.attempt)
		}
		d.close()
	})
}

func TestD6_AFullStoreBlocksWhatFailsOnly(t *testing.T) {
	for name, limit := range map[string]deadletter.MemoryConfig{
		"letters":   {MaxLetters: 1},
		"sequences": {MaxSequences: 1},
		"bytes":     {MaxBytes: 200},
	} {
		t.Run(name, func(t *testing.T) {
			eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
				f := failing("a", 1)
				f.set("b", 1, errBroken)
				d := startDepot(t, letterConfig{
					workers: workers, followers: policy, handle: f.handle, store: deadletter.NewMemory(limit),
				})
				d.publish("a", 1)
				d.settle()
				d.publish("b", 1, 2)
				d.publish("c", 1, 2)
				time.Sleep(10 * time.Minute)
				d.wantTrace("b", "1-")
				d.wantTrace("c", "1+ 2+")
				f.mend()
				d.drainDry()
				time.Sleep(time.Minute)
				d.drainDry()
				d.settle()
				want := "1- 1+r 2+"
				if policy == deadletter.Continue {
					want = "1- 2+ 1+r"
				}
				if got := d.trace("b"); got != want && got != "1- 1+r 2+r" {
					t.Errorf("the calls for key b are %q, want %q", got, want)
				}
				d.close()
			})
		})
	}
}

func TestD6_ALetterThatIsTooLarge(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int64
		held  bool
	}{{"leaves out its stack", 2000, false}, {"is held when that is not enough", 60, true}} {
		t.Run(c.name, func(t *testing.T) {
			eachCount(t, func(t *testing.T, workers int) {
				log := &records{}
				var mended atomic.Bool
				d := startDepot(t, letterConfig{
					workers: workers, logger: slog.New(log),
					store: deadletter.NewMemory(deadletter.MemoryConfig{MaxLetterBytes: c.limit}),
					handle: func(_ context.Context, c *call) error {
						if c.key == "a" && !mended.Load() {
							panic(strings.Repeat("much to say ", 300))
						}
						return nil
					},
				})
				d.publish("a", 1, 2)
				d.publish("b", 1)
				d.settle()
				d.wantTrace("a", "1!")
				d.wantTrace("b", "1+")
				mended.Store(true)
				if !c.held {
					d.wantLetters("a", "1 2f")
					d.drainDry()
					d.wantTrace("a", "1! 1+r 2+r")
					d.close()
					return
				}
				if n := d.figures(); n.Held != 1 || log.with("WARN", "too large") != 1 {
					t.Errorf("%d held, %d warnings; want 1, 1", n.Held, log.with("WARN", "too large"))
				}
				if _, err := d.p.Release("work", "a"); err != nil {
					t.Error(err)
				}
				d.settle()
				d.wantTrace("a", "1! 1+ 2+")
				d.close()
			})
		})
	}
}

// brokenParcels brings in, for a key, one event that could not be decoded and two that could.
func brokenParcels(key string, settled func(n int, err error)) event.Source[parcel] {
	return event.FromReceive(func(ctx context.Context, emit event.Emit[parcel]) error {
		bad := event.Incoming[parcel]{
			Err: errors.New("not JSON"), Raw: []byte("\x00{bad"), Options: []event.PublishOption{event.WithKey(key), event.WithID("bad")},
			Settled: func(err error) { settled(1, err) },
		}
		if err := emit(ctx, bad); err != nil {
			return err
		}
		for n := 2; n <= 3; n++ {
			in := event.Incoming[parcel]{Payload: parcel{key, n}, Settled: func(err error) { settled(n, err) }}
			if err := emit(ctx, in); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestD7_WhatCannotBeDecodedBecomesALetterUntried(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		settled := make(chan string, 3)
		other := stage.Handle(parcels, "other", func(context.Context, event.Event[parcel]) error { return nil })
		d := newDepot(t, letterConfig{workers: workers, followers: policy, moreStages: []*stage.Stage{other}})
		pipeline.From(d.p, parcels, brokenParcels("a", func(n int, err error) { settled <- fmt.Sprint(n, err) }))
		d.start()
		d.settle()
		want, letters := "2+ 3+", "{bad"
		if policy == deadletter.Park {
			want, letters = "", "{bad 2f 3f"
		}
		d.wantTrace("a", want)
		ls := listed(t, d.letters, deadletter.Filter{Stage: "work"})
		if got := strings.TrimPrefix(numbers(ls), "\x00"); got != letters {
			t.Errorf("the letters are %q, want %q", got, letters)
		}
		if len(ls) == 0 {
			t.Fatal("there is no letter")
		}
		l := ls[0]
		if string(l.Payload) != "\x00{bad" || l.Codec != "" || l.Reason != deadletter.Undecodable || l.Attempts != 0 || l.Key != "a" || l.GivenID != "bad" {
			t.Errorf("the letter is %+v, want the raw bytes, undecodable, of key a", l)
		}
		if n := len(listed(t, d.letters, deadletter.Filter{Stage: "other", Reason: deadletter.Undecodable})); n != 1 {
			t.Errorf("the topic's other stage has %d letters of it, want 1", n)
		}
		for range 3 {
			if got := <-settled; !strings.HasSuffix(got, "<nil>") {
				t.Errorf("the source was told %q, want nil: it is safe", got)
			}
		}
		d.mendRaw(l)
		d.close()
	})
}

// mendRaw redrives an undecodable letter, first as it is, then edited.
func (d *depot) mendRaw(l deadletter.Letter) {
	d.t.Helper()
	only := deadletter.DrainOptions{Filter: deadletter.Filter{Stage: "work"}}
	if r := d.drain(only); r.Failed != 1 || r.Succeeded != 0 {
		d.t.Errorf("redriven as it is: %v, want 1 failed", r)
	}
	by := deadletter.Note{Who: "ann", Why: "the producer wrote half of it"}
	if err := d.letters.Edit(context.Background(), l.ID, []byte(`{"Key":"a","N":1}`), by); err != nil {
		d.t.Error(err)
	}
	if r := d.drain(only); r.Failed != 0 || r.Remaining != 0 {
		d.t.Errorf("redriven after an edit: %v, want no failure", r)
	}
	got := d.done("work", "a")
	slices.Sort(got)
	if !slices.Equal(got, upTo(3)) {
		d.t.Errorf("completed are %v, want 1 to 3", got)
	}
}

func TestD7_AnUndecodableEventWithoutALaneHoldsNothing(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		d := newDepot(t, letterConfig{workers: workers})
		pipeline.From(d.p, parcels, event.FromReceive(func(ctx context.Context, emit event.Emit[parcel]) error {
			return emit(ctx, event.Incoming[parcel]{Err: errBroken, Raw: []byte("junk")})
		}))
		d.start()
		d.publish("a", 1)
		d.settle()
		d.wantTrace("a", "1+")
		if ls := lettersOf(t, d.letters, ""); len(ls) != 1 || ls[0].Holds || ls[0].Ordered {
			t.Errorf("the letters are %+v, want one that holds nothing", ls)
		}
		d.close()
	})
}
