package lane

import (
	"testing"
	"testing/synctest"
	"time"
)

// ridersBubble runs f in a bubble with an engine of three tracks that goes in one gait.
func ridersBubble(t *testing.T, g gait, workers, inlet, room int, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(workers, inlet, room)
		force(r.Engine, g)
		r.Start()
		synctest.Wait()
		f(t, r)
		r.End()
		r.Wait()
		if err := r.check(); err != nil {
			t.Error(err)
		}
	})
}

// TestARiderThatWasRousedAndMayNotRide leaves what it was roused for to one that sleeps: here there is no room for
// it at first, and the workers become fewer.
func TestARiderThatWasRousedAndMayNotRide(t *testing.T) {
	ridersBubble(t, together, 4, 8, 0, func(t *testing.T, r *rig) {
		r.send(r.job("held", step{action: Hold}))
		synctest.Wait()
		r.send(r.job("parked", step{action: Park, delay: time.Second}))
		synctest.Wait()
		r.Resize(2)
		synctest.Wait()
		r.send(r.job("x"))
		time.Sleep(time.Hour)
		if err := r.leftUndone(); err != nil {
			t.Error(err)
		}
		r.Drain()
		time.Sleep(time.Hour)
		synctest.Wait()
		if rest := r.Rest(); rest.Accepted != rest.Settled+rest.Stuck {
			t.Errorf("a drain does not come to rest: %+v", rest)
		}
		r.free("held")
		time.Sleep(time.Hour)
		synctest.Wait()
	})
}

// TestAChangeOfGaitLeavesNothingInTheInlet that a rider was roused for which rides no more.
func TestAChangeOfGaitLeavesNothingInTheInlet(t *testing.T) {
	for _, g := range []gait{alone, share} {
		ridersBubble(t, together, 3, 8, 8, func(t *testing.T, r *rig) {
			r.send(r.job("c", step{takes: 50 * time.Microsecond}))
			synctest.Wait()
			x := r.job("x")
			r.note(sent, x)
			r.Engine.mu.Lock()
			r.Send(x) // rouses one, who cannot look yet
			r.change(g)
			r.unlock()
			time.Sleep(time.Second)
			if err := r.leftUndone(); err != nil {
				t.Error(err)
			}
			if err := r.checkRest(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestARiderThatLeavesTellsOfItsRides: a publisher that waits for room does not wait for what the rider does next.
func TestARiderThatLeavesTellsOfItsRides(t *testing.T) {
	ridersBubble(t, alone, 1, 8, 8, func(t *testing.T, r *rig) {
		r.send(r.job("p", step{action: Park, delay: 160 * time.Microsecond}, step{takes: time.Hour}))
		synctest.Wait()
		r.Engine.mu.Lock()
		r.inletTurn = !r.inletTurn // as after another item that was run in the ordinary way
		r.Engine.mu.Unlock()
		var jobs []*job
		for len(jobs) < 30 {
			if j := r.job("x", step{takes: 30 * time.Microsecond}); !j.tells() { // or its end would be told
				jobs = append(jobs, j)
			}
		}
		go r.send(jobs...)
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.Accepted() < 31 && r.Queued() < r.Slots() {
			t.Errorf("a publisher waits, and %d of %d slots are free", r.Slots()-r.Queued(), r.Slots())
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
	})
}
