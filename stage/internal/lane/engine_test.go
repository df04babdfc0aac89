package lane

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestJobsOfAKeyRunInTheirOrder(t *testing.T) {
	bubble(t, 4, 8, 8, func(t *testing.T, r *rig) {
		for i := range 100 {
			r.send(r.job([]string{"a", "b", "c"}[i%3], step{takes: time.Duration(i%5) * time.Millisecond}))
		}
		time.Sleep(time.Hour)
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestParkedJobHoldsItsKeyOnly: with a single worker, a key that waits for an hour stops neither the
// other keys nor itself once the hour is over.
func TestParkedJobHoldsItsKeyOnly(t *testing.T) {
	bubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
		first, second := r.job("a", step{action: Park, delay: time.Hour}), r.job("a")
		other, loose := r.job("b"), r.job("")
		r.send(first, second, other, loose)
		synctest.Wait()
		if got, want := r.order(settled), []int{other.id, loose.id}; !slices.Equal(got, want) {
			t.Errorf("settled %v while the key waits, want %v", got, want)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got, want := r.order(settled)[2:], []int{first.id, second.id}; !slices.Equal(got, want) {
			t.Errorf("settled %v after the wait, want %v", got, want)
		}
	})
}

// TestParkedJobsComeBackWhenDue: of many, each at its own time, whatever the order in which they parked.
func TestParkedJobsComeBackWhenDue(t *testing.T) {
	bubble(t, 2, 64, 64, func(t *testing.T, r *rig) {
		delays := []int{50, 10, 40, 10, 30, 20, 0}
		for i, d := range delays {
			key := ""
			if i%2 == 0 {
				key = string(rune('a' + i))
			}
			r.send(r.job(key, step{action: Park, delay: time.Duration(d) * time.Minute}))
		}
		began := time.Now()
		for _, after := range []int{0, 10, 20, 30, 40, 50} {
			time.Sleep(time.Until(began.Add(time.Duration(after) * time.Minute)))
			synctest.Wait()
			want := 0
			for _, d := range delays {
				if d <= after {
					want++
				}
			}
			if got := len(r.order(settled)); got != want {
				t.Errorf("after %d minutes %d settled, want %d", after, got, want)
			}
		}
		if c := r.Count(nil); c.Parked != 0 || c.Lanes != 0 {
			t.Errorf("counts = %+v, want none parked", c)
		}
	})
}

func TestNextDueIsTheEarliest(t *testing.T) {
	bubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
		if due, found := r.NextDue(); found {
			t.Errorf("NextDue = %v, want none", due)
		}
		began := time.Now()
		r.send(r.job("a", step{action: Park, delay: 3 * time.Hour}), r.job("b", step{action: Park, delay: time.Hour}))
		synctest.Wait()
		if due, found := r.NextDue(); !found || !due.Equal(began.Add(time.Hour)) {
			t.Errorf("NextDue = %v, %v, want in an hour", due, found)
		}
		time.Sleep(3 * time.Hour)
	})
}

