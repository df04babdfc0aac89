package stage

import (
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/event"
)

// pool holds the items of a stage that are in no use. An item is filled in once, by the publisher, and from
// then on its address goes from hand to hand, because to copy an event costs as much as to send it. As many as the
// stage may hold are made at first, in one piece, which takes what a ring of the events themselves would take.
//
// A publisher takes from free, under the lock of the door. A runner collects what it is done with and
// gives it back by the handful.
type pool[T any] struct {
	size int
	free []*item[T] // guarded by the door's lock

	_       [64]byte // the two sides write on different cache lines
	handful atomic.Int32
	mu      sync.Mutex
	back    []*item[T]
}

func newPool[T any](items, runners int) *pool[T] {
	p := &pool[T]{size: items, free: make([]*item[T], items)}
	p.share(runners)
	slab := make([]item[T], items)
	for i := range slab {
		slab[i].pooled = true
		p.free[i] = &slab[i]
	}
	return p
}

// get returns an item that is zero but for that it is pooled. One is made when all that are not in use are in the
// runners' hands.
func (p *pool[T]) get() *item[T] {
	if len(p.free) == 0 {
		p.refill()
	}
	last := len(p.free) - 1
	it := p.free[last]
	p.free = p.free[:last]
	return it
}

// refill takes what the runners gave back, or makes one item.
func (p *pool[T]) refill() {
	p.mu.Lock()
	p.free, p.back = p.back, p.free
	p.mu.Unlock()
	if len(p.free) == 0 {
		p.free = append(p.free, &item[T]{pooled: true})
	}
}

// put gives back items that are zero.
func (p *pool[T]) put(items ...*item[T]) {
	p.mu.Lock()
	p.back = append(p.back, items...)
	p.mu.Unlock()
}

// mostHandful is how many items a runner collects at most before it gives them back.
const mostHandful = 32

// share sets how many items each of so many runners collects. Were all hands full, they would hold a quarter of what was
// made at first: what they hold, publishers have to make anew, and find cold when it comes back.
func (p *pool[T]) share(runners int) {
	p.handful.Store(int32(max(1, min(mostHandful, p.size/(4*runners)))))
}

// spent collects what a runner is done with.
type spent[T any] struct {
	pool  *pool[T]
	n     int
	items [mostHandful]*item[T]
}

func (s *spent[T]) add(it *item[T]) {
	it.event, it.own, it.x = event.Event[T]{}, own{}, nil
	s.items[s.n] = it
	if s.n++; s.n >= int(s.pool.handful.Load()) {
		s.pool.put(s.items[:s.n]...)
		s.n = 0
	}
}
