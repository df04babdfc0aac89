package idempotency

import (
	"slices"
	"sync"
	"time"
)

// A shard keeps its keys in slots, found through an open-addressing table and chained in two lists:
// the completed ones and those in flight, each oldest first. Retention is one time for all, so the
// oldest completed key is the next to expire and expiry needs no heap. The number of a slot is the
// low part of its claim's token, so Confirm and Release find it without looking the key up.
type shard struct {
	mu              sync.Mutex // guards all below; held for no call out and no wait
	slots           []slot     // 0 and 1 are the lists' ends
	marks           []mark     // of the slots, from the first request on that has one
	table           table
	free            uint32 // first of the chain of unused slots; 0 means none
	keys, inFlight  int
	limit           int
	claims          uint64 // made so far: the high part of tokens
	rush            rush
	evicted         uint64
	evictedInFlight uint64
	_               [64]byte // neighbours' locks on other cache lines
}

// slot is a key. It fills a cache line: a store of many keys costs what it costs to fetch one.
type slot struct {
	key        Key
	token      uint64
	until      time.Duration // since the Memory was made: end of the lease, or of the retention
	tag        uint32        // high half of the key's hash; the low one chose the shard
	next, prev uint32
	done       bool
}

// mark is what only some requests have.
type mark struct{ holder, digest uint64 }

const (
	doneList    = 0
	claimedList = 1
	firstSlot   = 2

	slotBits     = 24 // of a token; the other 40 count claims: a million a second for 12 days, times the shards
	maxShardKeys = 1<<slotBits - firstSlot - 1
	minSlots     = 64
)

func (s *shard) init(limit int) {
	s.limit = limit
	s.reset(min(limit+firstSlot, minSlots))
}

// reset empties the slots and makes room for n of them.
func (s *shard) reset(n int) {
	s.slots, s.marks = make([]slot, firstSlot, n), nil
	s.slots[doneList].next, s.slots[doneList].prev = doneList, doneList
	s.slots[claimedList].next, s.slots[claimedList].prev = claimedList, claimedList
	s.table.reset(n)
	s.free = 0
}

// claim answers a request in c, but for its key, and returns until when a busy key's lease runs.
func (s *shard) claim(r *Request, c *Claim, tag uint32, now, retention time.Duration) (until time.Duration) {
	s.sweep(now, retention)
	if i, ok := s.find(r.Key, tag); ok {
		e := &s.slots[i]
		switch {
		case e.until <= now:
			s.drop(i)
		case e.done:
			c.State, c.Digest = Done, s.mark(i).digest
			return 0
		case r.Holder != 0 && s.mark(i).holder == r.Holder:
			c.Token = e.token
			s.extend(i, now+min(r.Lease, longest))
			return 0
		default:
			c.State, c.Digest = Busy, s.mark(i).digest
			return e.until
		}
	}
	c.Token = s.add(r, tag, now+min(r.Lease, longest))
	return 0
}

func (s *shard) renew(token uint64, until time.Duration) error {
	i, ok := s.holder(token)
	if !ok || s.slots[i].done {
		return ErrLost
	}
	s.extend(i, until)
	return nil
}

// extend gives a claim a new lease, and with it the last place among those to be swept.
func (s *shard) extend(i uint32, until time.Duration) {
	s.slots[i].until = until
	s.unlink(i)
	s.link(claimedList, i)
}

func (s *shard) confirm(token uint64, until time.Duration) error {
	i, ok := s.holder(token)
	if !ok {
		return ErrLost
	}
	if e := &s.slots[i]; !e.done {
		s.unlink(i)
		e.done, e.until = true, until
		s.inFlight--
		s.link(doneList, i)
	}
	return nil
}

func (s *shard) release(token uint64) error {
	i, ok := s.holder(token)
	if !ok || s.slots[i].done {
		return ErrLost
	}
	s.drop(i)
	return nil
}

// holder finds the slot of a claim that is its key's newest.
func (s *shard) holder(token uint64) (uint32, bool) {
	i := uint32(token & (1<<slotBits - 1))
	ok := i >= firstSlot && int(i) < len(s.slots) && s.slots[i].token == token
	return i, ok
}

