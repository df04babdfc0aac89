package lane

import (
	"math/bits"
	"time"
)

// pace decides whether the leader rides items or hands the lead over before it runs one. To ride costs least,
// but then one processor runs all handlers: right for those that take some hundred nanoseconds, wrong for those
// that compute longer, and for those that wait. Clocks are dear, so runs are timed by samples.
//
// An engine begins by sharing, so that slow handlers have all workers from the first item on. It rides when the
// last eight samples were fast, and shares again when most of them were slow. Each change that is taken back soon
// doubles the items that must come before the next.
type pace struct {
	// shared is whether the workers share the items. It changes under the engine's lock.
	shared bool
	// turned is set when the leader found that its rides have become slow. It and history are the leader's
	// while it rides, and guarded by the lock else.
	turned  bool
	history uint8 // the last eight samples; 1 is slow
	items   int   // that were shared since the last change
	stay    int   // items that are shared before anything is ridden
	rode    uint64
	fixed   bool // for tests
}

const (
	// slowRide and fastRun are how long a sample takes to count as slow while items are ridden, and at
	// most to count as fast while they are shared. Between sharing, which costs some hundred nanoseconds
	// an item, and riding lies about this much on two processors.
	slowRide = 800 * time.Nanosecond
	fastRun  = 500 * time.Nanosecond

	sampleRides = 64 - 1 // mask: one ride of so many is timed
	sampleRuns  = 16 - 1 // mask: one shared run of so many is timed

	minStay   = 1024
	maxStay   = 64 * minStay
	shortRide = 16 * minStay // rides, below which to have begun riding was a mistake
)

func newPace() pace { return pace{shared: true, history: 0xff, stay: minStay} }

// note takes a sample of a ride, and reports whether most are slow.
func (p *pace) note(took time.Duration) bool {
	p.history <<= 1
	if took > slowRide {
		p.history |= 1
	}
	return p.isSlow()
}

func (p *pace) isSlow() bool { return !p.fixed && bits.OnesCount8(p.history) > 4 }

// stolen notes that a ride lasted so long that it was stolen.
func (p *pace) stolen() bool {
	p.history = p.history<<1 | 1
	return p.isSlow()
}

// share makes the workers share the items. It is called with the lock held while nobody leads.
func (e *Engine[T]) share() {
	p := &e.pace
	now := e.rides.Load() / oneRide
	if now-p.rode < shortRide {
		p.stay = min(2*p.stay, maxStay)
	} else {
		p.stay = minStay
	}
	p.shared, p.turned, p.items, p.history = true, false, 0, 0xff
	e.attend()
}

// ran counts a shared run, and takes a sample of one that was timed. When the runs have become fast, the items
// are ridden from now on.
func (e *Engine[T]) ran(took time.Duration) {
	p := &e.pace
	p.items++
	if took == 0 {
		return
	}
	p.history <<= 1
	if took > fastRun {
		p.history |= 1
	}
	if p.history == 0 && p.items >= p.stay && !p.fixed {
		p.shared, p.rode = false, e.rides.Load()/oneRide
	}
}
