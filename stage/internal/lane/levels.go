package lane

// Where items have levels, the ready lanes of a higher one go first: a lane stands at the level of its head. A lower
// level has its share all the same: it is passed over at most LevelShare times in a row, and once more for each
// other level that has waited as long. So that there is something to choose from, all that waits in the inlet is filed
// into lanes before a worker takes one, and no lane stays with its worker.

// LevelShare is how many lanes of higher levels go before one of a lower level that is ready.
const LevelShare = 8

// sortMost bounds how many items a worker files before it takes one.
const sortMost = 256

// readyQueue holds the lanes that are ready: in one queue, or one for each level.
type readyQueue[T any] struct {
	queue[*lane[T]]
	level  func(*T) int // nil without levels
	levels []levelQueue[T]
}

type levelQueue[T any] struct {
	queue[*lane[T]]
	passed int // how often it was passed over since a lane of it was taken
}

func newReadyQueue[T any](levels int, level func(*T) int) (q readyQueue[T]) {
	if levels > 1 {
		q.level, q.levels = level, make([]levelQueue[T], levels)
	}
	return q
}

func (q *readyQueue[T]) len() int {
	n := q.queue.len()
	for i := range q.levels {
		n += q.levels[i].len()
	}
	return n
}

func (q *readyQueue[T]) pushBack(ln *lane[T]) {
	if q.levels == nil {
		q.queue.pushBack(ln)
		return
	}
	at := q.level(&ln.queue.at(0).item)
	q.levels[min(max(at, 0), len(q.levels)-1)].pushBack(ln)
}

// popFront takes the lane whose turn it is. There must be one.
func (q *readyQueue[T]) popFront() *lane[T] {
	if q.levels == nil {
		return q.queue.popFront()
	}
	next := &q.levels[0]
	for i := range q.levels {
		if l := &q.levels[i]; l.len() > 0 && (next.len() == 0 || next.passed < LevelShare || l.passed > next.passed) {
			next = l
		}
	}
	for i := range q.levels {
		if l := &q.levels[i]; l == next {
			break
		} else if l.len() > 0 {
			l.passed++
		}
	}
	next.passed = 0
	return next.popFront()
}

// takeOut removes a lane, at whatever level it stands; the others keep their order, and their turn.
func (q *readyQueue[T]) takeOut(ln *lane[T]) {
	from := func(q *queue[*lane[T]]) {
		for range q.len() {
			if other := q.popFront(); other != ln {
				q.pushBack(other)
			}
		}
	}
	from(&q.queue)
	for i := range q.levels {
		from(&q.levels[i].queue)
	}
}

func (q *readyQueue[T]) clear() {
	q.queue = queue[*lane[T]]{}
	clear(q.levels)
}

// hasLevels reports whether items have levels.
func (e *Engine[T]) hasLevels() bool { return e.ready.levels != nil }

// sort files what waits in the inlet, and has a ready lane go before what comes next.
func (e *Engine[T]) sort(w *worker[T]) {
	e.inletTurn = true
	for n := 0; n < sortMost && e.riders == 0 && !e.blocked() && e.hasRoom() && e.receive(w); n++ {
		e.took = true
		hash, key := e.keyOf(&w.item)
		ln := e.lanes.find(hash, key)
		if ln == nil {
			ln = e.open(hash, key)
			e.file(w, ln)
			e.arrange(ln)
			continue
		}
		e.file(w, ln)
	}
}
