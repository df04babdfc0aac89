package lane

import "time"

// A leader that receives an item whose key is idle may run it at once and go on leading: it rides. Nothing is
// filed for a ride, no lock is taken, and no other worker is told. What makes it safe is one word, Engine.rides:
//
//	bit 0      a ride is on
//	bit 1      attention: there are lanes, or something else to look at under the lock before a ride
//	the rest   how many rides have ended, each counted as settled under outcome 0, or were stolen
//
// The leader begins a ride by setting bit 0, and ends it by clearing it and adding to the count, each by one
// compare-and-swap. Whoever holds the lock may end it in the leader's place: the ride is stolen, which means that
// it is registered like any other run, in a lane of its key, and that the lead is free for another worker. The
// rider finds out when its own swap fails, because the count has gone on, and settles its item under the lock.
//
// A watcher steals the rides that last, so that a slow item holds up nobody: it looks every so often, and
// when it sees the same ride twice, takes it. Go's scheduler takes a processor away from a goroutine in a
// system call in the same way (sysmon, retake). It also means that whoever needs an exact picture steals first.
const (
	riding    = 1 << 0
	attention = 1 << 1
	oneRide   = 1 << 2
)

// watchEvery is how often the watcher looks. A ride is stolen after between one and two of them.
const watchEvery = 100 * time.Microsecond

// signalEvery is the mask of rides after which waiting publishers are told that there is room, if the
// inlet did not run empty before. Waking one for each item would cost more than the item.
const signalEvery = 32 - 1

// attend makes the leader take the lock before it begins another ride, and steals the one that is on. From then
// on until the lock is given up, the counts are exact and stand still.
func (e *Engine[T]) attend() (stolen bool) {
	for {
		v := e.rides.Load()
		if v&riding == 0 {
			if v&attention != 0 || e.rides.CompareAndSwap(v, v|attention) {
				return false
			}
			continue
		}
		e.aside.Add(-1) // before the count goes on: Settled must never see too many
		if e.rides.CompareAndSwap(v, (v&^riding+oneRide)|attention) {
			e.live[0]--
			e.register(e.leader)
			e.leader = nil
			return true
		}
		e.aside.Add(1)
	}
}

// register makes a ride an ordinary run.
func (e *Engine[T]) register(w *worker[T]) {
	w.lane, w.redrive, w.busy, w.recalled, w.budget = nil, false, true, false, runBudget
	e.resident++
	e.nRunning++
	if key, keyed := e.cfg.Key(&w.item); keyed {
		w.lane = e.open(key, true)
		w.lane.where = running
	}
}

// Settled is how many live items have settled. It may be behind by those that settle now, and is never ahead.
func (e *Engine[T]) Settled() uint64 {
	n := e.rides.Load() / oneRide
	return n + uint64(e.aside.Load())
}

// taken is how many items have left the inlet. It does not count one that the leader has in its hand and
// neither rides nor has placed yet.
func (e *Engine[T]) taken() uint64 {
	v := e.rides.Load()
	return v/oneRide + v&riding + e.placed.Load()
}

// Full reports whether as many live items are in the engine as it may hold. Limit, which the caller keeps
// from one call to the next and sets to 0 after a Resize, saves a look at what the workers write.
func (e *Engine[T]) Full(limit *uint64) bool {
	n := e.Accepted()
	if n < *limit {
		return false
	}
	*limit = e.Settled() + uint64(e.capacity.Load())
	return n >= *limit
}

// mayRide reports whether items are run by the leader while it leads.
func (e *Engine[T]) mayRide() bool {
	return !e.pace.shared && !e.draining && !e.blocked() && len(e.workers) <= e.target
}

