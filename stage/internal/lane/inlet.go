package lane

import (
	"sync"
	"sync/atomic"
)

// inlet is the bounded queue of items that no worker has seen: a ring with one sender and one receiver at a
// time. A channel takes its lock, and so moves two cache lines between processors, for each item on each side. Here
// each side counts on a line of its own, and looks at the other's only when what it knew of it is used up.
//
// What was received is not published here: an atomic store costs as much as the rest of receive, and the word of
// rides tells it anyway; see Engine.taken.
//
// Nobody waits in it. A sender that finds it full waits for Config.Took. A receiver that finds it empty
// announces that it is going to sleep, looks once more, and is then woken by the sender of the next item.
type inlet[T any] struct {
	slots []T // a power of two, so that a count is cut to an index by a mask
	size  uint64

	_      cacheLine
	tail   atomic.Uint64 // items that came in
	upTo   uint64        // the tail below which there is known to be a free slot; the sender's own
	_      cacheLine
	head   uint64 // items that were received; the receiver's own, as is seen
	seen   uint64 // the tail, when it was last looked at
	_      cacheLine
	asleep atomic.Bool // the receiver wants to be woken

	rivals bool // a sender may take items out too, so receivers take turns
	turn   sync.Mutex
}

// initialise makes room for size items.
func (q *inlet[T]) initialise(size int, rivals bool) {
	slots := 1
	for slots < size {
		slots *= 2
	}
	q.slots, q.size, q.rivals = make([]T, slots), uint64(size), rivals
}

// send puts an item into the ring, which has a slot, and reports whether the receiver is to be woken.
func (q *inlet[T]) send(item T) (wake bool) {
	tail := q.tail.Load()
	q.slots[tail&uint64(len(q.slots)-1)] = item
	q.tail.Store(tail + 1)
	return q.asleep.Load() && q.asleep.CompareAndSwap(true, false)
}

// receive takes the oldest item out of the ring, if there is one.
func (q *inlet[T]) receive(item *T) bool {
	if q.rivals {
		q.turn.Lock()
		defer q.turn.Unlock()
	}
	if q.head == q.seen {
		if q.seen = q.tail.Load(); q.head == q.seen {
			return false
		}
	}
	var zero T
	slot := &q.slots[q.head&uint64(len(q.slots)-1)]
	*item, *slot = *slot, zero
	q.head++
	return true
}

// doze announces that the receiver is going to sleep. It returns false, and takes that back, when an item
// has come in: the announcement and a sender's look at it cannot both be missed.
func (q *inlet[T]) doze() bool {
	q.asleep.Store(true)
	if q.empty() {
		return true
	}
	q.asleep.Store(false)
	return false
}

// empty reports whether the receiver has seen all that came in.
func (q *inlet[T]) empty() bool {
	if q.rivals {
		q.turn.Lock()
		defer q.turn.Unlock()
	}
	return q.head == q.tail.Load()
}
