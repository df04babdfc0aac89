package lane

import "time"

// A watcher steals the rides that last, so that a slow item holds up nobody: it looks every so often, and when it
// sees the same ride twice, takes it. Go's scheduler takes a processor away from a goroutine in a system call in the
// same way (sysmon, retake). It also means that whoever needs an exact picture steals first.

// watchEvery is how often the watcher looks. A ride is stolen after between one and two of them.
const watchEvery = 100 * time.Microsecond

// startWatch sets the watcher's timer, for a ride that has just begun.
func (e *Engine[T]) startWatch(tr *track[T], v uint64) {
	tr.seen.Store(v &^ remarks)
	e.watching.Store(true)
	e.watcher.Reset(watchEvery)
}

// watch looks at each track whether the ride that is on was on when it looked before, and if so steals it. It looks
// again as long as there was a ride since, and then sets no timer.
func (e *Engine[T]) watch() {
	rode := false
	for i := range e.tracks {
		tr := &e.tracks[i]
		v := tr.word.Load() &^ remarks
		if v&riding != 0 && v == tr.seen.Load() {
			e.stealSlow(tr, v)
			v = tr.word.Load() &^ remarks
		}
		rode = tr.seen.Swap(v) != v || rode
	}
	if rode {
		e.watcher.Reset(watchEvery)
		return
	}
	e.watching.Store(false)
	for i := range e.tracks { // one may have begun that took the watcher for awake
		if e.tracks[i].word.Load()&riding != 0 {
			if e.watching.CompareAndSwap(false, true) {
				e.watcher.Reset(watchEvery)
			}
			return
		}
	}
}

// stealSlow steals the ride that v stands for, if it is still on.
func (e *Engine[T]) stealSlow(tr *track[T], v uint64) {
	e.mu.Lock()
	if tr.word.Load()&^remarks == v {
		e.remark(attention)
		if e.steal(tr) {
			e.took = true
			e.sampled(stolenRide)
		}
	}
	e.unlock()
}
