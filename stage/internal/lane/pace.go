package lane

import (
	"math"
	"math/bits"
	"runtime"
	"time"
)

// gait is how items are run.
type gait uint8

const (
	share    gait = iota // workers take them under the lock
	alone                // one worker rides
	together             // several ride
)

// pace chooses the gait. To ride alone costs least, but then one processor runs all handlers: right for those that
// take some hundred nanoseconds, wrong for those that compute longer. To ride together costs more, and brings as many
// processors as there are: right for those that compute for some microseconds. To share costs most, and brings all
// workers: right for those that wait, and where the cost is small beside theirs. Clocks are dear, so runs are timed by
// samples.
//
// An engine begins by sharing, so that slow handlers have all workers from the first item on. It rides when the
// last eight samples were fast, and shares again when most of them were slow. Each change that is taken back soon
// doubles the items that must come before the next. It is guarded by the engine's lock.
type pace struct {
	gait   gait
	slow   uint8  // the last eight samples; 1 is too slow to ride
	long   uint8  // 1 is too long to ride alone
	items  int    // that were shared since the last change
	stay   int    // items that are shared before anything is ridden
	rode   uint64 // when the riding began
	riders int    // as many as may ride
	fixed  bool   // for tests

	aloneMost, rideMost time.Duration // the longest run that is ridden alone, and the longest that is ridden
}

const (
	// togetherCosts is about what it costs to ride together, of all processors' time. While one rides alone, the
	// others bring nothing: so to ride together pays for a run that takes longer than this divided by the number of the
	// others.
	togetherCosts = 900 * time.Nanosecond
	leastAlone    = 300 * time.Nanosecond // from some processors on they wait for their turn instead

	// longestRide is where sharing costs little beside the run, which may be one that waits.
	longestRide = 8 * time.Microsecond

	sampleRides = 64 - 1 // mask: one ride of so many is timed
	sampleRuns  = 16 - 1 // mask: one shared run of so many is timed

	minStay   = 1024
	maxStay   = 64 * minStay
	shortRide = 16 * minStay // rides, below which to have begun riding was a mistake

	stolenRide = math.MaxInt64 // the sample of a ride that lasted so long that it was stolen
)

func newPace() pace {
	others := max(runtime.GOMAXPROCS(0)-1, 1)
	most := max(togetherCosts/time.Duration(others), leastAlone)
	return pace{slow: 0xff, long: 0xff, stay: minStay, riders: 1, aloneMost: most, rideMost: longestRide}
}

// note takes a sample of a run and returns the gait that is right. What is right stays so until it is half as long
// again, so that it does not change to and fro.
func (p *pace) note(took time.Duration) gait {
	mostAlone, most := p.aloneMost, p.rideMost
	if p.gait != share {
		most += most / 2
	}
	if p.gait == alone {
		mostAlone += mostAlone / 2
	}
	p.slow, p.long = p.slow<<1, p.long<<1
	if took > most {
		p.slow |= 1
	}
	if took > mostAlone {
		p.long |= 1
	}
	return p.choose()
}

func (p *pace) choose() gait {
	slow, long := bits.OnesCount8(p.slow) > 4, bits.OnesCount8(p.long) > 4
	switch {
	case p.fixed:
		return p.gait
	case p.gait == share && (p.slow != 0 || p.items < p.stay), slow:
		return share
	case p.riders == 1:
		return alone
	case p.gait == together && bits.OnesCount8(p.long) > 2, long:
		return together
	}
	return alone
}

// sampled takes a sample, and changes the gait if that is right.
func (e *Engine[T]) sampled(took time.Duration) {
	if g := e.pace.note(took); g != e.pace.gait {
		e.change(g)
	}
}

// change changes the gait. Who rides in another one leaves its track.
func (e *Engine[T]) change(g gait) {
	p := &e.pace
	switch {
	case p.gait == share:
		p.rode = e.rode()
	case g == share:
		if e.rode()-p.rode < shortRide {
			p.stay = min(2*p.stay, maxStay)
		} else {
			p.stay = minStay
		}
		p.items, p.slow, p.long = 0, 0xff, 0xff
	}
	p.gait = g
	e.attend()
}

// ran counts a shared run, and takes a sample of one that was timed.
func (e *Engine[T]) ran(took time.Duration) {
	e.pace.items++
	if took > 0 {
		e.sampled(took)
	}
}
