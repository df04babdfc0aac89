package lane

import "time"

// finish carries out the decision on w's item and moves its lane on. It is called with the lock held and
// returns with it, and gives it up while it calls Runner.Settled. It returns true when w has the lane's next
// item to run, which it is given only when goOn.
func (e *Engine[T]) finish(w *worker[T], goOn bool) (again bool) {
	d := w.decision
	if w.abandoned {
		e.release(w)
		return false
	}
	if w.recalled && d.Action != Settle {
		d = Decision{Action: Settle, Outcome: w.outcome, Notify: true}
	}
	if d.Action != Settle {
		e.keep(w, d)
		return e.moveOn(w, goOn)
	}
	e.count(w, d)
	if d.Notify {
		w.settling = true
		e.unlock()
		w.runner.Settled(&w.item, d)
		e.mu.Lock()
	}
	return e.settled(w, goOn)
}

// settled lets w's item go, once all who asked have been told.
func (e *Engine[T]) settled(w *worker[T], goOn bool) (again bool) {
	w.settling = false
	if e.abandoned { // meanwhile; there is nothing left to move on
		e.release(w)
		return false
	}
	if !w.redrive {
		e.resident--
	}
	w.runner.Gone(&w.item)
	var zero T
	w.item = zero
	e.took = true
	return e.moveOn(w, goOn)
}

// moveOn moves w's lane on, and notes when a drain has nothing left to run.
func (e *Engine[T]) moveOn(w *worker[T], goOn bool) (again bool) {
	again = e.advance(w, goOn)
	if e.draining && e.nRunning == 0 && (e.paused || e.stopped || e.nothingToRun()) {
		e.atRest = true
	}
	return again
}

// nothingToRun reports whether neither a lane nor the inlet has an item that may run, now or when it
// is due.
func (e *Engine[T]) nothingToRun() bool {
	return e.ready.len() == 0 && len(e.parked) == 0 && (e.Queued() == 0 || !e.hasRoom())
}

// count counts w's item as settled. From here on Abandon does not take it for one that runs.
func (e *Engine[T]) count(w *worker[T], d Decision) {
	e.nRunning--
	w.busy = false
	if w.redrive {
		e.redriven--
		e.redrive[d.Outcome]++
	} else {
		e.live[d.Outcome]++
		e.aside.Add(1)
	}
}

// keep puts w's item back where the decision says.
func (e *Engine[T]) keep(w *worker[T], d Decision) {
	w.runner.Amend(&w.item)
	n := entry[T]{item: w.item, redrive: w.redrive}
	var zero T
	w.item, w.busy = zero, false
	e.nRunning--
	switch d.Action {
	case Park:
		if d.Hurry && e.hurried {
			d.Delay = 0
		}
		n.due = time.Now().Add(d.Delay)
		e.nParked++
	case Stop:
		e.stopped = true
		e.attend()
		fallthrough
	case Hold:
		n.held = true
		e.nHeld++
	}
	if w.lane == nil {
		w.lane = e.open(0, "")
	}
	if w.berth != nil {
		w.lane.putBack(n, w.berth)
	} else {
		w.lane.queue.pushFront(n)
	}
}

// advance moves w's lane on after its item. A lane whose next item may run stays with w while the
// budget lasts.
func (e *Engine[T]) advance(w *worker[T], goOn bool) (again bool) {
	ln := w.lane
	w.lane = nil
	if ln == nil {
		return false
	}
	if w.berth != nil {
		e.leave(w, ln)
		return false
	}
	w.budget--
	if goOn && w.budget > 0 && !e.hasLevels() && !e.blocked() && len(e.workers) <= e.target && w != e.stepper &&
		ln.queue.len() > 0 && ln.queue.at(0).runnable() {
		e.begin(w, ln)
		return true
	}
	e.arrange(ln)
	return false
}

// release forgets the item of a worker that was abandoned.
func (e *Engine[T]) release(w *worker[T]) {
	if w.berth != nil {
		w.disembark()
	}
	var zero T
	w.item, w.lane, w.busy, w.abandoned = zero, nil, false, false
}
