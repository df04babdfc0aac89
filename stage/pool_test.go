package stage

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
)

// TestFault69_SpentItemsKeepNothing: an item that goes back to the pool holds on to nothing of its event, and
// is used again.
func TestFault69_SpentItemsKeepNothing(t *testing.T) {
	p := newPool[*int](4, 1)
	s := spent[*int]{pool: p}
	seen := map[*item[*int]]bool{}
	for i := range 10 * mostHandful {
		it := p.get()
		if it.event.Payload != nil || it.event.Key != "" || it.event.Header != nil || it.own != (own{}) || it.x != nil || !it.pooled {
			t.Fatalf("an item came back as %+v", it)
		}
		seen[it] = true
		it.event = event.Event[*int]{Meta: event.Meta{Key: "k", Header: event.Header{}}, Payload: &i}
		it.own, it.x = own{key: "k"}, &extra{}
		s.add(it)
	}
	if len(seen) > 4+2*mostHandful {
		t.Errorf("%d items were made, want them used again", len(seen))
	}
}

// TestHandsLeaveEnoughItems for publishers, however many runners collect them: none has to be made beside those that were
// made at first.
func TestHandsLeaveEnoughItems(t *testing.T) {
	const size = 1280
	for _, runners := range []int{1, 8, 256, 2000} {
		p := newPool[int](size, runners)
		hands := make([]spent[int], runners)
		seen := map[*item[int]]bool{}
		for round := range 100 {
			var taken []*item[int]
			for range size * 3 / 4 {
				it := p.get()
				seen[it] = true
				taken = append(taken, it)
			}
			for i, it := range taken {
				h := &hands[(round+i)%runners]
				h.pool = p
				h.add(it)
			}
		}
		if len(seen) > size {
			t.Errorf("%d runners: %d items were made, want the first %d to be enough", runners, len(seen), size)
		}
	}
}

// TestHandsShrinkAsWorkersAreAdded, and grow again.
func TestHandsShrinkAsWorkersAreAdded(t *testing.T) {
	s := Handle(event.NewTopic[int]("numbers"), "sum", func(context.Context, event.Event[int]) error { return nil },
		Workers(8), Buffer(1024))
	h := &Host{Quiet: func() {}}
	at := s.Build(h, nil, s.NewIntake(h), nil).(*running[int])
	for _, c := range []struct{ workers, want int }{{8, mostHandful}, {256, 1}, {16, 16}, {1, mostHandful}} {
		at.Resize(c.workers)
		if got := int(at.pool.handful.Load()); got != c.want {
			t.Errorf("each of %d workers collects %d items, want %d", c.workers, got, c.want)
		}
	}
}

// TestClockIsExactUnlessEventsComeFast, and then at most a tick behind; at rest it has no timer.
func TestClockIsExactUnlessEventsComeFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // the door's
		var c clock
		var ticks atomic.Int64
		tick := func() {
			mu.Lock()
			defer mu.Unlock()
			ticks.Add(1)
			c.tick()
		}
		read := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return c.read(tick)
		}
		for range 100 { // slowly
			time.Sleep(clockClose)
			if got := read(); !got.Equal(time.Now()) {
				t.Fatalf("read = %v, want %v", got, time.Now())
			}
		}
		for range 3 * clockMost { // as fast as it goes, and then for a while
			read()
		}
		for range 10_000 {
			time.Sleep(time.Microsecond)
			synctest.Wait()
			if behind := time.Since(read()); behind < 0 || behind > clockEvery {
				t.Fatalf("the clock is %v behind, want at most %v", behind, clockEvery)
			}
		}
		if n := ticks.Load(); n < 5 {
			t.Errorf("%d ticks in ten milliseconds: the clock was read for each event", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := ticks.Load(); n > 20 {
			t.Errorf("%d ticks after an hour of rest, want the timer to have stopped", n)
		}
		if got := read(); !got.Equal(time.Now()) {
			t.Errorf("read = %v after an hour of rest, want %v", got, time.Now())
		}
		c.stop()
	})
}