func TestExpediteMakesParkedJobsDue(t *testing.T) {
	bubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
		soon, late := r.job("a", step{action: Park, delay: time.Hour}), r.job("b", step{action: Park, delay: time.Hour})
		r.send(soon, late)
		synctest.Wait()
		soon.steps[0].delay = 0 // its line in the history says an hour
		r.locked(func() {
			for i := range r.history {
				if r.history[i].job == soon {
					r.history[i].due = time.Time{}
				}
			}
		})
		r.Expedite(func(j **job) bool { return *j == soon })
		synctest.Wait()
		if got, want := r.order(settled), []int{soon.id}; !slices.Equal(got, want) {
			t.Errorf("settled %v, want %v", got, want)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestO5_HotKeyGivesWay: a key with 500 jobs waiting in its lane gives way to another after its run budget.
func TestO5_HotKeyGivesWay(t *testing.T) {
	for _, workers := range []int{2, 3} {
		bubble(t, workers, 600, 600, func(t *testing.T, r *rig) {
			for range 500 {
				r.send(r.job("hot", step{takes: time.Second}))
			}
			time.Sleep(20500 * time.Millisecond)
			before := len(r.order(began))
			cold := r.job("cold")
			r.send(cold)
			time.Sleep(30 * time.Second)
			waited := slices.Index(r.order(began), cold.id) - before
			if waited < 0 || waited > runBudget {
				t.Errorf("%d workers: the cold key waited for %d other jobs, want at most %d", workers, waited, runBudget)
			}
			time.Sleep(time.Hour)
		})
	}
}

// TestO5_ReadyKeysTakeTurns: with one worker, every ready key waits for at most a budget of each other.
func TestO5_ReadyKeysTakeTurns(t *testing.T) {
	const keys, each = 5, 40
	bubble(t, 1, 1000, 1000, func(t *testing.T, r *rig) {
		r.pause(true)
		for range each {
			for k := range keys {
				r.send(r.job(string(rune('a' + k))))
			}
		}
		r.pause(false)
		synctest.Wait()
		last := map[string]int{}
		n := 0
		for _, h := range r.history {
			if h.what != began {
				continue
			}
			if gap := n - last[h.key]; gap > keys*runBudget {
				t.Errorf("key %s waited for %d other jobs, want at most %d", h.key, gap, keys*runBudget)
			}
			last[h.key] = n
			n++
		}
		if n != keys*each {
			t.Errorf("%d jobs ran, want %d", n, keys*each)
		}
	})
}

// TestO5_ChannelDoesNotStarveReadyLanes: the leader takes from both in turn, so that what becomes due
// runs although the channel is never empty.
func TestO5_ChannelDoesNotStarveReadyLanes(t *testing.T) {
	bubble(t, 1, 100, 100, func(t *testing.T, r *rig) {
		parked := r.job("a", step{action: Park, delay: time.Second})
		r.send(parked)
		for range 50 {
			r.send(r.job("", step{takes: time.Second}))
		}
		time.Sleep(10 * time.Second)
		if got := r.order(settled); !slices.Contains(got, parked.id) {
			t.Errorf("settled %v within ten seconds, want the one that was due after one among them", got)
		}
		time.Sleep(time.Hour)
	})
}

func TestBoundIsReachedAndRespected(t *testing.T) {
	bubble(t, 3, 4, 5, func(t *testing.T, r *rig) {
		for range 4 + 5 + 3 { // more would block
			r.send(r.job("a", step{takes: time.Second}))
			synctest.Wait()
		}
		if r.Queued() != r.Slots() {
			t.Errorf("the channel holds %d, want it full with %d", r.Queued(), r.Slots())
		}
		if c := r.Count(nil); c.Resident != 8 || c.Capacity != 12 {
			t.Errorf("resident %d of a capacity of %d, want 8 beyond the channel and 12", c.Resident, c.Capacity)
		}
		time.Sleep(time.Hour)
	})
}

// TestParkedJobsFillTheBound: what waits for another attempt counts against the bound (R5).
func TestParkedJobsFillTheBound(t *testing.T) {
	bubble(t, 1, 2, 2, func(t *testing.T, r *rig) {
		for range 5 {
			r.send(r.job("", step{action: Park, delay: time.Hour}))
			synctest.Wait()
		}
		if c := r.Count(nil); c.Parked != 3 || r.Queued() != 2 {
			t.Errorf("%d parked, %d in the channel, want 3 and 2", c.Parked, r.Queued())
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

func TestHeldKeyWaitsForRelease(t *testing.T) {
	bubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
		first, second, other := r.job("a", step{action: Hold}), r.job("a"), r.job("b")
		r.send(first, second, other)
		time.Sleep(time.Hour)
		if got, want := r.order(settled), []int{other.id}; !slices.Equal(got, want) {
			t.Errorf("settled %v while a is held, want %v", got, want)
		}
		if c := r.Count(nil); c.Held != 1 || !slices.Equal(c.HeldKeys, []string{"a"}) || c.Lanes != 1 {
			t.Errorf("counts = %+v, want a held", c)
		}
		if rest := r.Rest(); rest.Stuck != 2 || rest.Accepted != rest.Settled+rest.Stuck {
			t.Errorf("rest = %+v, want both jobs of a stuck and nothing else missing", rest)
		}
		if n := r.free("b"); n != 0 {
			t.Errorf("Release(b) = %d, want 0", n)
		}
		if n := r.free("a"); n != 1 {
			t.Errorf("Release(a) = %d, want 1", n)
		}
		synctest.Wait()
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

func TestHeldKeysAreListedUpToABound(t *testing.T) {
	bubble(t, 4, 200, 200, func(t *testing.T, r *rig) {
		for range maxHeldKeys + 5 {
			j := r.job("", step{action: Hold})
			j.key = time.Duration(j.id).String()
			r.send(j)
		}
		synctest.Wait()
		if c := r.Count(nil); c.Held != maxHeldKeys+5 || len(c.HeldKeys) != maxHeldKeys {
			t.Errorf("%d held, %d listed, want %d and %d", c.Held, len(c.HeldKeys), maxHeldKeys+5, maxHeldKeys)
		}
	})
}

func TestRedriveGoesInFront(t *testing.T) {
	cases := map[string]struct {
		head step
		free bool
	}{
		"of a lane that is ready":  {step{takes: time.Second}, false},
		"of a parked head":         {step{action: Park, delay: time.Hour}, false},
		"of a held head":           {step{action: Hold}, true},
		"of what waits for a held": {step{action: Hold, takes: time.Second}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
				head, next := r.job("a", c.head), r.job("a")
				r.send(head, next)
				synctest.Wait()
				letter := r.job("a")
				if !r.redo(letter) {
					t.Fatal("Redrive = false, want true")
				}
				time.Sleep(2 * time.Hour)
				if c.free {
					r.free("a")
				}
				synctest.Wait()
				if err := r.checkRest(); err != nil {
					t.Error(err)
				}
				if got := r.order(began); slices.Index(got, letter.id) > slices.Index(got, next.id) {
					t.Errorf("the jobs began in the order %v, want %d before %d", got, letter.id, next.id)
				}
				if n := r.Count(nil).Redriven[0]; n != 1 {
					t.Errorf("%d redriven ones settled, want 1", n)
				}
			})
		})
	}
}

// TestParkedJobBehindARedriveComesBack: when the redriven job has settled, the lane waits for its next
// head again, and the leader, who waits already, must hear of it.
func TestParkedJobBehindARedriveComesBack(t *testing.T) {
	bubble(t, 2, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a", step{action: Park, delay: time.Minute}))
		synctest.Wait()
		r.redo(r.job("a", step{takes: time.Second}))
		time.Sleep(time.Hour)
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestRedriveBypassesTheBound: a full engine takes one, and an idle one makes a lane for it.
func TestRedriveBypassesTheBound(t *testing.T) {
	bubble(t, 1, 1, 1, func(t *testing.T, r *rig) {
		for range 3 {
			r.send(r.job("a", step{action: Park, delay: time.Hour}))
			synctest.Wait()
		}
		letter, loose := r.job("b"), r.job("")
		r.redo(letter)
		r.redo(loose)
		synctest.Wait()
		if got, want := r.order(settled), []int{letter.id, loose.id}; !slices.Equal(got, want) {
			t.Errorf("settled %v, want %v", got, want)
		}
		time.Sleep(4 * time.Hour)
	})
}

func TestPauseStartsNothing(t *testing.T) {
	bubble(t, 2, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a", step{takes: time.Minute}), r.job("a"))
		synctest.Wait()
		r.pause(true)
		r.send(r.job("b"), r.job("", step{}))
		time.Sleep(time.Hour)
		if got, want := r.order(settled), []int{1}; !slices.Equal(got, want) {
			t.Errorf("settled %v while paused, want the one that was running, %v", got, want)
		}
		if c := r.Count(nil); !c.Paused {
			t.Error("Count does not tell that the engine is paused")
		}
		r.pause(false)
		synctest.Wait()
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestResizeChangesHowManyRun, up and down, and back to what it was.
func TestResizeChangesHowManyRun(t *testing.T) {
	bubble(t, 2, 100, 100, func(t *testing.T, r *rig) {
		for range 90 {
			r.send(r.job("", step{takes: time.Minute}))
		}
		for _, n := range []int{2, 7, 1, 4} {
			r.Resize(n)
			time.Sleep(90 * time.Second) // what was running has ended
			synctest.Wait()
			if c := r.Count(nil); c.Running != n || c.Workers != n {
				t.Errorf("after Resize(%d) %d run on %d workers", n, c.Running, c.Workers)
			}
		}
		time.Sleep(2 * time.Hour)
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestResizeBeforeStartStartsNothing: an engine that is stepped by hand must not begin to work by
// itself, and one that was started then has the new number.
func TestResizeBeforeStartStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(2, 8, 8)
		r.Resize(3)
		r.send(r.job("a", step{takes: time.Minute}), r.job("b", step{takes: time.Minute}), r.job("c", step{takes: time.Minute}))
		synctest.Wait()
		if n := len(r.order(began)); n != 0 {
			t.Errorf("%d jobs began before Start, want none", n)
		}
		r.Start()
		synctest.Wait()
		if c := r.Count(nil); c.Running != 3 {
			t.Errorf("%d run after Start, want 3", c.Running)
		}
		r.End()
		r.Wait()
	})
}

// TestResizeAfterEndStartsNothing: no worker comes that nobody waits for.
func TestResizeAfterEndStartsNothing(t *testing.T) {
	bubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
		r.End()
		r.Wait()
		r.Resize(4)
		r.mu.Lock()
		n := len(r.workers)
		r.mu.Unlock()
		if n != 0 {
			t.Errorf("%d workers came after the end, want none", n)
		}
	})
}

// TestFault12_GoexitCostsNoWorker: a run that ends its goroutine is settled as it said, another worker
// takes the place, and the key goes on.
func TestFault12_GoexitCostsNoWorker(t *testing.T) {
	bubble(t, 1, 32, 32, func(t *testing.T, r *rig) {
		for range 5 {
			r.send(
				r.job("a", step{goexit: true}),
				r.job("a", step{action: Park, delay: time.Second, goexit: true}),
				r.job("", step{goexit: true}),
				r.job("a"))
		}
		time.Sleep(time.Minute)
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
	})
}

// TestFault12_GoexitOnTheCallersGoroutine: one step ends the goroutine that called it, and nothing else.
func TestFault12_GoexitOnTheCallersGoroutine(t *testing.T) {
	r := newRig(1, 8, 8)
	r.send(r.job("a", step{goexit: true}), r.job("a"))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Step()
		t.Error("Step returned, want its goroutine to have ended")
	}()
	<-ended
	for r.Step() {
	}
	if err := r.checkRest(); err != nil {
		t.Error(err)
	}
}

func TestStopRunsNothingMore(t *testing.T) {
	bubble(t, 2, 16, 16, func(t *testing.T, r *rig) {
		slow := r.job("b", step{takes: time.Minute})
		halt := r.job("a", step{action: Stop, takes: time.Second})
		r.send(slow, halt, r.job("a"), r.job("b"), r.job("c"), r.job(""))
		time.Sleep(time.Hour)
		if got := r.order(settled); !slices.Contains(got, slow.id) || len(got) > 2 {
			t.Errorf("settled %v, want %d and at most one more", got, slow.id)
		}
		if c := r.Count(nil); !c.Stopped || c.Running != 0 {
			t.Errorf("counts = %+v, want it stopped", c)
		}
		if rest := r.Rest(); !rest.Blocked {
			t.Errorf("rest = %+v, want it blocked", rest)
		}
	})
}

// TestIdleIsToldWhileDraining, and only then.
func TestIdleIsToldWhileDraining(t *testing.T) {
	idle := func(r *rig) (n int) {
		r.locked(func() { n = r.idle })
		return n
	}
	bubble(t, 2, 16, 16, func(t *testing.T, r *rig) {
		r.send(r.job("a"))
		synctest.Wait()
		if n := idle(r); n != 0 {
			t.Errorf("told %d times before Drain, want 0", n)
		}
		r.send(r.job("a", step{takes: time.Second}), r.job("a", step{action: Park, delay: time.Second}))
		r.Drain()
		time.Sleep(1500 * time.Millisecond)
		if n := idle(r); n != 0 {
			t.Errorf("told %d times while a job is parked, want 0", n)
		}
		time.Sleep(time.Second)
		if n := idle(r); n == 0 {
			t.Error("not told when nothing was left to run")
		}
	})
}

// TestIdleIsToldWhenBlocked: what waits in a paused or stopped engine will not run, so the last run
// to end leaves nothing to wait for, and a drain must hear of it.
func TestIdleIsToldWhenBlocked(t *testing.T) {
	cases := map[string]func(r *rig){
		"by a decision to stop": func(r *rig) { r.send(r.job("b", step{action: Stop})) },
		"by a pause":            func(r *rig) { r.pause(true) },
	}
	for name, block := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, 16, 16, func(t *testing.T, r *rig) {
				r.send(r.job("a", step{takes: time.Minute}))
				synctest.Wait()
				r.Drain()
				block(r)
				r.send(r.job("a"), r.job("c"), r.job("d"), r.job(""))
				time.Sleep(time.Hour)
				n := 0
				if r.locked(func() { n = r.idle }); n == 0 {
					t.Error("not told when the last run had ended")
				}
			})
		})
	}
}

func TestAbandonHandsBackInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(2, 8, 4)
		r.Start()
		stuck := r.job("a", step{takes: time.Hour})
		r.send(stuck, r.job("a"), r.job("a"))
		r.send(r.job("b", step{action: Park, delay: 9 * time.Hour}), r.job("b"))
		r.send(r.job("c", step{action: Hold}))
		synctest.Wait()
		r.send(r.job("a"), r.job("b"), r.job("c")) // the channel's: there is no more room
		r.redo(r.job("b", step{action: Park, delay: 9 * time.Hour}))
		synctest.Wait()
		r.End()
		synctest.Wait()
		states := map[string][]State{}
		ids := map[string][]int{}
		for _, left := range r.Abandon(7) {
			states[left.Item.key] = append(states[left.Item.key], left.State)
			ids[left.Item.key] = append(ids[left.Item.key], left.Item.id)
			if left.Redrive != left.Item.redrive {
				t.Errorf("job %d is left with Redrive %v, want %v", left.Item.id, left.Redrive, left.Item.redrive)
			}
		}
		wantIDs := map[string][]int{"a": {1, 2, 3, 7}, "b": {10, 4, 5, 8}, "c": {6, 9}}
		wantStates := map[string][]State{
			"a": {Running, Queued, Queued, Queued}, "b": {Parked, Parked, Queued, Queued}, "c": {Held, Queued},
		}
		for key := range wantIDs {
			if !slices.Equal(ids[key], wantIDs[key]) || !slices.Equal(states[key], wantStates[key]) {
				t.Errorf("key %s left %v in states %v, want %v in %v", key, ids[key], states[key], wantIDs[key], wantStates[key])
			}
		}
		c := r.Count(nil)
		if c.Live[7] != 9 || c.Resident+c.Redrives+c.Running+c.Parked+c.Held+c.Lanes != 0 {
			t.Errorf("counts = %+v, want 9 returned and nothing left", c)
		}
		r.Wait() // the stuck one comes back, and changes nothing
		if after := r.Count(nil); after.Live != c.Live || after.Running != 0 || after.Resident != 0 {
			t.Errorf("counts after the last run = %+v, want %+v", after, c)
		}
		if r.redo(r.job("a")) {
			t.Error("Redrive = true after Abandon, want false")
		}
	})
}

