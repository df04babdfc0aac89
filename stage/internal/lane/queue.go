package lane

// queue is a ring that grows as needed. A slot that was left is zeroed, and an empty queue keeps only
// a small array, so that what passed through is not kept alive.
type queue[E any] struct {
	buf  []E
	head int
	n    int
}

const keepCap = 8

func (q *queue[E]) len() int { return q.n }

// at returns the i-th element from the head.
func (q *queue[E]) at(i int) *E { return &q.buf[(q.head+i)&(len(q.buf)-1)] }

func (q *queue[E]) pushBack(e E) {
	q.grow()
	q.buf[(q.head+q.n)&(len(q.buf)-1)] = e
	q.n++
}

func (q *queue[E]) pushFront(e E) {
	q.grow()
	q.head = (q.head - 1) & (len(q.buf) - 1)
	q.buf[q.head] = e
	q.n++
}

func (q *queue[E]) popFront() E {
	var zero E
	e := q.buf[q.head]
	q.buf[q.head] = zero
	q.head = (q.head + 1) & (len(q.buf) - 1)
	q.n--
	if q.n == 0 && len(q.buf) > keepCap {
		q.buf, q.head = nil, 0
	}
	return e
}

// remove takes out the i-th element from the head.
func (q *queue[E]) remove(i int) {
	for ; i > 0; i-- {
		*q.at(i) = *q.at(i - 1)
	}
	q.popFront()
}

// grow makes room for one more; the capacity is always a power of two.
func (q *queue[E]) grow() {
	if q.n < len(q.buf) {
		return
	}
	bigger := make([]E, max(1, 2*len(q.buf)))
	for i := range q.n {
		bigger[i] = *q.at(i)
	}
	q.buf, q.head = bigger, 0
}
