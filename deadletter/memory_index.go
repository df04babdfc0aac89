package deadletter

import (
	"container/heap"
	"slices"
)

// entry is a letter's place in a Memory. The letter itself is never changed: a change puts another in
// its stead, so that readers need no lock once they have the pointer.
type entry struct {
	n    uint64 // its place among all letters, in the order of Put
	l    *Letter
	seq  Sequence
	at   int // its index in its sequence's line
	size int64
	gone bool
}

func live(l *Letter) bool { return l.State != Discarded }

// sequence is the letters of one stage and key.
type sequence struct {
	line    line // those that are not discarded
	letters int  // all of them
	holding int  // those that hold
}

// line is the letters of a sequence that are not discarded, as a heap: the head is at hand, and a
// letter that is discarded, restored or purged out of turn costs O(log n). Puts come in order, so
// pushing one is O(1).
type line []*entry

func (q line) Len() int           { return len(q) }
func (q line) Less(i, j int) bool { return q[i].n < q[j].n }

func (q line) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements heap.Interface.
func (q *line) Push(x any) {
	e := x.(*entry)
	e.at = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *line) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

func (q *line) add(e *entry)    { heap.Push(q, e) }
func (q *line) remove(e *entry) { heap.Remove(q, e.at) }

// journal is all entries in the order of Put. What was removed stays as a gap until half of the
// journal is gaps, so removing costs O(1) on average and a reader can go on after any n.
type journal struct {
	entries []*entry
	gaps    int
}

func (j *journal) add(e *entry) { j.entries = append(j.entries, e) }

func (j *journal) remove(e *entry) {
	e.gone, e.l = true, nil
	j.gaps++
	if j.gaps > 64 && j.gaps > len(j.entries)/2 {
		j.compact()
	}
}

func (j *journal) compact() {
	kept := make([]*entry, 0, len(j.entries)-j.gaps)
	for _, e := range j.entries {
		if !e.gone {
			kept = append(kept, e)
		}
	}
	j.entries, j.gaps = kept, 0
}

// after appends to page, up to its capacity, the letters behind place n, and returns the place
// reached. Gaps count as read, so that a call is short whatever was removed.
func (j *journal) after(n uint64, page []*Letter) ([]*Letter, uint64) {
	from, found := slices.BinarySearchFunc(j.entries, n, func(e *entry, n uint64) int {
		switch {
		case e.n < n:
			return -1
		case e.n > n:
			return 1
		}
		return 0
	})
	if found {
		from++
	}
	for _, e := range j.entries[from:min(from+cap(page), len(j.entries))] {
		n = e.n
		if !e.gone {
			page = append(page, e.l)
		}
	}
	return page, n
}
