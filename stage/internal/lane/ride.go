package lane

import (
	"runtime"
	"time"
)

// Who rides receives items, without the lock. Where runs are shortest one worker rides alone, and is the only one
// that receives. Where they are longer as many ride together as there are processors: they take turns at the inlet,
// and one that has the turn sees on the tracks of the others whether an item's key is being ridden. What a rider
// may not ride it puts back before it gives up the turn, so that the items of a key leave the inlet in their order.
// See pace.go for when there is which.

// signalEvery is the mask of rides after which waiting publishers are told that there is room, if the
// inlet did not run empty before. Waking one for each item would cost more than the item.
const signalEvery = 32 - 1

// mayRide reports whether items are run by who receives them.
func (e *Engine[T]) mayRide() bool {
	return e.pace.gait != share && !e.draining && !e.blocked() && len(e.workers) <= e.target
}

// mayLead reports whether another worker may receive without the lock. For each rider there is room: what it rides may
// be stolen.
func (e *Engine[T]) mayLead() bool {
	return e.riders == 0 ||
		e.pace.gait == together && !e.alone && e.riders < e.pace.riders && e.roomBeside(e.riders)
}

// roomBeside reports whether there is room for an item, should the rides of so many others be stolen.
func (e *Engine[T]) roomBeside(others int) bool { return e.resident+others < e.cfg.Room+e.target }

// boarding is how a try to begin a ride ends.
type boarding uint8

const (
	aboard  boarding = iota
	nothing          // the inlet is empty
	barred           // there is something to look at under the lock
)

// lead makes w receive items and ride them, until there is one that it has to run in the ordinary way; then it
// returns true, or false when there is something else to look at. It is called with the lock held and returns with
// it.
func (e *Engine[T]) lead(w *worker[T]) (runs bool) {
	tr := e.mount(w)
	alone := e.pace.gait != together
	turns := !alone || e.inlet.rivals
	e.alone = alone
	e.quieten(tr)
	e.unlock()
	for {
		if turns {
			e.inlet.take()
		}
		v, how := e.embark(w, tr, alone)
		if turns {
			e.inlet.turn.Unlock()
		}
		if how == nothing {
			if e.await(w, turns) {
				continue
			}
			e.mu.Lock()
			break
		}
		if how == barred {
			e.mu.Lock()
			ok := false
			if v, ok = e.board(w, tr, alone); !ok {
				break
			}
			e.unlock()
		}
		if !e.ride(w, tr, v, alone) {
			e.mu.Lock()
			e.alight(w)
			e.took = true
			return e.finish(w, true)
		}
	}
	e.giveUp(tr)
	return false
}

// giveUp ends the part of a rider that has no item in its hand. What it was roused for is another's now, who may sleep.
func (e *Engine[T]) giveUp(tr *track[T]) {
	e.dismount(tr)
	e.took = true
	if e.Queued() > 0 && e.inlet.rouse() {
		e.wake <- struct{}{} // has room: a signal for each that was roused
	}
}

// embark receives an item and begins to ride it. It returns the word of the ride. Who calls it has the turn, where
// there are turns.
func (e *Engine[T]) embark(w *worker[T], tr *track[T], alone bool) (v uint64, how boarding) {
	q := &e.inlet
	if q.empty() {
		return 0, nothing
	}
	if v = tr.word.Load(); v&attention != 0 {
		return 0, barred
	}
	q.receive(&w.item)
	if !alone || v&lanesOpen != 0 {
		if !e.isIdle(w, tr, v) {
			q.putBack(&w.item)
			return 0, barred
		}
	}
	if !tr.word.CompareAndSwap(v, v|riding) {
		q.putBack(&w.item)
		return 0, barred
	}
	return v | riding, aboard
}

// isIdle reports whether the key of w's item has no lane and is not ridden, as far as can be seen without the lock,
// and writes down that w rides it.
func (e *Engine[T]) isIdle(w *worker[T], tr *track[T], v uint64) bool {
	hash, _ := e.keyOf(&w.item)
	if hash != 0 && (v&lanesOpen != 0 && e.lanes.mayHave(hash) || e.riddenBy(hash, tr) != nil) {
		return false
	}
	tr.key.Store(hash)
	return true
}