// TestAbandonWhileASettledJobIsReported: an item is counted before its owner hears of it. Abandoned in
// between, it has still settled, once.
func TestAbandonWhileASettledJobIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(1, 8, 8)
		r.cfg.NewRunner = func() Runner[*job] { return &slowReport{rigRunner{r}} }
		r.Start()
		r.send(r.job("a"), r.job("a"))
		synctest.Wait()
		r.End()
		left := r.Abandon(7)
		if len(left) != 1 || left[0].Item.id != 2 || left[0].State != Queued {
			t.Errorf("left %+v, want the second job alone", left)
		}
		r.Wait()
		if c := r.Count(nil); c.Live[0] != 1 || c.Live[7] != 1 || c.Resident != 0 || c.Running != 0 {
			t.Errorf("counts = %+v, want one settled and one returned", c)
		}
	})
}

// slowReport takes an hour to hear that an item has settled.
type slowReport struct{ rigRunner }

func (x *slowReport) Settled(item **job, d Decision) {
	time.Sleep(time.Hour)
	x.rigRunner.Settled(item, d)
}

// TestM2_IdleEngineHoldsNothing: after 1,000,000 keys there is no lane, and the lanes and arrays kept for use
// again are few and empty.
func TestM2_IdleEngineHoldsNothing(t *testing.T) {
	n := 1_000_000
	if underRace {
		n = 100_000
	}
	e := New(Config[int]{
		Workers: 4, Inlet: 512, Room: 512,
		Key:       func(i *int) (string, bool) { return string(runeKey(*i)), true },
		NewRunner: func() Runner[int] { return settleAll[int]{} },
		Took:      func() bool { return false }, Idle: func() {},
	})
	e.Start()
	for i := range n {
		feed(e, i)
	}
	e.Drain()
	for e.Rest().Settled != uint64(n) {
		runtime.Gosched()
	}
	e.End()
	e.Wait()
	if c := e.Count(nil); c.Lanes != 0 || c.Resident != 0 {
		t.Errorf("counts = %+v, want no lane", c)
	}
	if len(e.free) > maxFree || cap(e.ready.buf) > keepCap || cap(e.parked) > keepCap {
		t.Errorf("%d free lanes, %d ready and %d parked slots are kept", len(e.free), cap(e.ready.buf), cap(e.parked))
	}
	for _, ln := range e.free {
		if ln.key != "" || ln.queue.len() != 0 || cap(ln.queue.buf) > keepCap {
			t.Errorf("a free lane keeps key %q and %d slots", ln.key, cap(ln.queue.buf))
		}
	}
}