// lead makes w the leader: it receives items and rides them, until there is one that it has to run in the
// ordinary way; then it returns true, or false when there is something else to look at. It is called with the
// lock held and returns with it.
func (e *Engine[T]) lead(w *worker[T]) bool {
	e.leader = w
	e.quieten()
	e.unlock()
	for e.await(w) {
		v := e.rides.Load()
		if v&attention != 0 || !e.rides.CompareAndSwap(v, v|riding) {
			e.mu.Lock()
			aboard := false
			if v, aboard = e.board(w); !aboard {
				e.leader, e.took = nil, true
				return e.place(w)
			}
			e.mu.Unlock()
		}
		if !e.ride(w, v|riding) {
			e.mu.Lock()
			e.alight(w)
			e.took = true
			return e.finish(w, true)
		}
		if e.pace.turned {
			break
		}
	}
	e.mu.Lock()
	e.leader = nil
	if e.pace.turned {
		e.share()
	}
	return false
}

// quieten takes back the attention when there is nothing to attend to.
func (e *Engine[T]) quieten() {
	if len(e.lanes)+len(e.loose) == 0 && e.mayRide() {
		e.rides.And(^uint64(attention))
	}
}

// board begins a ride although there is something to attend to, if that is only lanes of other keys. It
// returns the word before the ride, or false when w's item must not be ridden.
func (e *Engine[T]) board(w *worker[T]) (v uint64, ok bool) {
	if !e.mayRide() || e.hasReady() || !e.hasRoom() {
		return 0, false
	}
	if len(e.lanes) > 0 {
		if key, keyed := e.cfg.Key(&w.item); keyed && e.lanes[key] != nil {
			return 0, false
		}
	}
	e.quieten()
	v = e.rides.Load()
	e.rides.Store(v | riding)
	return v, true
}

// alight makes sure that w's ride, which is over, is registered like a run: it was when it was stolen.
func (e *Engine[T]) alight(w *worker[T]) {
	if e.leader == w {
		e.attend()
	}
}

// ride runs w's item. It returns false when that is to be settled under the lock.
func (e *Engine[T]) ride(w *worker[T], v uint64) bool {
	if !e.watching.Load() {
		e.startWatch(v)
	}
	count := v / oneRide
	if count&sampleRides == 0 {
		began := time.Now()
		w.runner.Run(&w.item, &w.decision)
		w.took = time.Since(began)
	} else {
		w.runner.Run(&w.item, &w.decision)
	}
	if d := &w.decision; d.Action != Settle || d.Outcome != 0 || d.Notify {
		return false
	}
	for !e.rides.CompareAndSwap(v, v&^riding+oneRide) {
		if v = e.rides.Load(); v/oneRide != count {
			return false
		}
	}
	w.runner.Gone(&w.item)
	if count&signalEvery == 0 {
		e.cfg.Took()
		if count&sampleRides == 0 {
			e.pace.turned = e.pace.note(w.took)
		}
	}
	return true
}

// await receives an item for the leader. It returns false when the leader was woken for something else.
func (e *Engine[T]) await(w *worker[T]) bool {
	if e.inlet.receive(&w.item) {
		return true
	}
	e.cfg.Took()
	var zero T
	w.item = zero
	if e.inlet.doze() {
		<-e.wake
		e.inlet.asleep.Store(false)
		if e.rides.Load()&attention != 0 { // an item would be filed where nothing may run
			return false
		}
	}
	return e.inlet.receive(&w.item)
}

// startWatch sets the watcher's timer, for a ride that has just begun.
func (e *Engine[T]) startWatch(v uint64) {
	e.seen.Store(v &^ attention)
	e.watching.Store(true)
	e.watcher.Reset(watchEvery)
}

// watch looks whether the ride that is on was on when it looked before, and if so steals it. It looks again as
// long as there was a ride since, and then sets no timer.
func (e *Engine[T]) watch() {
	v := e.rides.Load() &^ attention
	if v&riding != 0 && v == e.seen.Load() {
		e.mu.Lock()
		if e.rides.Load()&^attention == v && e.attend() {
			if e.took = true; e.pace.stolen() {
				e.share()
			}
		}
		e.unlock()
		v = e.rides.Load() &^ attention
	}
	if e.seen.Swap(v) != v {
		e.watcher.Reset(watchEvery)
		return
	}
	e.watching.Store(false)
	if e.rides.Load()&riding != 0 && e.watching.CompareAndSwap(false, true) {
		e.watcher.Reset(watchEvery)
	}
}
