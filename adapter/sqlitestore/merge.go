package sqlitestore

import (
	"container/heap"
	"slices"
)

// stream is growing places, read a buffer at a time.
type stream struct {
	// refill returns places behind one, about as many as limit, and whether there may be more behind them. None
	// are the last.
	refill func(after int64, limit int) (places []int64, more bool, err error)
	buffer []int64
	limit  int
	last   bool
}

// sorted is a stream of places that are known.
func sorted(places []int64) *stream {
	slices.Sort(places)
	return &stream{buffer: slices.Compact(places), last: true}
}

func (s *stream) next() int64 { return s.buffer[0] }

// fill reads on, after a place, when nothing is left, and reports whether there is anything.
func (s *stream) fill(after int64) (bool, error) {
	if len(s.buffer) > 0 || s.last {
		return len(s.buffer) > 0, nil
	}
	s.limit = min(max(16, 4*s.limit), 1024)
	var err error
	var more bool
	s.buffer, more, err = s.refill(after, s.limit)
	s.last = !more || len(s.buffer) == 0
	return len(s.buffer) > 0, err
}

// merge calls yield with the places of all streams in order, each once, until it returns false. It costs
// one look into an index for each place, and O(log streams).
func merge(streams []*stream, yield func(int64) bool) error {
	var h streamHeap
	for _, s := range streams {
		some, err := s.fill(0)
		if err != nil {
			return err
		}
		if some {
			h = append(h, s)
		}
	}
	heap.Init(&h)
	for at := int64(0); len(h) > 0; {
		s := h[0]
		if n := s.next(); n > at { // a letter that changed its facet is in two
			at = n
			if !yield(n) {
				return nil
			}
		}
		if err := h.advance(at); err != nil {
			return err
		}
	}
	return nil
}

// streamHeap has the stream with the smallest next place first.
type streamHeap []*stream

// advance goes on behind place at in the first stream.
func (h *streamHeap) advance(at int64) error {
	s := (*h)[0]
	s.buffer = s.buffer[1:]
	some, err := s.fill(at)
	if err != nil {
		return err
	}
	if some {
		heap.Fix(h, 0)
	} else {
		heap.Pop(h)
	}
	return nil
}

func (h streamHeap) Len() int           { return len(h) }
func (h streamHeap) Less(i, j int) bool { return h[i].next() < h[j].next() }
func (h streamHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *streamHeap) Push(x any) { *h = append(*h, x.(*stream)) }

// Pop implements heap.Interface.
func (h *streamHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	*h = old[:len(old)-1]
	return s
}
