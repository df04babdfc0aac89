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

// longest is as good as for ever, and twice it can be added to any time that has passed.
const longest = 100 * 365 * 24 * time.Hour

// MemoryConfig sizes a Memory. The zero value is fit for production.
type MemoryConfig struct {
	// Capacity bounds the keys remembered; about 90 to 100 bytes each beside their text, allocated as
	// they come. Beyond it the oldest completed key is forgotten before its time, which
	// MemoryStats counts. Default 1,048,576.
	Capacity int
	// Retention is the window: how long after its Confirm a key is a duplicate. Default 24 hours.
	Retention time.Duration
	// Shards is how many locks share the keys, rounded up to a power of two. The default follows
	// the processors and the capacity; a small capacity uses fewer, since each shard has its part of it.
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
	clock     clock
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
		seed: maphash.MakeSeed(), clock: clock{born: time.Now()}, retention: c.Retention,
		shards: make([]shard, c.Shards),
	}
	limit := (c.Capacity + c.Shards - 1) / c.Shards
	for i := range m.shards {
		m.shards[i].init(limit)
	}
	return m
}

const (
	// minShardKeys keeps shards large enough that keys spread over them evenly: a shard that happens to
	// get more than its part forgets early while others have room.
	minShardKeys = 4096
	// usualShardKeys keeps shards small enough that to double a table takes a part of a millisecond, and that the stages
	// that share a Memory seldom meet. A Memory of one stage costs less with a single shard: it goes through its
	// slots in turn then, which the processor foresees.
	usualShardKeys = 1 << 14
)

func (c MemoryConfig) withDefaults() MemoryConfig {
	if c.Capacity <= 0 {
		c.Capacity = DefaultCapacity
	}
	if c.Retention <= 0 {
		c.Retention = DefaultRetention
	}
	c.Retention = min(c.Retention, longest)
	if c.Shards <= 0 {
		c.Shards = min(max(runtime.GOMAXPROCS(0)/2, c.Capacity/usualShardKeys), c.Capacity/minShardKeys)
	}
	c.Shards = max(c.Shards, 1, c.Capacity/maxShardKeys+1)
	c.Shards = 1 << bits.Len(uint(min(c.Shards, c.Capacity)-1))
	return c
}

// Claim asks to run a key.
func (m *Memory) Claim(_ context.Context, r Request) (c Claim, _ error) {
	m.ClaimAt(&r, &c)
	return c, nil
}

// ClaimAt is Claim without a copy of either. It overwrites all of c.
func (m *Memory) ClaimAt(r *Request, c *Claim) {
	h := m.hash(r.Key)
	s := &m.shards[m.place(h)]
	s.mu.Lock()
	c.State, c.Token, c.Until, c.Digest = Claimed, 0, time.Time{}, 0
	until := s.claim(r, c, tag(h, r.Key.Stage), m.clock.read(&s.rush), m.retention)
	s.mu.Unlock()
	c.Key.Stage, c.Key.ID, c.shard = r.Key.Stage, r.Key.ID, m.place(h)+1
	if c.State == Busy {
		c.Until = m.clock.born.Add(until)
	}
}

// Renew makes the lease run anew from now.
func (m *Memory) Renew(_ context.Context, c Claim, lease time.Duration) error {
	s := m.shardOf(&c)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renew(c.Token, m.clock.read(&s.rush)+min(lease, longest))
}

// Confirm records that the holder completed the key. Confirming twice is no error. A key that was
// forgotten meanwhile is lost.
func (m *Memory) Confirm(_ context.Context, c Claim) error { return m.ConfirmAt(&c) }

// ConfirmAt is Confirm without a copy of the claim.
func (m *Memory) ConfirmAt(c *Claim) error {
	s := m.shardOf(c)
	s.mu.Lock()
	err := s.confirm(c.Token, m.clock.read(&s.rush)+m.retention)
	s.mu.Unlock()
	return err
}

// Release gives the key back. A key that is done stays done.
func (m *Memory) Release(_ context.Context, c Claim) error {
	s := m.shardOf(&c)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release(c.Token)
}

func (m *Memory) hash(k Key) uint64 { return maphash.String(m.seed, k.ID) }

// tag is what a table tells keys apart by, seldom wrongly: the high half of the hash, and something of the stage. The stages of a topic ask for the same identity at about the
// same time: they find each other's at the same place in the table, which is in the cache then, and need not look at the
// slots, which other processors write.
func tag(h uint64, stage string) uint32 {
	t := uint32(h >> 32)
	if n := len(stage); n > 0 {
		t ^= (31*uint32(n) + 7*uint32(stage[0]) + uint32(stage[n-1])) << (slotBits + 1)
	}
	return t
}

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
