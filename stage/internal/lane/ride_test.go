package lane

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// riding runs f in a bubble with an engine that always rides.
func ridingBubble(t *testing.T, workers, inlet, room int, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(workers, inlet, room)
		force(r.Engine, alone)
		r.Start()
		f(t, r)
		r.End()
		r.Wait()
		if err := r.check(); err != nil {
			t.Error(err)
		}
	})
}

// TestALongRideIsStolen: the others go on after two looks of the watcher, those of its key behind it.
func TestALongRideIsStolen(t *testing.T) {
	ridingBubble(t, 2, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a", step{takes: time.Hour}), r.job("a"), r.job("b"), r.job(""))
		synctest.Wait()
		if got, want := r.order(began), []int{1}; !slices.Equal(got, want) {
			t.Errorf("began %v, want the first to be ridden: %v", got, want)
		}
		time.Sleep(2 * watchEvery)
		synctest.Wait()
		if got, want := r.order(settled), []int{3, 4}; !slices.Equal(got, want) {
			t.Errorf("settled %v while the first lasts, want %v", got, want)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestTheOnlyWorkerMayRide: there is nobody to steal its ride for, and nothing is lost.
func TestTheOnlyWorkerMayRide(t *testing.T) {
	ridingBubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a", step{takes: time.Second}), r.job("a"), r.job("b", step{action: Park, delay: time.Second}), r.job("b"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestCountSeesWhatIsRidden, and Rest, at any moment.
func TestCountSeesWhatIsRidden(t *testing.T) {
	ridingBubble(t, 2, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a"), r.job("a"), r.job("b", step{takes: time.Hour}))
		synctest.Wait()
		var ids []int
		c := r.Count(func(j **job) { ids = append(ids, (*j).id) })
		if !slices.Equal(ids, []int{3}) || c.Running != 1 || c.Live[0] != 2 || c.Accepted != 3 || c.Resident != 1 || c.Lanes != 1 || c.Runs != 3 {
			t.Errorf("Count visited %v and says %+v, want the third job running and the others settled", ids, c)
		}
		if rest := r.Rest(); rest.Running != 1 || rest.Settled != 2 || rest.Accepted != 3 {
			t.Errorf("Rest = %+v, want one running and two settled", rest)
		}
		if n := r.Settled(); n != 2 {
			t.Errorf("Settled = %d, want 2", n)
		}
		time.Sleep(time.Hour)
	})
}

// TestARedriveDoesNotOverlapARide of its key.
func TestARedriveDoesNotOverlapARide(t *testing.T) {
	ridingBubble(t, 2, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a", step{takes: 50 * time.Microsecond}))
		synctest.Wait()
		r.redo(r.job("a"))
		time.Sleep(time.Second)
		synctest.Wait()
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestARiderForgetsLanes that are gone, so that it need not ask the index for each ride.
func TestARiderForgetsLanes(t *testing.T) {
	ridingBubble(t, 2, 8, 8, func(t *testing.T, r *rig) {
		asks := func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for i := range r.tracks {
				if tr := &r.tracks[i]; tr.rider != nil && tr.word.Load()&lanesOpen != 0 {
					return true
				}
			}
			return false
		}
		r.send(r.job("slow", step{takes: time.Second}))
		time.Sleep(3 * watchEvery)
		r.send(r.job("a"))
		synctest.Wait()
		if !asks() {
			t.Error("a rider does not ask the index beside a ride that was stolen")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for range sampleRides + 1 {
			j := r.job("a")
			if j.tells() { // its end is not a ride's
				j = r.job("a")
			}
			r.send(j)
			synctest.Wait()
		}
		if asks() {
			t.Errorf("a rider still asks the index %d rides after the last lane is gone", sampleRides+1)
		}
	})
}

// TestARideGoesOnBesideLanes: that a key is parked does not make the others share.
func TestARideGoesOnBesideLanes(t *testing.T) {
	ridingBubble(t, 4, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("parked", step{action: Park, delay: time.Hour}))
		synctest.Wait()
		before := r.rode()
		for range 20 {
			r.send(r.job("a"), r.job("parked"))
			synctest.Wait()
			if c := r.Count(nil); c.Resident > 8 { // keep room
				break
			}
		}
		if n := r.rode() - before; n < 7 {
			t.Errorf("%d rides beside a lane, want one for each job of the idle key", n)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestTheWatcherSleepsWhenNothingIsRidden: an idle engine has no timer.
func TestTheWatcherSleepsWhenNothingIsRidden(t *testing.T) {
	ridingBubble(t, 2, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a"))
		time.Sleep(5 * watchEvery)
		synctest.Wait()
		if r.watching.Load() {
			t.Error("the watcher's timer is set although nothing is ridden")
		}
		r.send(r.job("b", step{takes: time.Second}), r.job("c"))
		time.Sleep(2 * watchEvery)
		synctest.Wait()
		if got := r.order(settled); !slices.Contains(got, 3) {
			t.Errorf("settled %v: the watcher did not wake up again", got)
		}
		time.Sleep(time.Second)
	})
}

// TestPaceFollowsTheRuns: an engine shares at first, rides once its runs have proved fast, and shares again
// when they have become slow.
func TestPaceFollowsTheRuns(t *testing.T) {
	bubble(t, 2, 64, 64, func(t *testing.T, r *rig) { // time stands still in a bubble, so runs take none
		shared := func() bool { return r.Count(nil).Shared }
		if !shared() {
			t.Error("a new engine rides, want it to share")
		}
		for i := range minStay + 16*(sampleRuns+1) {
			r.send(r.job("a"))
			if i%32 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if shared() {
			t.Errorf("it shares after %d fast runs, want it to ride", minStay)
		}
		for range 10 {
			r.send(r.job("a", step{takes: time.Second}), r.job("b", step{takes: time.Second}))
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		if !shared() {
			t.Error("it rides after 20 slow runs, want it to share")
		}
		if got := r.pace.stay; got != 2*minStay {
			t.Errorf("after a short ride it stays for %d items, want twice as many as at first, %d", got, 2*minStay)
		}
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestAdmitsIsExactAtTheBound, however the items settled.
func TestAdmitsIsExactAtTheBound(t *testing.T) {
	r := newRig(1, 4, 2)
	r.cfg.Bound = 4
	r.capacity.Store(5)
	for round := range 3 {
		for n := range 4 {
			if !r.Admits() {
				t.Fatalf("round %d: nothing is admitted beside %d items", round, n)
			}
			r.send(r.job("a"))
		}
		r.tallied.Add(1)
		r.inlet.upTo = 0
		if r.Admits() {
			t.Errorf("round %d: one more is admitted beside 5 items, want none", round)
		}
		r.tallied.Add(^uint64(0))
		for r.Step() {
		}
	}
}

// marble is an item of TestManyRides.
type marble struct{ key, n, spin int }

// marbles settles marbles and checks the order of each key, without a lock of its own: what ran before on a
// key happens before (O3).
type marbles struct {
	last []int
	done *atomic.Int64
	errs chan error
}

func (m *marbles) Run(it **marble, d *Decision) {
	b := *it
	if b.n != m.last[b.key]+1 {
		select {
		case m.errs <- fmt.Errorf("key %d ran %d after %d", b.key, b.n, m.last[b.key]):
		default:
		}
	}
	for range b.spin {
		runtime.Gosched()
	}
	m.last[b.key] = b.n
	*d = Decision{}
}
func (m *marbles) Amend(**marble)             {}
func (m *marbles) Settled(**marble, Decision) {}
func (m *marbles) Gone(**marble)              { m.done.Add(1) }

// startKeyed starts an engine of four workers in a gait, for items that all have a key and are run on real time.
func startKeyed[T any](g gait, key func(*T) string, r Runner[T]) *Engine[T] {
	e := New(Config[T]{
		Workers: 4, Inlet: 64, Room: 64,
		Key:       func(item *T) (string, bool) { return key(item), true },
		NewRunner: func() Runner[T] { return r },
		Took:      func() bool { return false }, Idle: func() {},
	})
	force(e, g)
	e.Start()
	return e
}

// TestO1_O2_O3_ManyRides runs on real time, because it is the races between a ride's end and its theft that it is
// after: most items are fast, some let others run, and all the while somebody counts, which steals.
func TestO1_O2_O3_ManyRides(t *testing.T) {
	const keys = 7
	each := 8_000
	if underRace {
		each = 2_000
	}
	for name, g := range gaits {
		t.Run(name, func(t *testing.T) {
			m := &marbles{last: make([]int, keys), done: new(atomic.Int64), errs: make(chan error, 1)}
			e := startKeyed(g, func(b **marble) string { return string(rune('a' + (*b).key)) }, m)
			stop := make(chan struct{})
			counted := make(chan error, 1)
			go func() { counted <- countUntil(stop, e) }()
			for n := 1; n <= each; n++ {
				for k := range keys {
					spin := 0
					if (n+k)%97 == 0 {
						spin = 300
					}
					feed(e, &marble{key: k, n: n, spin: spin})
				}
			}
			for m.done.Load() < int64(each*keys) {
				runtime.Gosched()
			}
			close(stop)
			err := <-counted
			e.End()
			e.Wait()
			select {
			case first := <-m.errs:
				err = errors.Join(err, first)
			default:
			}
			if c := e.Count(nil); err != nil || c.Live[0] != uint64(each*keys) || c.Lanes+c.Resident != 0 {
				t.Errorf("%v; at the end %+v", err, c)
			}
		})
	}
}

// countUntil reads the counts over and over and checks that they add up.
func countUntil(stop <-chan struct{}, e *Engine[*marble]) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		c := e.Count(nil)
		if c.Live[0] > c.Accepted || c.Accepted-c.Live[0] > uint64(c.Capacity)+1 || c.Resident < c.Running {
			return fmt.Errorf("the counts do not add up: %+v", c)
		}
		runtime.Gosched()
	}
}

// TestARideBesideLanesTakesNoLock: while a key is parked, the others are ridden as if it were not there.
func TestARideBesideLanesTakesNoLock(t *testing.T) {
	r := &parkSick{}
	e := newParcels(2, true, r)
	force(e, alone)
	e.Start()
	feed(e, parcel{key: "sick"})
	for e.Count(nil).Parked == 0 {
		runtime.Gosched()
	}
	healthy := "healthy"
	for e.lanes.mayHave(e.lanes.hash(healthy)) { // it shares the place of the other
		healthy += "!"
	}
	feed(e, parcel{key: healthy}) // which still has to look
	for r.done.Load() < 1 {
		runtime.Gosched()
	}
	e.mu.Lock()
	for range 100 {
		feed(e, parcel{key: healthy})
	}
	for tries := 0; r.done.Load() < 101 && tries < 1000; tries++ {
		time.Sleep(time.Millisecond)
	}
	if n := r.done.Load(); n != 101 {
		t.Errorf("%d were run while the lock was held, want all 101", n)
	}
	e.mu.Unlock()
	e.End()
	e.Wait()
}

// parkSick parks what is sick for an hour.
type parkSick struct{ done atomic.Int64 }

func (p *parkSick) Run(it *parcel, d *Decision) {
	if *d = (Decision{}); it.key == "sick" {
		*d = Decision{Action: Park, Delay: time.Hour}
	}
}
func (p *parkSick) Amend(*parcel)             {}
func (p *parkSick) Settled(*parcel, Decision) {}
func (p *parkSick) Gone(*parcel)              { p.done.Add(1) }

// TestPaceChoosesByHowLongRunsTake: alone, together, or shared, each until most of the last runs say otherwise.
func TestPaceChoosesByHowLongRunsTake(t *testing.T) {
	p := newPace()
	p.riders, p.aloneMost, p.items = 2, 900*time.Nanosecond, minStay
	for i, c := range []struct {
		riders int
		takes  time.Duration
		want   gait
	}{
		{2, 5 * time.Microsecond, together},
		{2, 100 * time.Nanosecond, alone},
		{2, time.Microsecond, alone}, // until it is half as long again
		{2, 2 * time.Microsecond, together},
		{1, 2 * time.Microsecond, alone}, // nobody to ride with
		{2, 2 * time.Microsecond, together},
		{2, 10 * time.Microsecond, together}, // likewise
		{2, time.Millisecond, share},
		{2, 10 * time.Microsecond, share}, // which may be one that waits
		{1, 5 * time.Microsecond, alone},
		{1, stolenRide, share},
		{2, 100 * time.Nanosecond, alone},
	} {
		p.riders = c.riders
		for range 8 {
			p.gait = p.note(c.takes)
		}
		if p.gait != c.want {
			t.Errorf("%d. after runs of %v with %d riders the gait is %d, want %d", i, c.takes, c.riders, p.gait, c.want)
		}
	}
}

// TestOneKeyIsRiddenAlone, and so is what has one worker: there is nothing to do for a second rider.
func TestOneKeyIsRiddenAlone(t *testing.T) {
	e := newParcels(8, true, &counting{})
	force(e, anyGait)
	if e.pace.riders < 2 {
		t.Errorf("%d workers of many keys may ride, want several", e.pace.riders)
	}
	if e.Resize(1); e.pace.riders != 1 {
		t.Errorf("%d riders of one worker, want 1", e.pace.riders)
	}
	e.cfg.OneKey = true
	if e.Resize(8); e.pace.riders != 1 {
		t.Errorf("%d riders of one key, want 1", e.pace.riders)
	}
}
