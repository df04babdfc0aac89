package idempotency

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheClockIsExactUnlessCallsComeFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := clock{born: time.Now()}, rush{}
		for i := range 10 * clockCalls {
			time.Sleep(2 * clockClose)
			if now, want := c.read(&r), time.Since(c.born); now != want {
				t.Fatalf("call %d reads %v, want %v", i, now, want)
			}
		}
	})
}

func TestTheClockIsBehindByAMillisecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := clock{born: time.Now()}, rush{}
		late := time.Duration(0)
		for range 100 * clockCalls {
			time.Sleep(clockClose / 4)
			behind := time.Since(c.born) - c.read(&r)
			if behind < 0 || behind > clockEvery {
				t.Fatalf("the clock is behind by %v, want at most %v", behind, clockEvery)
			}
			late = max(late, behind)
		}
		if late == 0 {
			t.Error("the clock was never behind: it is read at each call")
		}
		time.Sleep(clockEvery)
		synctest.Wait()
		if now, want := c.read(&r), time.Since(c.born); now != want {
			t.Errorf("a millisecond after the last call the clock reads %v, want %v", now, want)
		}
	})
}

// TestAClockThatStandsAtItsBeginningSetsOneTimer: a bubble's clock says that no time has passed since the memory was
// made, which must not look like no reading at all.
func TestAClockThatStandsAtItsBeginningSetsOneTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := clock{born: time.Now()}, rush{}
		for range 2 * clockCalls {
			c.read(&r)
		}
		if n := testing.AllocsPerRun(1000, func() { c.read(&r) }); n != 0 {
			t.Errorf("a reading allocates %v times, want 0", n)
		}
	})
}
