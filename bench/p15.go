package main

import (
	"fmt"
	"math"
	"runtime"
	"time"
)

// burn computes for so many turns. It reads no clock: one that did would burn less where the processor is
// shared, and hide it.
func burn(turns int) uint64 {
	x := uint64(turns) | 1
	for range turns {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

// never is said if burn ends at 0, which it does not: its result is used, so that it is not left out.
const never = "bench: burn ended at 0"

// calibrate returns how many turns burn makes in a microsecond.
func calibrate() int {
	const turns = 2_000_000
	best := time.Duration(math.MaxInt64)
	for range 5 {
		begin := time.Now()
		if burn(turns) == 0 {
			panic(never)
		}
		best = min(best, time.Since(begin))
	}
	return max(int(turns*float64(time.Microsecond)/float64(best)), 1)
}

// burning returns a handler's work of d of computing.
func (c *config) burning(d time.Duration) func() {
	if c.burn == 0 {
		c.burn = calibrate()
	}
	turns := int(float64(c.burn) * float64(d) / float64(time.Microsecond))
	return func() {
		if burn(turns) == 0 {
			panic(never)
		}
	}
}

// p15 is a handler that computes: to run it on the goroutine that hands out the work must not cost a core.
func p15(c *config) (*report, error) {
	r := &report{notes: []string{"A ratio of throughputs: more is better. Each size is a run from cold, one worker a core."}}
	cores := runtime.GOMAXPROCS(0)
	all := crews(c)
	worst := make([]float64, len(all))
	for i := range worst {
		worst[i] = math.Inf(1)
	}
	for _, micros := range []int{1, 2, 5, 20, 100} {
		d := time.Duration(micros) * time.Microsecond
		n := max(int(c.span(150*time.Millisecond, time.Millisecond)/d)*cores/sampledEvery, 1) * sampledEvery
		got, err := compareCrews(c.rounds, all, shift{goroutines: cores, events: n, keys: 10_000, work: c.burning(d)})
		if err != nil {
			return nil, err
		}
		for i := range all[1:] {
			worst[i+1] = min(worst[i+1], median(got.whole[i+1]))
		}
		r.figures = append(r.figures, plainFigure(fmt.Sprintf("%d µs", micros), atLeast(0.9), got.whole[1]))
	}
	first := plainFigure("the worst size", atLeast(0.9), []float64{worst[1]})
	r.figures = append([]figure{first}, r.figures...)
	for i, k := range all[2:] {
		r.peers = append(r.peers, peer{name: k.name, ratio: worst[i+2], allocs: noFigure, lacks: k.lacks})
	}
	return r, nil
}
