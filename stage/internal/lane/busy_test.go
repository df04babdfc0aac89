package lane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// bead is an item of TestO1_O2_RidesBesideEverything: the n-th of its key, or a redriven one.
type bead struct {
	key, n   int
	spin     int
	parks    bool
	redriven bool
}

// beads is what the beads of one key share. Only the flag is safe to touch beside them.
type beads struct {
	busy atomic.Bool
	last int
}

// stringer runs beads and checks that no two of a key run at once, and that they run in their order.
type stringer struct {
	keys []beads
	left *atomic.Int64 // beads that have not settled
	errs chan error
}

func (s *stringer) fault(format string, args ...any) {
	select {
	case s.errs <- fmt.Errorf(format, args...):
	default:
	}
}

func (s *stringer) Run(it **bead, d *Decision) {
	b := *it
	k := &s.keys[b.key]
	if !k.busy.CompareAndSwap(false, true) {
		s.fault("two of key %d run at once", b.key)
	}
	for range b.spin {
		runtime.Gosched()
	}
	*d = Decision{}
	if b.parks {
		*d = Decision{Action: Park, Delay: time.Duration(b.n%5) * 50 * time.Microsecond}
	} else if !b.redriven {
		if b.n != k.last+1 {
			s.fault("key %d ran %d after %d", b.key, b.n, k.last)
		}
		k.last = b.n
	}
	k.busy.Store(false)
}
func (s *stringer) Amend(it **bead)          { (*it).parks = false }
func (s *stringer) Settled(**bead, Decision) {}
func (s *stringer) Gone(*(*bead))            { s.left.Add(-1) }

// TestO1_O2_RidesBesideEverything runs on real time: while beads are ridden, some park, and letters, pauses, counts and
// changes of the number of workers come in between.
func TestO1_O2_RidesBesideEverything(t *testing.T) {
	const keys = 50
	each := 1500
	if underRace {
		each = 300
	}
	for name, g := range gaits {
		t.Run(name, func(t *testing.T) {
			s := &stringer{keys: make([]beads, keys), left: new(atomic.Int64), errs: make(chan error, 1)}
			e := startKeyed(g, func(b **bead) string { return fmt.Sprint((*b).key) }, s)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				s.meddle(e, stop)
			}()
			for n := 1; n <= each; n++ {
				for k := range keys {
					b := &bead{key: k, n: n, parks: (n*keys+k)%61 == 0}
					if (n+k)%97 == 0 {
						b.spin = 100
					}
					s.left.Add(1)
					feed(e, b)
				}
			}
			close(stop)
			<-stopped
			var err error
			for began := time.Now(); s.left.Load() > 0; runtime.Gosched() {
				if time.Since(began) > time.Minute {
					err = fmt.Errorf("%d are left after a minute: %+v", s.left.Load(), e.Count(nil))
					break
				}
			}
			e.End()
			e.Wait()
			select {
			case first := <-s.errs:
				err = errors.Join(err, first)
			default:
			}
			if c := e.Count(nil); err != nil || c.Live[0] != uint64(each*keys) || c.Lanes+c.Resident+c.Redrives != 0 {
				t.Errorf("%v; at the end %+v", err, c)
			}
		})
	}
}

// meddle does to the engine, over and over, what may be done to it while it runs.
func (s *stringer) meddle(e *Engine[*bead], stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			e.Resize(4)
			return
		default:
		}
		switch rand.IntN(6) {
		case 0:
			s.left.Add(1)
			e.Redrive(&bead{key: rand.IntN(len(s.keys)), redriven: true})
		case 1:
			e.Pause(true)
			runtime.Gosched()
			e.Pause(false)
		case 2:
			e.Resize(1 + rand.IntN(6))
		case 3:
			e.Expedite(func(**bead) bool { return true })
		case 4:
			if c := e.Count(nil); c.Live[0] > c.Accepted || c.Resident < c.Running-c.Redrives || c.Resident > 64+6 {
				s.fault("the counts do not add up: %+v", c)
			}
		case 5:
			for range 100 {
				runtime.Gosched()
			}
		}
	}
}
