package lane

import "sync/atomic"

// A worker that receives an item whose key is idle may run it at once and go on receiving: it rides. Nothing is filed
// for a ride, no lock is taken, and no other worker is told. Each rider has a track, and what makes it safe is the
// word of the track:
//
//	bit 0      a ride is on
//	bit 1      attention: there is something to look at under the lock before the next ride
//	bit 2      there are lanes of keys, so the index is to be asked before a ride
//	the rest   how many rides have ended, each counted as settled under outcome 0, or were stolen
//
// The rider begins a ride by setting bit 0, and ends it by clearing it and adding to the count, each by one
// compare-and-swap. Whoever holds the lock may end it in the rider's place: the ride is stolen, which means that
// it is registered like any other run, in a lane of its key, and that the track is free for another worker. The
// rider finds out when its own swap fails, because the count has gone on, and settles its item under the lock.
//
// Bits 1 and 2 are set under the lock, and cleared under the lock by the rider alone, so that a rider whose swap
// succeeds knows that nobody has opened a lane since it asked the index.
const (
	riding    = 1 << 0
	attention = 1 << 1
	lanesOpen = 1 << 2
	oneRide   = 1 << 3
	remarks   = attention | lanesOpen
)

// track is what belongs to one rider. What riders write stands on cache lines of their own.
type track[T any] struct {
	word  atomic.Uint64
	key   atomic.Uint64 // hash of the key that is ridden, where others ride too; 0 for none
	seen  atomic.Uint64 // the word, when the watcher saw it last
	rider *worker[T]    // guarded by the engine's lock; nil: the track is free
	_     [96]byte
}

// maxTracks bounds how many ride at once: each looks at the others before a ride.
const maxTracks = 8

// ends ends the ride that v stands for, where nothing else has: not the ride, nor a thief.
func (tr *track[T]) ends(v uint64) bool {
	count := v / oneRide
	for !tr.word.CompareAndSwap(v, v&^riding+oneRide) {
		if v = tr.word.Load(); v/oneRide != count {
			return false
		}
	}
	return true
}

// mostRiders is how many may ride at once to some purpose.
func (e *Engine[T]) mostRiders() int {
	if e.cfg.OneKey {
		return 1
	}
	return min(len(e.tracks), e.target)
}

// remark sets bits in the words of all tracks.
func (e *Engine[T]) remark(bits uint64) {
	for i := range e.tracks {
		if w := &e.tracks[i].word; w.Load()&bits != bits {
			w.Or(bits)
		}
	}
}

// attend makes every rider take the lock before it begins another ride, and steals the rides that are on. From then
// on until the lock is given up, the counts are exact and stand still.
func (e *Engine[T]) attend() {
	e.remark(attention)
	for i := range e.tracks {
		e.steal(&e.tracks[i])
	}
}

// steal makes the ride on a track, if there is one, an ordinary run, and frees the track. All tracks have the
// attention: another rider must not begin one of the same key between the ride's end and the lane.
func (e *Engine[T]) steal(tr *track[T]) bool {
	for {
		v := tr.word.Load()
		if v&riding == 0 {
			return false
		}
		e.aside.Add(-1) // before the count goes on: Settled must never see too many
		if tr.word.CompareAndSwap(v, v&^riding+oneRide) {
			e.live[0]--
			e.register(tr.rider)
			e.dismount(tr)
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
	if hash, key := e.keyOf(&w.item); hash != 0 {
		w.lane = e.open(hash, key)
		w.lane.where = running
	}
}

// mount gives w a free track, and dismount takes it back.
func (e *Engine[T]) mount(w *worker[T]) *track[T] {
	for i := range e.tracks {
		if tr := &e.tracks[i]; tr.rider == nil {
			tr.rider, w.track = w, tr
			e.riders++
			return tr
		}
	}
	panic("lane: no track is free")
}

func (e *Engine[T]) dismount(tr *track[T]) {
	tr.rider = nil
	e.riders--
}

// rode is how many rides have ended or were stolen.
func (e *Engine[T]) rode() (n uint64) {
	for i := range e.tracks {
		n += e.tracks[i].word.Load() / oneRide
	}
	return n
}

// Settled is how many live items have settled. It may be behind by those that settle now, and is never ahead.
func (e *Engine[T]) Settled() uint64 {
	n := e.rode()
	return n + uint64(e.aside.Load())
}

// taken is how many items have left the inlet. It does not count one that a rider has in its hand and does not ride
// yet.
func (e *Engine[T]) taken() (n uint64) {
	for i := range e.tracks {
		v := e.tracks[i].word.Load()
		n += v/oneRide + v&riding
	}
	return n + e.placed.Load()
}
