package lane

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// elements returns what is in q, from the head.
func elements[E any](q *queue[E]) []E {
	var all []E
	for i := range q.len() {
		all = append(all, *q.at(i))
	}
	return all
}

// TestQueueIsADeque compares the ring with a slice, through every wrapping and growing.
func TestQueueIsADeque(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q queue[int]
		var want []int
		n := rapid.SampledFrom([]int{10, 50, 200}).Draw(rt, "length") // a free choice would be near 0
		for i, op := range rapid.SliceOfN(rapid.IntRange(0, 3), n, n).Draw(rt, "ops") {
			switch {
			case op == 0:
				q.pushFront(i)
				want = slices.Insert(want, 0, i)
			case op == 1 || len(want) == 0:
				q.pushBack(i)
				want = append(want, i)
			default:
				if got := q.popFront(); got != want[0] {
					rt.Fatalf("popFront = %d, want %d", got, want[0])
				}
				want = want[1:]
			}
			if got := elements(&q); !slices.Equal(got, want) {
				rt.Fatalf("after %d operations the queue is %v, want %v", i+1, got, want)
			}
		}
	})
}

// TestFault69_QueueKeepsNothingAlive looks at the slots that are not in use: none may hold on to what
// has left.
func TestFault69_QueueKeepsNothingAlive(t *testing.T) {
	var q queue[*int]
	for round := range 5 {
		for i := range 3 + round {
			q.pushBack(&i)
			q.pushFront(&i)
		}
		for q.len() > 1 {
			q.popFront()
		}
		used := 0
		for _, slot := range q.buf {
			if slot != nil {
				used++
			}
		}
		if used != q.len() {
			t.Fatalf("%d slots are set for %d elements", used, q.len())
		}
	}
}

// TestFault69_EmptyQueueShrinks: a queue that once was long keeps no long array.
func TestFault69_EmptyQueueShrinks(t *testing.T) {
	var q queue[int]
	for i := range 10_000 {
		q.pushBack(i)
	}
	for q.len() > 0 {
		q.popFront()
	}
	if cap(q.buf) > keepCap {
		t.Errorf("the empty queue keeps %d slots, want at most %d", cap(q.buf), keepCap)
	}
	for i := range keepCap {
		q.pushBack(i)
	}
	for q.len() > 0 {
		q.popFront()
	}
	if cap(q.buf) != keepCap {
		t.Errorf("a queue that stays short keeps %d slots, want its %d", cap(q.buf), keepCap)
	}
}
