package lane

import (
	"iter"
	"time"
)

// Step runs one attempt at one item on the caller's goroutine, if there is one that may run now. It
// must not be called while workers run, nor by two goroutines at once.
func (e *Engine[T]) Step() bool { return e.step(true) }

// StepReady is Step without taking from the inlet: it runs an item that was run or filed before.
func (e *Engine[T]) StepReady() bool { return e.step(false) }

func (e *Engine[T]) step(fresh bool) bool {
	w, returned := e.stepper, false
	e.mu.Lock()
	if e.blocked() {
		e.unlock()
		return false
	}
	e.unpark()
	e.inletTurn = fresh && !e.inletTurn
	if e.inletTurn && e.takeInlet(w) || e.takeReady(w) || fresh && e.takeInlet(w) {
		defer func() {
			if !returned {
				w.replace()
			}
		}()
		w.attempt()
		returned = true
		e.unlock()
		return true
	}
	e.unlock()
	return false
}

// NextDue returns when the next parked item is due; false when none is parked.
func (e *Engine[T]) NextDue() (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.parked) == 0 {
		return time.Time{}, false
	}
	return e.parked[0].queue.at(0).due, true
}

// all yields every lane.
func (e *Engine[T]) all() iter.Seq[*lane[T]] {
	return func(yield func(*lane[T]) bool) {
		for ln := range e.lanes.all() {
			if !yield(ln) {
				return
			}
		}
		for ln := range e.loose {
			if !yield(ln) {
				return
			}
		}
	}
}
