package lane

import (
	"hash/maphash"
	"iter"
	"sync/atomic"
)

// index finds the lane of a key. Each hash has a place, where one lane can be; those that find theirs taken go into a
// map, which with few lanes is seldom asked. It is guarded by the engine's lock, but for hash and mayHave.
type index[T any] struct {
	seed   maphash.Seed
	places *[indexPlaces]place[T] // nil until the first key has a lane
	more   map[string]*lane[T]
	n      int // lanes
}

// place is where keys of some hashes have their lanes.
type place[T any] struct {
	lanes atomic.Uint32 // of keys of these hashes, wherever they are
	here  *lane[T]      // one of them, or nil
}

// indexPlaces is a power of two: 32 KiB, in which a hundred parked keys make one ride in twenty take the lock.
const indexPlaces = 2048

func newIndex[T any]() index[T] {
	return index[T]{seed: maphash.MakeSeed(), more: map[string]*lane[T]{}}
}

// hash returns the hash of a key, never 0.
func (x *index[T]) hash(key string) uint64 { return maphash.String(x.seed, key) | 1<<63 }

func (x *index[T]) place(hash uint64) *place[T] { return &x.places[hash&(indexPlaces-1)] }

// mayHave tells riders, without the lock, whether a key of this hash may have a lane: whether one of the same place has.
// They ask when they have seen lanesOpen.
func (x *index[T]) mayHave(hash uint64) bool { return x.place(hash).lanes.Load() > 0 }

func (x *index[T]) len() int { return x.n }

// find returns the lane of a key of that hash, or nil, as it does for a hash of 0.
func (x *index[T]) find(hash uint64, key string) *lane[T] {
	if hash == 0 || x.n == 0 {
		return nil
	}
	p := x.place(hash)
	lanes := p.lanes.Load()
	if ln := p.here; ln != nil {
		if ln.hash == hash && ln.key == key {
			return ln
		}
		lanes--
	}
	if lanes == 0 {
		return nil
	}
	return x.more[key]
}

// add adds the lane of a key that has none.
func (x *index[T]) add(ln *lane[T]) {
	if x.places == nil {
		x.places = new([indexPlaces]place[T])
	}
	x.n++
	p := x.place(ln.hash)
	p.lanes.Add(1)
	if p.here == nil {
		p.here = ln
	} else {
		x.more[ln.key] = ln
	}
}

// remove takes out a lane that is there.
func (x *index[T]) remove(ln *lane[T]) {
	x.n--
	p := x.place(ln.hash)
	p.lanes.Add(^uint32(0))
	if p.here == ln {
		p.here = nil
	} else {
		delete(x.more, ln.key)
	}
}

// all yields the lanes; the one that was yielded last may be removed meanwhile.
func (x *index[T]) all() iter.Seq[*lane[T]] {
	return func(yield func(*lane[T]) bool) {
		for i := 0; x.n > len(x.more) && i < len(x.places); i++ {
			if ln := x.places[i].here; ln != nil && !yield(ln) {
				return
			}
		}
		for _, ln := range x.more {
			if !yield(ln) {
				return
			}
		}
	}
}

func (x *index[T]) clear() {
	x.places, x.n = nil, 0
	clear(x.more)
}
