package idempotency

import (
	"sync/atomic"
	"time"
)

// clock tells a Memory how long ago it was made. To read the processor's clock costs as much as to find a key, so
// while calls come in fast it is read once a millisecond for all of them, and is behind by about that. It
// is exact when they do not. A timer is set only for the millisecond that follows many fast calls.
type clock struct {
	born   time.Time
	coarse atomic.Int64 // what to say instead of reading it, plus one; 0 is nothing
}

const (
	clockEvery = time.Millisecond
	// After so many calls in a row of which each came sooner than that after the one before, in the same shard, it is coarse.
	clockCalls = 16
	clockClose = 20 * time.Microsecond
)

// rush is what a shard knows of how fast calls come in. It is guarded by the lock of the shard.
type rush struct {
	last  time.Duration // the clock, when it was read last
	close int           // how many calls in a row came soon after the one before
}

// read returns the time since the Memory was made.
func (c *clock) read(r *rush) time.Duration {
	if now := c.coarse.Load(); now != 0 {
		return time.Duration(now - 1)
	}
	now := time.Since(c.born)
	if now-r.last < clockClose {
		r.close++
	} else {
		r.close = 0
	}
	r.last = now
	if r.close >= clockCalls && c.coarse.CompareAndSwap(0, int64(now)+1) {
		time.AfterFunc(clockEvery, func() { c.coarse.Store(0) })
	}
	return now
}
