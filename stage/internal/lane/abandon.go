package lane

import "runtime"

// State is what an item was doing when it was handed back.
type State uint8

// The states.
const (
	Queued State = iota
	Running
	Parked
	Held
)

// Left is an item that was handed back.
type Left[T any] struct {
	Item    T
	State   State
	Redrive bool
}

// Abandon takes out every item that has not settled, counts the live ones under outcome and returns
// them all, those of a key in their order. An item that still runs is among them; what its run decides
// is ignored. End must have been called. It is called once, at the end.
func (e *Engine[T]) Abandon(outcome uint8) []Left[T] {
	e.mu.Lock()
	defer e.unlock()
	e.attend()
	for e.riders > 0 { // they were told to leave, and are about to
		e.unlock()
		runtime.Gosched()
		e.mu.Lock()
	}
	e.abandoned = true
	var left []Left[T]
	add := func(item T, s State, redrive bool) {
		left = append(left, Left[T]{item, s, redrive})
		if !redrive {
			e.live[outcome]++
			e.aside.Add(1)
		}
	}
	for w := range e.workers {
		if w.busy {
			w.abandoned = true
			if w.berth != nil { // among those of its lane that came back
				w.lane.putBack(entry[T]{item: w.item, running: true}, w.berth)
				continue
			}
			add(w.item, Running, w.redrive)
		}
	}
	for ln := range e.all() {
		for ln.queue.len() > 0 {
			n := ln.queue.popFront()
			add(n.item, stateOf(&n), n.redrive)
		}
	}
	for item := *new(T); e.inlet.receive(&item); {
		e.placed.Add(1)
		add(item, Queued, false)
	}
	e.lanes.clear()
	clear(e.loose)
	e.ready.clear()
	e.parked, e.rang = nil, false
	e.resident, e.redriven, e.nRunning, e.nParked, e.nHeld = 0, 0, 0, 0, 0
	return left
}

func stateOf[T any](n *entry[T]) State {
	switch {
	case n.running:
		return Running
	case n.held:
		return Held
	case !n.due.IsZero():
		return Parked
	}
	return Queued
}
