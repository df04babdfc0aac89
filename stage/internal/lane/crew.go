package lane

import (
	"context"
	"sync/atomic"
)

// The runs of a lane take place one after the other, unless the one that began last lets the next one begin beside
// it: a handler of batches does, which takes several items of a key at once. The runs of a lane that are under way
// together are its crew. They begin in the order of the lane, one by one, each when the one before it lets it. When
// one of them ends and its item is not settled, the item goes back into the lane, nobody joins any more, and what
// came back is run again when the crew is gone, in its order.
//
// A lane has a crew from the first Seat.Open until its last run ends. Lanes of stages that never open one have none.

// crew is the runs of one lane that are under way together. It is guarded by the engine's lock.
type crew struct {
	size    int
	last    *berth       // of the run that began last
	joining bool         // that one has not let the next begin
	sealed  *atomic.Bool // once it is true nobody joins
	shut    bool         // an item came back
}

// berth is the place of one run in a crew.
type berth struct {
	place  uint64       // among all that ever joined a crew, for the order of what comes back
	sealed *atomic.Bool // of the crew when it joined; nil for the first
	before *berth       // the one ahead, unless it is known to be over and not broken
	broken bool         // what comes after it must not count; written before over is closed
	over   chan struct{}
}

// Seated is a Runner that has its own part in what of its lane is run beside it.
type Seated[T any] interface {
	// Sit is called once, before the first Run.
	Sit(s *Seat[T])
}

// Seat is the place of a worker's run in its lane. All its methods are for the run itself, on its own goroutine.
type Seat[T any] struct{ w *worker[T] }

// Open lets the next item of the lane begin beside this run, until sealed is true. It does nothing for an item
// without a key.
func (s *Seat[T]) Open(sealed *atomic.Bool) {
	w, e := s.w, s.w.engine
	e.mu.Lock()
	defer e.unlock()
	e.alight(w)
	ln := w.lane
	if ln == nil || w.abandoned {
		return
	}
	if ln.crew == nil {
		ln.crew = &crew{}
		e.enlist(w, ln.crew)
	}
	ln.crew.joining, ln.crew.sealed = false, sealed
	e.admit(ln)
}

// Behind returns what the runs ahead of this one passed to Open; nil when they are all over, and none is broken.
func (s *Seat[T]) Behind() *atomic.Bool {
	if b := s.w.berth; b != nil {
		for ahead := b.before; ahead != nil; ahead = ahead.before {
			select {
			case <-ahead.over:
				if ahead.broken {
					return b.sealed
				}
			default:
				return b.sealed
			}
		}
	}
	return nil
}

// Break tells the runs behind this one that they must not count: its item has failed, or comes back.
func (s *Seat[T]) Break() {
	if b := s.w.berth; b != nil {
		b.broken = true
	}
}

// Turn waits until the runs ahead have ended. It returns false when one of them has broken the order, or when ctx
// ended before.
func (s *Seat[T]) Turn(ctx context.Context) bool {
	b := s.w.berth
	if b == nil {
		return true
	}
	for ahead := b.before; ahead != nil; ahead = ahead.before {
		select {
		case <-ahead.over:
		case <-ctx.Done():
			return false
		}
		if ahead.broken {
			return false
		}
	}
	b.before = nil
	return true
}

// enlist makes w's run the last of a crew.
func (e *Engine[T]) enlist(w *worker[T], c *crew) {
	e.places++
	w.berth = &berth{place: e.places, sealed: c.sealed, before: c.last, over: make(chan struct{})}
	c.last, c.joining = w.berth, true
	c.size++
}

// admit makes a lane ready when its crew takes the head of it.
func (e *Engine[T]) admit(ln *lane[T]) {
	if ln.where == running && ln.queue.len() > 0 && !ln.crew.joining && ln.joinable() {
		ln.where = inReady
		e.ready.pushBack(ln)
	}
}

// joinable reports whether the head of a lane with a crew may run beside it.
func (ln *lane[T]) joinable() bool {
	head := ln.queue.at(0)
	return !ln.crew.shut && !ln.crew.sealed.Load() && head.runnable() && !head.redrive
}

// putBack files an item that came back before all that came after it.
func (ln *lane[T]) putBack(n entry[T], b *berth) {
	ln.crew.shut, n.place = true, b.place
	ln.queue.pushFront(n)
	at := 0
	for i := 1; i < ln.queue.len(); i++ {
		if other := ln.queue.at(i).place; other > 0 && other < n.place {
			at = i
		}
	}
	for i := range at {
		*ln.queue.at(i), *ln.queue.at(i + 1) = *ln.queue.at(i + 1), *ln.queue.at(i)
	}
}

// leave ends w's part in the crew of a lane, and moves the lane on.
func (e *Engine[T]) leave(w *worker[T], ln *lane[T]) {
	c := ln.crew
	if c.last == w.berth {
		c.joining = false
	}
	w.disembark()
	if c.size--; c.size > 0 {
		e.admit(ln)
		return
	}
	ln.crew = nil
	for i := 0; c.shut && i < ln.queue.len(); i++ {
		ln.queue.at(i).place = 0
	}
	if ln.where == running {
		e.arrange(ln)
	}
}

// disembark tells those behind w's run that it is over.
func (w *worker[T]) disembark() {
	close(w.berth.over)
	w.berth = nil
}
