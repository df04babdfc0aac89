package idempotency

import (
	"context"
	"hash/maphash"
	"math/bits"
	"runtime"
	"time"
)

// The defaults of a MemoryConfig.
const (
	DefaultCapacity  = 1 << 20
	DefaultRetention = 24 * time.Hour
)

// MemoryConfig sizes a Memory. The zero value is fit for production.
type MemoryConfig struct {
	// Capacity bounds the keys remembered; about 170 bytes each beside their text, allocated as
	// they come. Beyond it the oldest completed key is forgotten before its time, which
	// MemoryStats counts. Default 1,048,576.
	Capacity int
	// Retention is the window: how long after its Confirm a key is a duplicate. Default 24 hours.
	Retention time.Duration
	// Shards is how many locks share the keys, rounded up to a power of two. The default follows
	// the processors; a small capacity uses fewer, since each shard has its part of it.
	Shards int
}

// Memory is a Store in this process: sharded, bounded, first in first out. It starts no goroutine, forgets
// what has expired as it is used, and gives memory back when most of it is empty. A new key costs no
// allocation once a shard has grown. It never returns an error but ErrLost, and never blocks.
//
// It forgets by age and not by use: a cache that admits by frequency would forget the newest keys,
// which are the ones whose duplicates are on their way.
//
// A key keeps the text of its identity alive; cut identities out of large buffers with strings.Clone.
type Memory struct {
	seed      maphash.Seed
	born      time.Time
	retention time.Duration
	shards    []shard
}

// NewMemory makes a Memory. Without a config, and for each field that is not positive, the defaults hold.
func NewMemory(config ...MemoryConfig) *Memory {
	var c MemoryConfig
	if len(config) > 0 {
		c = config[0]
	}
	c = c.withDefaults()
	m := &Memory{
		seed: maphash.MakeSeed(), born: time.Now(), retention: c.Retention,
		shards: make([]shard, c.Shards),
	}
	limit := (c.Capacity + c.Shards - 1) / c.Shards
	for i := range m.shards {
		m.shards[i].init(limit)
	}
	return m
}

// minShardKeys keeps shards large enough that keys spread over them evenly: a shard that happens to
// get more than its part forgets early while others have room.
const minShardKeys = 4096

func (c MemoryConfig) withDefaults() MemoryConfig {
	if c.Capacity <= 0 {
		c.Capacity = DefaultCapacity
	}
	if c.Retention <= 0 {
		c.Retention = DefaultRetention
	}
	if c.Shards <= 0 {
		c.Shards = min(8*runtime.GOMAXPROCS(0), c.Capacity/minShardKeys)
	}
	c.Shards = max(c.Shards, 1, c.Capacity/maxShardKeys+1)
	c.Shards = 1 << bits.Len(uint(min(c.Shards, c.Capacity)-1))
	return c
}

// Claim asks to run a key.
func (m *Memory) Claim(_ context.Context, r Request) (Claim, error) {
	h, now := m.hash(r.Key), time.Since(m.born)
	s := &m.shards[m.place(h)]
	s.mu.Lock()
	c, until := s.claim(&r, uint32(h>>32), now, m.retention)
	s.mu.Unlock()
	c.shard = m.place(h) + 1
	if c.State == Busy {
		c.Until = m.born.Add(until)
	}
	return c, nil
}

// Renew makes the lease run anew from now.
func (m *Memory) Renew(_ context.Context, c Claim, lease time.Duration) error {
	s, now := m.shardOf(&c), time.Since(m.born)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renew(c.Token, now+lease)
}

// Confirm records that the holder completed the key. Confirming twice is no error. A key that was
// forgotten meanwhile is lost.
func (m *Memory) Confirm(_ context.Context, c Claim) error {
	s, now := m.shardOf(&c), time.Since(m.born)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirm(c.Token, now+m.retention)
}

// Release gives the key back. A key that is done stays done.
func (m *Memory) Release(_ context.Context, c Claim) error {
	s := m.shardOf(&c)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release(c.Token)
}

func (m *Memory) hash(k Key) uint64 { return maphash.String(m.seed, k.ID) }

// place is the number of the shard that a hash chooses.
func (m *Memory) place(h uint64) uint32 { return uint32(h & uint64(len(m.shards)-1)) }

// shardOf is where the key of a claim is. One that Claim did not make does not know.
func (m *Memory) shardOf(c *Claim) *shard {
	if i := int(c.shard) - 1; i >= 0 && i < len(m.shards) {
		return &m.shards[i]
	}
	return &m.shards[m.place(m.hash(c.Key))]
}

// MemoryStats counts what a Memory holds and what it forgot too early.
type MemoryStats struct {
	Keys     int // remembered, in flight included; some may have expired and not been swept yet
	InFlight int // claimed, neither confirmed nor released
	Capacity int
	// Evicted counts completed keys that were forgotten before their retention ended: each was a
	// duplicate that would not have been recognised. It grows when Capacity is too small.
	Evicted uint64
	// EvictedInFlight counts claims that were forgotten while their holder may still have run:
	// more keys are in flight than Capacity.
	EvictedInFlight uint64
}

// Stats adds the shards up, one lock after the other. It does not allocate.
func (m *Memory) Stats() MemoryStats {
	var t MemoryStats
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		t.Keys += s.keys
		t.InFlight += s.inFlight
		t.Capacity += s.limit
		t.Evicted += s.evicted
		t.EvictedInFlight += s.evictedInFlight
		s.mu.Unlock()
	}
	return t
}

// Evicted is how many keys were forgotten before their time, completed and in flight.
func (m *Memory) Evicted() uint64 {
	s := m.Stats()
	return s.Evicted + s.EvictedInFlight
}
