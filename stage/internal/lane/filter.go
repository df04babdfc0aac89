package lane

import (
	"hash/maphash"
	"sync/atomic"
)

// filter tells riders, without the lock, that a key has no lane: it counts the lanes of the keys that share a
// place in it. A rider may be told that a key has one when it has none, and then looks into the index.
type filter struct {
	seed   maphash.Seed
	places *[filterPlaces]atomic.Uint32 // nil until the first key has a lane
}

// filterPlaces is a power of two: 16 KiB, in which a hundred parked keys make one ride in forty ask the index.
const filterPlaces = 4096

func newFilter() filter { return filter{seed: maphash.MakeSeed()} }

// hash returns the hash of a key, never 0.
func (f *filter) hash(key string) uint64 { return maphash.String(f.seed, key) | 1<<63 }

func (f *filter) place(hash uint64) *atomic.Uint32 { return &f.places[hash&(filterPlaces-1)] }

// add counts a lane and returns where, for remove, which takes it back. Both are called with the engine's lock held.
func (f *filter) add(key string) *atomic.Uint32 {
	if f.places == nil {
		f.places = new([filterPlaces]atomic.Uint32)
	}
	at := f.place(f.hash(key))
	at.Add(1)
	return at
}

func (f *filter) remove(at *atomic.Uint32) { at.Add(^uint32(0)) }

// mayHave reports whether a key of this hash may have a lane. A rider asks when it has seen lanesOpen.
func (f *filter) mayHave(hash uint64) bool { return f.place(hash).Load() > 0 }

func (f *filter) clear() { f.places = nil }