// TestM2_FreedLanesKeepNoItems: a lane that was dropped holds on to nothing that passed through it.
func TestM2_FreedLanesKeepNoItems(t *testing.T) {
	r := newRig(1, 64, 64)
	for i := range 60 {
		r.send(r.job([]string{"a", "b", "c"}[i%3], step{action: Park}))
	}
	for r.Step() {
	}
	if len(r.Engine.free) == 0 {
		t.Fatal("no lane was kept for use again, so the test shows nothing")
	}
	for _, ln := range r.Engine.free {
		for _, slot := range ln.queue.buf {
			if slot.item != nil {
				t.Errorf("a free lane keeps job %d", slot.item.id)
			}
		}
	}
	for _, slot := range r.ready.buf {
		if slot != nil {
			t.Error("the ready queue keeps a lane")
		}
	}
	if r.stepper.item != nil {
		t.Error("the idle worker keeps its item")
	}
}

// TestStepByHand: without workers, one call is one attempt, oldest first; a parked job waits for its time.
func TestStepByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(4, 8, 8)
		r.send(r.job("a", step{action: Park, delay: time.Minute}), r.job("a"), r.job("b"), r.job(""))
		steps := 0
		for r.Step() {
			steps++
		}
		if got, want := r.order(settled), []int{3, 4}; !slices.Equal(got, want) || steps != 3 {
			t.Errorf("%d steps settled %v, want 3 and %v", steps, got, want)
		}
		if r.StepReady() {
			t.Error("StepReady = true before the parked job is due")
		}
		time.Sleep(time.Minute)
		r.send(r.job("c"))
		for r.StepReady() {
		}
		if got, want := r.order(settled), []int{3, 4, 1, 2}; !slices.Equal(got, want) {
			t.Errorf("settled %v, want %v: what is filed, not what is in the channel", got, want)
		}
		for r.Step() {
		}
		if err := r.checkRest(); err != nil {
			t.Error(err)
		}
		r.pause(true)
		r.send(r.job("d"))
		if r.Step() || r.StepReady() {
			t.Error("Step = true while paused")
		}
	})
}

