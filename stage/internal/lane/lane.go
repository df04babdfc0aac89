package lane

import (
	"container/heap"
	"sync/atomic"
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
	key     string
	keyed   bool           // in Engine.lanes under key; else in Engine.loose
	counted *atomic.Uint32 // where in Engine.filter, if keyed
	queue   queue[entry[T]]
	where   where
	index   int   // in the heap
	crew    *crew // of the runs that are under way together; see crew.go
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

// open returns a lane for key, in no structure yet but the index.
func (e *Engine[T]) open(key string, keyed bool) *lane[T] {
	var ln *lane[T]
	if n := len(e.free); n > 0 {
		ln, e.free = e.free[n-1], e.free[:n-1]
	} else {
		ln = new(lane[T])
	}
	ln.key, ln.keyed = key, keyed
	if keyed {
		e.lanes[key] = ln
		ln.counted = e.filter.add(key)
		e.remark(lanesOpen)
	} else {
		e.loose[ln] = struct{}{}
	}
	return ln
}

// drop forgets an empty lane.
func (e *Engine[T]) drop(ln *lane[T]) {
	if ln.keyed {
		delete(e.lanes, ln.key)
		e.filter.remove(ln.counted)
	} else {
		delete(e.loose, ln)
	}
	ln.key, ln.counted, ln.where = "", nil, nowhere
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
