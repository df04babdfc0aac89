package lane

import "time"

// worker runs items. What it holds while it runs is written under Engine.mu, but for what it rides.
type worker[T any] struct {
	engine   *Engine[T]
	track    *track[T] // the last that it rode on
	runner   Runner[T]
	decision Decision
	call     chan struct{} // wakes it from the list of idle workers

	item      T
	lane      *lane[T] // nil for an item without a key
	berth     *berth   // its run's place in the crew of the lane; nil without one
	busy      bool     // it runs an item that is registered
	settling  bool     // its item is counted as settled, and Runner.Settled is being called
	redrive   bool
	abandoned bool  // the item was handed back while it ran
	recalled  bool  // Withdraw asked for the item while it ran
	outcome   uint8 // of Withdraw
	budget    int
}

func (e *Engine[T]) newWorker() *worker[T] {
	w := &worker[T]{engine: e, runner: e.cfg.NewRunner(), call: make(chan struct{}, 1)}
	if r, ok := w.runner.(Seated[T]); ok {
		r.Sit(&Seat[T]{w})
	}
	return w
}

// work is a worker's life. A handler that ends the goroutine leaves through the deferred call, which puts
// another worker in the place of this one.
func (w *worker[T]) work() {
	e, left := w.engine, false
	defer func() {
		if !left {
			w.replace()
		}
	}()
	e.mu.Lock()
	for e.next(w) {
		for again := true; again; {
			again = w.attempt()
		}
	}
	e.unlock()
	left = true
}

// attempt runs the worker's item and settles what comes of it. It is called with the lock held and returns with
// it: true when the worker has the next item of the lane.
func (w *worker[T]) attempt() (again bool) {
	e := w.engine
	timed := e.pace.gait == share && e.pace.items&sampleRuns == 0
	e.unlock()
	var took time.Duration
	if timed {
		began := time.Now()
		w.runner.Run(&w.item, &w.decision)
		took = max(time.Since(began), 1)
	} else {
		w.runner.Run(&w.item, &w.decision)
	}
	e.mu.Lock()
	if e.pace.gait == share {
		e.ran(took)
	}
	return e.finish(w, true)
}

// replace settles the item of a worker whose goroutine is ending, and hires another.
func (w *worker[T]) replace() {
	e := w.engine
	e.mu.Lock()
	e.alight(w)
	switch {
	case w.busy:
		e.finish(w, false)
	case w.settling:
		e.settled(w, false)
	}
	if _, hired := e.workers[w]; hired {
		delete(e.workers, w)
		e.hire()
	}
	e.unlock()
}

// next gives w an item to run. It is called with the lock held and returns with it, but may give it up in
// between, to lead or to wait. It returns false when the worker is to leave.
func (e *Engine[T]) next(w *worker[T]) bool {
	for !e.leaves(w) {
		if e.rang && !e.blocked() {
			e.rang = false
			e.unpark()
		}
		if e.hasLevels() {
			e.sort(w)
		}
		e.inletTurn = !e.inletTurn
		switch {
		case e.blocked():
			e.rest(w)
		case !e.inletTurn && e.takeReady(w):
			return true
		case e.riders > 0 && e.takeReady(w):
			return true
		case !e.mayLead() || !e.hasRoom():
			if e.takeReady(w) {
				return true
			}
			e.rest(w)
		case e.ready.len() > 0 || !e.mayRide():
			if e.takeInlet(w) || e.takeReady(w) {
				return true
			}
			if e.mayLead() && e.hasRoom() && e.lead(w) {
				return true
			}
		default:
			if e.lead(w) {
				return true
			}
		}
	}
	return false
}

// rest waits until w is called.
func (e *Engine[T]) rest(w *worker[T]) {
	e.idle = append(e.idle, w)
	e.unlock()
	<-w.call
	e.mu.Lock()
	e.called--
}

// leaves decides whether w ends, and if so strikes it off.
func (e *Engine[T]) leaves(w *worker[T]) bool {
	if !e.ending && len(e.workers) <= e.target {
		return false
	}
	delete(e.workers, w)
	return true
}

// takeInlet gives w a new item whose key is idle, and files those before it whose key is not.
func (e *Engine[T]) takeInlet(w *worker[T]) bool {
	if e.riders > 0 { // none may ride what comes after what is taken here
		e.attend()
	}
	for e.hasRoom() && e.receive(w) {
		e.took = true
		if e.place(w) {
			return true
		}
	}
	return false
}

// receive takes the next item out of the inlet for w.
func (e *Engine[T]) receive(w *worker[T]) bool {
	if e.inlet.rivals || e.riders > 0 && !e.alone {
		e.inlet.take()
		defer e.inlet.turn.Unlock()
	}
	return e.inlet.receive(&w.item)
}

// takeReady gives w the head of the first ready lane.
func (e *Engine[T]) takeReady(w *worker[T]) bool {
	for e.ready.len() > 0 {
		ln := e.ready.popFront()
		if ln.crew != nil && !ln.joinable() {
			ln.where = running
			continue
		}
		if !ln.queue.at(0).runnable() {
			e.arrange(ln)
			continue
		}
		w.budget = runBudget
		e.begin(w, ln)
		return true
	}
	return false
}

// place makes w run the item that it received, or files it where its key is busy or nothing may run. It
// returns true when w runs it.
func (e *Engine[T]) place(w *worker[T]) bool {
	hash, key := e.keyOf(&w.item)
	ln := e.lanes.find(hash, key)
	switch {
	case ln != nil:
		e.file(w, ln)
		return false
	case e.blocked():
		ln = e.open(hash, key)
		e.file(w, ln)
		e.arrange(ln)
		return false
	case hash != 0:
		w.budget = runBudget
		ln = e.open(hash, key)
	}
	e.placed.Add(1)
	e.resident++
	e.start(w, ln, false)
	return true
}

// file puts the item that w received into a lane.
func (e *Engine[T]) file(w *worker[T], ln *lane[T]) {
	e.placed.Add(1)
	e.resident++
	ln.queue.pushBack(entry[T]{item: w.item})
	var zero T
	w.item = zero
	if ln.crew != nil {
		e.admit(ln)
	}
}

// begin makes w run the head of a lane.
func (e *Engine[T]) begin(w *worker[T], ln *lane[T]) {
	n := ln.queue.popFront()
	w.item = n.item
	if ln.crew != nil {
		e.enlist(w, ln.crew)
	}
	e.start(w, ln, n.redrive)
}

// start registers that w runs its item.
func (e *Engine[T]) start(w *worker[T], ln *lane[T], redrive bool) {
	w.lane, w.redrive, w.busy, w.recalled = ln, redrive, true, false
	if ln != nil {
		ln.where = running
	}
	e.nRunning++
	e.starts++
}
