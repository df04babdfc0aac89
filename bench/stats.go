package main

import (
	"math"
	"runtime"
	"slices"
	"time"
)

// median of some figures; NaN of none. The figures are left as they are.
func median(of []float64) float64 { return quantile(of, 0.5) }

func quantile(of []float64, q float64) float64 {
	if len(of) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(of))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low == len(sorted)-1 {
		return sorted[low]
	}
	part := at - float64(low)
	return sorted[low]*(1-part) + sorted[low+1]*part
}

// percentile of some durations, which are sorted in place.
func percentile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[int(q*float64(len(of)-1))]
}

// mallocs is how many allocations the process has made.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// held is how many bytes the process holds on to: what is on the heap and on the stacks after all
// garbage is gone.
func held() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first only moves what a sync.Pool holds to its victims
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// noFigure is what was not measured.
var noFigure = math.NaN()
