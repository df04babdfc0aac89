package lane

// Redrive puts an item at the front of its lane, before all that waits there. It bypasses the inlet
// and the bound: the caller limits how many are under way. It returns false once the engine was
// abandoned.
func (e *Engine[T]) Redrive(item T) bool {
	n := entry[T]{item: item, redrive: true}
	hash, key := e.keyOf(&item)
	e.mu.Lock()
	if e.abandoned {
		e.mu.Unlock()
		return false
	}
	e.attend() // its key may be the one that is ridden
	e.redriven++
	if ln := e.lanes.find(hash, key); ln == nil {
		ln = e.open(hash, key)
		ln.queue.pushFront(n)
		e.arrange(ln)
	} else {
		e.displace(ln)
		ln.queue.pushFront(n)
		if ln.where == isHeld || ln.where == nowhere {
			e.arrange(ln)
		}
	}
	e.unlock()
	return true
}

// Withdraw takes the redriven item that matches out of its lane, counts it under outcome and returns true.
// One that is running it cannot take: should that run not settle it, it is settled then under outcome,
// and Runner.Settled called. It costs time in proportion to what waits.
func (e *Engine[T]) Withdraw(match func(*T) bool, outcome uint8) bool {
	e.mu.Lock()
	taken := e.takeOut(match)
	if taken {
		e.redriven--
		e.redrive[outcome]++
		e.atRest = e.draining
	} else {
		e.recall(match, outcome)
	}
	e.unlock()
	return taken
}

// takeOut removes the redriven item that matches from its lane.
func (e *Engine[T]) takeOut(match func(*T) bool) bool {
	for ln := range e.all() {
		for i := range ln.queue.len() {
			if n := ln.queue.at(i); !n.redrive || !match(&n.item) {
				continue
			}
			e.displace(ln)
			e.wakeUp(ln.queue.at(i))
			ln.queue.remove(i)
			if ln.where == inReady {
				e.unready(ln)
			}
			if ln.where != running {
				e.arrange(ln)
			}
			return true
		}
	}
	return false
}

// recall marks the redriven item that matches, where it runs, to be settled when that run ends.
func (e *Engine[T]) recall(match func(*T) bool, outcome uint8) {
	mark := func(w *worker[T]) {
		if w.busy && w.redrive && match(&w.item) {
			w.recalled, w.outcome = true, outcome
		}
	}
	mark(e.stepper)
	for w := range e.workers {
		mark(w)
	}
}