func (s *shard) add(r *Request, tag uint32, until time.Duration) uint64 {
	if s.keys == s.limit {
		s.evict()
	}
	i := s.take()
	s.claims++
	token := s.claims<<slotBits | uint64(i)
	e := &s.slots[i] // field by field: a literal would be made elsewhere, and its copy wait for all that was written before
	e.key.Stage, e.key.ID = r.Key.Stage, r.Key.ID
	e.tag, e.token, e.until, e.done = tag, token, until, false
	s.setMark(i, mark{r.Holder, r.Digest})
	s.link(claimedList, i)
	s.table.insert(tag, i)
	s.keys++
	s.inFlight++
	return token
}

func (s *shard) mark(i uint32) mark {
	if int(i) < len(s.marks) {
		return s.marks[i]
	}
	return mark{}
}

func (s *shard) setMark(i uint32, m mark) {
	if s.marks == nil && m == (mark{}) {
		return
	}
	if int(i) >= len(s.marks) {
		s.marks = append(s.marks, make([]mark, cap(s.slots)-len(s.marks))...)
	}
	s.marks[i] = m
}

// maxSweep bounds what one call forgets, and so how long it may take.
const maxSweep = 16

// sweep forgets completed keys whose time is over. A claim whose lease ended stays for the retention,
// since its holder may still confirm it.
func (s *shard) sweep(now, retention time.Duration) {
	for range maxSweep {
		i := s.slots[doneList].next
		if i == doneList || s.slots[i].until > now {
			break
		}
		s.drop(i)
	}
	if i := s.slots[claimedList].next; i != claimedList && s.slots[i].until+retention <= now {
		s.drop(i)
	}
	if s.keys*4 < len(s.slots) && len(s.slots) > minSlots && s.inFlight == 0 {
		s.shrink()
	}
}

// shrink moves the keys to fewer slots. It renumbers them, so it must wait for a moment without
// claims, whose tokens carry their slot.
func (s *shard) shrink() {
	old, marks := s.slots, s.marks
	s.reset(max(2*s.keys, minSlots))
	for i := old[doneList].next; i != doneList; i = old[i].next {
		n := s.take()
		s.slots[n] = old[i]
		if int(i) < len(marks) {
			s.setMark(n, marks[i])
		}
		s.link(doneList, n)
		s.table.insert(old[i].tag, n)
	}
}

// evict makes room before its time: completed keys go before those in flight.
func (s *shard) evict() {
	if i := s.slots[doneList].next; i != doneList {
		s.evicted++
		s.drop(i)
		return
	}
	s.evictedInFlight++
	s.drop(s.slots[claimedList].next)
}

func (s *shard) drop(i uint32) {
	s.table.remove(s.slots[i].tag, i)
	s.unlink(i)
	s.keys--
	if !s.slots[i].done {
		s.inFlight--
	}
	e := &s.slots[i]
	e.key.Stage, e.key.ID = "", ""
	e.token, e.next = 0, s.free
	s.free = i
}

// take returns an unused slot.
func (s *shard) take() uint32 {
	if i := s.free; i != 0 {
		s.free = s.slots[i].next
		return i
	}
	if len(s.slots) == s.table.room() {
		s.grow()
	}
	s.slots = append(s.slots, slot{})
	return uint32(len(s.slots) - 1)
}

// grow doubles the table, enters every key again, and makes room for as many slots.
func (s *shard) grow() {
	s.table.reset(2 * len(s.slots))
	s.slots = slices.Grow(s.slots, min(s.table.room(), s.limit+firstSlot)-len(s.slots))
	for _, list := range [...]uint32{doneList, claimedList} {
		for i := s.slots[list].next; i != list; i = s.slots[i].next {
			s.table.insert(s.slots[i].tag, i)
		}
	}
}

func (s *shard) link(list, i uint32) {
	last := s.slots[list].prev
	s.slots[i].prev, s.slots[i].next = last, list
	s.slots[last].next, s.slots[list].prev = i, i
}

func (s *shard) unlink(i uint32) {
	e := &s.slots[i]
	s.slots[e.prev].next, s.slots[e.next].prev = e.next, e.prev
}
