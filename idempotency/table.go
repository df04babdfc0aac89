package idempotency

import "math/bits"

// A table finds slots by hash: open addressing with linear probing, removal by shifting back, so it
// holds no tombstones and neither slows down nor allocates however many keys come and go. An entry
// is the hash in the high half and the slot in the low; 0 is empty, since no key lives in slot 0.
type table struct {
	entries []uint64
	fetched uint64 // for nobody: without it there would be no fetch
}

func (t *table) reset(n int) { t.entries = make([]uint64, 1<<bits.Len(uint(n+n/2))) }

// double makes the table twice as large. It goes through the old one in turn, and so through the new one in two
// places in turn.
func (t *table) double() {
	old := t.entries
	t.entries = make([]uint64, 2*len(old))
	for _, e := range old {
		if e != 0 {
			t.insert(uint32(e>>32), uint32(e))
		}
	}
}

// room is how many slots the table serves before it is rebuilt: two thirds of it.
func (t *table) room() int { return len(t.entries) * 2 / 3 }

func (t *table) home(tag uint32) int { return int(tag) & (len(t.entries) - 1) }

// fetch has the processor bring the place of a tag into its cache, for remove, while it looks for another one.
func (t *table) fetch(tag uint32) { t.fetched = t.entries[t.home(tag)] }

func (t *table) after(p int) int { return (p + 1) & (len(t.entries) - 1) }

func entry(tag, slot uint32) uint64 { return uint64(tag)<<32 | uint64(slot) }

// find returns k's slot.
func (s *shard) find(k Key, tag uint32) (uint32, bool) {
	for p := s.table.home(tag); s.table.entries[p] != 0; p = s.table.after(p) {
		if e := s.table.entries[p]; uint32(e>>32) == tag && s.slots.at(uint32(e)).key == k {
			return uint32(e), true
		}
	}
	return 0, false
}

func (t *table) insert(tag, slot uint32) {
	p := t.home(tag)
	for t.entries[p] != 0 {
		p = t.after(p)
	}
	t.entries[p] = entry(tag, slot)
}

func (t *table) remove(tag, slot uint32) {
	p := t.home(tag)
	for t.entries[p] != entry(tag, slot) {
		p = t.after(p)
	}
	for q := t.after(p); t.entries[q] != 0; q = t.after(q) {
		home := t.home(uint32(t.entries[q] >> 32))
		if between := (q - home) & (len(t.entries) - 1); between >= (q-p)&(len(t.entries)-1) {
			t.entries[p] = t.entries[q]
			p = q
		}
	}
	t.entries[p] = 0
}