// riddenBy returns the track of another rider where a key of the same hash is ridden. Who asks has the turn, so none
// begins meanwhile.
func (e *Engine[T]) riddenBy(h uint64, own *track[T]) *track[T] {
	for i := range e.tracks {
		if tr := &e.tracks[i]; tr != own && tr.key.Load() == h && tr.word.Load()&riding != 0 {
			return tr
		}
	}
	return nil
}

// board begins a ride although there may be something to attend to, if that is only lanes of other keys. It is
// called with the lock held. It returns false when there is nothing to ride, or something else to do; an item whose key
// is busy it files.
func (e *Engine[T]) board(w *worker[T], tr *track[T], alone bool) (v uint64, ok bool) {
	if !e.mayRide() || e.hasReady() || !e.roomBeside(e.riders-1) || alone != (e.pace.gait != together) {
		return 0, false
	}
	e.quieten(tr)
	if !alone || e.inlet.rivals {
		e.inlet.take()
		defer e.inlet.turn.Unlock()
	}
	if !e.inlet.receive(&w.item) {
		return 0, false
	}
	hash, key := e.keyOf(&w.item)
	if hash != 0 {
		if other := e.riddenBy(hash, tr); other != nil {
			e.remark(attention)
			e.steal(other)
		}
		if ln := e.lanes.find(hash, key); ln != nil {
			e.took = true
			e.file(w, ln)
			return 0, false
		}
	}
	tr.key.Store(hash)
	return tr.word.Or(riding) | riding, true
}

// quieten takes back the attention of a track when there is nothing to attend to, and the word that there are lanes
// when there are none.
func (e *Engine[T]) quieten(tr *track[T]) {
	if !e.mayRide() || e.hasReady() || !e.hasRoom() {
		return
	}
	tr.word.And(^uint64(attention))
	e.forgetLanes(tr)
}

// forgetLanes takes back the word that there are lanes when there are none. It is for the rider, with the lock held.
func (e *Engine[T]) forgetLanes(tr *track[T]) {
	if e.lanes.len() == 0 && tr.word.Load()&lanesOpen != 0 {
		tr.word.And(^uint64(lanesOpen))
	}
}

// alight makes sure that w's ride, which is over, is registered like a run: it was when it was stolen.
func (e *Engine[T]) alight(w *worker[T]) {
	if tr := w.track; tr != nil && tr.rider == w {
		e.remark(attention)
		e.steal(tr)
	}
}

// ride runs w's item. It returns false when that is to be settled under the lock.
func (e *Engine[T]) ride(w *worker[T], tr *track[T], v uint64, alone bool) bool {
	if !e.watching.Load() {
		e.startWatch(tr, v)
	}
	count := v / oneRide
	timed := count&sampleRides == 0
	var took time.Duration
	if timed {
		began := time.Now()
		w.runner.Run(&w.item, &w.decision)
		took = time.Since(began)
	} else {
		w.runner.Run(&w.item, &w.decision)
	}
	if d := &w.decision; d.Action != Settle || d.Outcome != 0 || d.Notify {
		return false
	}
	if !tr.ends(v) {
		return false
	}
	w.runner.Gone(&w.item)
	if count&signalEvery == 0 {
		if e.cfg.Took() && !alone {
			runtime.Gosched() // who was woken waits for this processor, and the others are busy too
		}
	}
	if timed && e.mu.TryLock() { // a sample more or less makes no difference
		e.sampled(took)
		e.forgetLanes(tr)
		e.unlock()
	}
	return true
}

// await waits until there is something to receive. It returns false when w is to look under the lock.
func (e *Engine[T]) await(w *worker[T], turns bool) bool {
	e.cfg.Took()
	var zero T
	w.item = zero
	if !e.doze(turns) {
		return !e.beckoned.Swap(false)
	}
	<-e.wake
	return !e.beckoned.Swap(false) && w.track.word.Load()&attention == 0
}

// doze announces that a rider is going to sleep, and returns true when it is: then it must be woken. It takes that
// back when there is something to do: the announcement and a sender's look at it cannot both be missed.
func (e *Engine[T]) doze(turns bool) bool {
	q := &e.inlet
	q.asleep.Add(1)
	if turns {
		q.take()
		defer q.turn.Unlock()
	}
	return q.empty() && !e.beckoned.Load() || !q.rouse()
}
