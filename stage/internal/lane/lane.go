package lane

import (
	"container/heap"
	"time"
)

// entry is an item that waits in a lane.
type entry[T any] struct {
	item    T
	due     time.Time // parked until then; zero: may run
	held    bool      // waits for a Release
	redrive bool
	running bool   // it was handed back while it ran
	place   uint64 // of what came back to a lane with a crew
}

func (n *entry[T]) runnable() bool { return !n.held && n.due.IsZero() }

// where says where a lane stands.
type where uint8

const (
	nowhere where = iota // about to be arranged, or gone
	running              // a worker is at its item
	inReady
	inHeap
	isHeld
)

// lane is the queue of one key, or of one item without a key. While its item runs, a worker owns it.
type lane[T any] struct {
	key   string
	hash  uint64 // of the key; 0: without one, and in Engine.loose instead of Engine.lanes
	queue queue[entry[T]]
	where where
	index int   // in the heap
	crew  *crew // of the runs that are under way together; see crew.go
}

// dueHeap orders parked lanes by the due time of their heads.
type dueHeap[T any] []*lane[T]

func (h dueHeap[T]) Len() int { return len(h) }

func (h dueHeap[T]) Less(i, j int) bool { return h[i].queue.at(0).due.Before(h[j].queue.at(0).due) }

func (h dueHeap[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is called by container/heap.
func (h *dueHeap[T]) Push(x any) {
	ln := x.(*lane[T])
	ln.index = len(*h)
	*h = append(*h, ln)
}

// Pop is called by container/heap.
func (h *dueHeap[T]) Pop() any {
	last := len(*h) - 1
	ln := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	if last == 0 && cap(*h) > keepCap {
		*h = nil
	}
	return ln
}

// keyOf returns the key of an item and its hash, which is 0 for one without a key.
func (e *Engine[T]) keyOf(item *T) (hash uint64, key string) {
	key, keyed := e.cfg.Key(item)
	if keyed {
		hash = e.lanes.hash(key)
	}
	return hash, key
}

// open returns a lane for a key of that hash, or, where it is 0, for one item without a key. It is in no structure
// yet but the index.
func (e *Engine[T]) open(hash uint64, key string) *lane[T] {
	ln := e.blank()
	ln.hash, ln.key = hash, key
	if hash != 0 {
		e.lanes.add(ln)
		e.remark(lanesOpen)
	} else {
		e.loose[ln] = struct{}{}
	}
	return ln
}

// blank returns a lane that was dropped, or a new one.
func (e *Engine[T]) blank() *lane[T] {
	last := len(e.free) - 1
	if last < 0 {
		return new(lane[T])
	}
	ln := e.free[last]
	e.free = e.free[:last]
	return ln
}

// drop forgets an empty lane.
func (e *Engine[T]) drop(ln *lane[T]) {
	if ln.hash != 0 {
		e.lanes.remove(ln)
	} else {
		delete(e.loose, ln)
	}
	ln.key, ln.where = "", nowhere
	if len(e.free) < maxFree {
		e.free = append(e.free, ln)
	}
}

// arrange puts a lane that is not running where its head belongs, or drops it.
func (e *Engine[T]) arrange(ln *lane[T]) {
	if ln.crew != nil {
		ln.where = running
		e.admit(ln)
		return
	}
	if ln.queue.len() == 0 {
		e.drop(ln)
		return
	}
	switch head := ln.queue.at(0); {
	case head.held:
		ln.where = isHeld
	case !head.due.IsZero():
		ln.where = inHeap
		heap.Push(&e.parked, ln)
	default:
		ln.where = inReady
		e.ready.pushBack(ln)
	}
}

// displace takes a lane that waits out of the heap, so that its head may change. A lane in the ready
// queue stays there.
func (e *Engine[T]) displace(ln *lane[T]) {
	if ln.where == inHeap {
		heap.Remove(&e.parked, ln.index)
		ln.where = nowhere
	}
}

// unready takes a lane out of the ready queue.
func (e *Engine[T]) unready(ln *lane[T]) {
	e.ready.takeOut(ln)
	ln.where = nowhere
}

// unpark makes every lane ready whose head is due.
func (e *Engine[T]) unpark() {
	if len(e.parked) == 0 {
		return
	}
	for now := time.Now(); len(e.parked) > 0 && !e.parked[0].queue.at(0).due.After(now); {
		ln := heap.Pop(&e.parked).(*lane[T])
		e.wakeUp(ln.queue.at(0))
		e.arrange(ln)
	}
}

// wakeUp makes an entry runnable.
func (e *Engine[T]) wakeUp(n *entry[T]) {
	if n.held {
		e.nHeld--
	} else if !n.due.IsZero() {
		e.nParked--
	}
	n.held, n.due = false, time.Time{}
}
