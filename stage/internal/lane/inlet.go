package lane

import (
	"sync"
	"sync/atomic"
)

// inlet is the bounded queue of items that no worker has seen: a ring with one sender and one receiver at a
// time, who has the turn where several may receive. A channel takes its lock, and so moves two cache lines between processors, for each item on each side. Here
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
	upTo   uint64        // the tail below which an item is known to be admitted; the sender's own
	_      cacheLine
	head   uint64 // items that were received; the receiver's own, as is seen
	seen   uint64 // the tail, when it was last looked at
	_      cacheLine
	asleep atomic.Int32 // receivers that want to be woken

	rivals bool       // a sender may take items out too
	turn   sync.Mutex // held by who receives, where several may
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
	return q.asleep.Load() > 0 && q.rouse()
}

// take takes the turn.
func (q *inlet[T]) take() { LockBriefly(&q.turn, turnTries) }

const turnTries = 100

// rouse takes back the announcement of one who sleeps, if anybody does: who does that wakes one.
func (q *inlet[T]) rouse() bool {
	for n := q.asleep.Load(); n > 0; n = q.asleep.Load() {
		if q.asleep.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

// empty reports whether all that came in was received. Like receive it is for whoever has the turn, or needs none.
func (q *inlet[T]) empty() bool {
	if q.head == q.seen {
		q.seen = q.tail.Load()
	}
	return q.head == q.seen
}

// receive takes the oldest item out of the ring, if there is one.
func (q *inlet[T]) receive(item *T) bool {
	if q.empty() {
		return false
	}
	var zero T
	slot := &q.slots[q.head&uint64(len(q.slots)-1)]
	*item, *slot = *slot, zero
	q.head++
	return true
}

// putBack undoes the last receive, of whoever has had the turn since. Its slot is not free for senders yet, who count
// what was ridden or placed.
func (q *inlet[T]) putBack(item *T) {
	var zero T
	q.head--
	q.slots[q.head&uint64(len(q.slots)-1)], *item = *item, zero
}
