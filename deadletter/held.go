package deadletter

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// HeldSet is the lanes that a store knows to be held. It is what a Keeper needs for MayHold, which every event
// of a parking stage asks: no lock of the store's, no allocation, and one atomic load while nothing is held
// anywhere. The zero value is empty and ready. Its methods are safe for concurrent use.
type HeldSet struct {
	n      atomic.Int64
	shards [32]heldShard
}

type heldShard struct {
	mu sync.RWMutex
	in map[heldLane]struct{}
}

type heldLane struct{ stage, key string }

var heldSeed = maphash.MakeSeed()

func (s *HeldSet) shard(key string) *heldShard {
	return &s.shards[maphash.String(heldSeed, key)%uint64(len(s.shards))]
}

// Has reports whether the lane of key at stage is in the set.
func (s *HeldSet) Has(stage, key string) bool {
	if s.n.Load() == 0 {
		return false
	}
	h := s.shard(key)
	h.mu.RLock()
	_, ok := h.in[heldLane{stage, key}]
	h.mu.RUnlock()
	return ok
}

// Set puts the lane of key at stage into the set, or takes it out.
func (s *HeldSet) Set(stage, key string, held bool) {
	h, l := s.shard(key), heldLane{stage, key}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, was := h.in[l]; was == held {
		return
	}
	if !held {
		delete(h.in, l)
		s.n.Add(-1)
		return
	}
	if h.in == nil {
		h.in = map[heldLane]struct{}{}
	}
	h.in[l] = struct{}{}
	s.n.Add(1)
}

// Len is how many lanes are in the set.
func (s *HeldSet) Len() int { return int(s.n.Load()) }
