package stage

import (
	"sync"

	"github.com/runnel-go/runnel/event"
)

// pool holds the items of a stage that are in no use. An item is filled in once, by the publisher, and from
// then on its address goes from hand to hand, because to copy an event costs as much as to send it. As many as the
// stage may hold are made at first, in one piece, which takes what a ring of the events themselves would take.
//
// A publisher takes from free, under the lock of the door. A runner collects what it is done with and
// gives it back by the handful.
type pool[T any] struct {
	free []*item[T] // guarded by the door's lock

	_    [64]byte // the two sides write on different cache lines
	mu   sync.Mutex
	back []*item[T]
}

func newPool[T any](items int) *pool[T] {
	p := &pool[T]{free: make([]*item[T], items)}
	slab := make([]item[T], items)
	for i := range slab {
		slab[i].pooled = true
		p.free[i] = &slab[i]
	}
	return p
}

// get returns an item that is zero but for that it is pooled. It makes one when what is not in use is in the
// runners' hands.
func (p *pool[T]) get() *item[T] {
	if len(p.free) == 0 {
		p.mu.Lock()
		p.free, p.back = p.back, p.free
		p.mu.Unlock()
		if len(p.free) == 0 {
			return &item[T]{pooled: true}
		}
	}
	last := len(p.free) - 1
	it := p.free[last]
	p.free = p.free[:last]
	return it
}

// put gives back items that are zero.
func (p *pool[T]) put(items ...*item[T]) {
	p.mu.Lock()
	p.back = append(p.back, items...)
	p.mu.Unlock()
}

// handful is how many items a runner collects before it gives them back.
const handful = 32

// spent collects what a runner is done with.
type spent[T any] struct {
	pool  *pool[T]
	items [handful]*item[T]
	n     int
}

func (s *spent[T]) add(it *item[T]) {
	it.event, it.own, it.x = event.Event[T]{}, own{}, nil
	s.items[s.n] = it
	if s.n++; s.n == len(s.items) {
		s.pool.put(s.items[:]...)
		s.n = 0
	}
}