// TestCountVisitsWhatIsResident: every item beyond the channel, those that run included.
func TestCountVisitsWhatIsResident(t *testing.T) {
	bubble(t, 1, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("a", step{takes: time.Hour}), r.job("a"))
		synctest.Wait()
		// With its only worker busy, what comes stays in the channel.
		var ids []int
		r.Count(func(j **job) { ids = append(ids, (*j).id) })
		if len(ids) != 1 || ids[0] != 1 {
			t.Errorf("Count visited %v, want the running one", ids)
		}
		r.Resize(2)
		synctest.Wait()
		ids = nil
		r.Count(func(j **job) { ids = append(ids, (*j).id) })
		slices.Sort(ids)
		if !slices.Equal(ids, []int{1, 2}) {
			t.Errorf("Count visited %v, want 1 and 2", ids)
		}
		time.Sleep(time.Hour)
	})
}

func TestTallyCountsWithoutALane(t *testing.T) {
	r := newRig(1, 1, 1)
	r.Tally(3)
	if c := r.Count(nil); c.Live[3] != 1 || c.Lanes != 0 {
		t.Errorf("counts = %+v, want one under outcome 3", c)
	}
}

func runeKey(i int) []byte { return []byte{byte(i), byte(i >> 8), byte(i >> 16)} }

// settleAll settles every item at once.
type settleAll[T any] struct{}

func (settleAll[T]) Run(_ *T, d *Decision) { *d = Decision{} }
func (settleAll[T]) Amend(*T)              {}
func (settleAll[T]) Settled(*T, Decision)  {}
func (settleAll[T]) Gone(*T)               {}
