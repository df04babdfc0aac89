package main

import (
	"iter"
	"time"
)

// config says how much work the scenarios do.
type config struct {
	size   float64 // 1 is the whole work
	rounds int
	least  time.Duration // what is measured in short rounds is measured in more of them, until that is over
	peers  bool          // whether others than runnel and the base are measured
	retail string        // the path of the retail file; empty looks for the one beside examples/retail
	burn   int           // turns of burn's loop in a microsecond
}

// The sizes of the runs: the whole table, the one for CI, and the one for go test.
var (
	wholeRun = config{size: 1, rounds: 7, least: 2 * time.Second, peers: true}
	quickRun = config{size: 0.2, rounds: 5}
	testRun  = config{size: 0.002, rounds: 1, peers: true}
)

// longRounds is how many rounds a scenario has at most whose rounds are long.
const longRounds = 5

// turns yields the rounds of what is measured.
func (c *config) turns() iter.Seq[int] {
	return func(yield func(int) bool) {
		begin := time.Now()
		for n := 0; n < c.rounds || time.Since(begin) < c.least; n++ {
			if !yield(n) {
				return
			}
		}
	}
}

// events scales a number of events: a multiple of 256, as a sampling probe needs it.
func (c *config) events(n int) int { return max(int(float64(n)*c.size)/256, 2) * 256 }

// keys scales a number of keys, but for tests only: what a key costs depends on how many there are.
func (c *config) keys(n int) int {
	if c.size >= quickRun.size {
		return n
	}
	return max(int(float64(n)*c.size), 100)
}

// span scales a duration.
func (c *config) span(d, least time.Duration) time.Duration {
	return max(time.Duration(float64(d)*c.size), least)
}
