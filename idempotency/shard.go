package idempotency

import (
	"sync"
	"time"
)

// A shard keeps its keys in slots, found through an open-addressing table and chained in two lists:
// the completed ones and those in flight, each oldest first. Retention is one time for all, so the
// oldest completed key is the next to expire and expiry needs no heap. The number of a slot is the
// low part of its claim's token, so Confirm and Release find it without looking the key up.
type shard struct {
	mu              sync.Mutex // guards all below; held for no call out and no wait
	slots           slots      // 0 and 1 are the lists' ends
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

// mark is what only some requests have.
type mark struct{ holder, digest uint64 }

const (
	doneList    = 0
	claimedList = 1
	firstSlot   = 2

	slotBits     = 24 // of a token; the other 40 count claims: a million a second for 12 days, times the shards
	maxShardKeys = 1<<slotBits - firstSlot - 1
)

func (s *shard) init(limit int) {
	s.limit = limit
	s.reset(min(limit+firstSlot, piece))
}

// reset forgets all, with a table for n slots.
func (s *shard) reset(n int) {
	s.slots, s.marks, s.free = slots{}, nil, 0
	for list := range uint32(firstSlot) {
		s.slots.add()
		end := s.slots.at(list)
		end.next, end.prev = list, list
	}
	s.table.reset(n)
}

// claim answers a request in c, but for its key, and returns until when a busy key's lease runs.
func (s *shard) claim(r *Request, c *Claim, tag uint32, now, retention time.Duration) (until time.Duration) {
	s.sweep(now, retention)
	if s.keys == s.limit {
		s.table.fetch(s.slots.at(s.slots.at(doneList).next).tag) // of the key that is likely to go
	}
	if i, ok := s.find(r.Key, tag); ok {
		e := s.slots.at(i)
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
	if !ok || s.slots.at(i).done {
		return ErrLost
	}
	s.extend(i, until)
	return nil
}

// extend gives a claim a new lease, and with it the last place among those to be swept.
func (s *shard) extend(i uint32, until time.Duration) {
	e := s.slots.at(i)
	e.until = until
	s.unlink(e)
	s.link(claimedList, i, e)
}

func (s *shard) confirm(token uint64, until time.Duration) error {
	i, ok := s.holder(token)
	if !ok {
		return ErrLost
	}
	if e := s.slots.at(i); !e.done {
		s.unlink(e)
		e.done, e.until = true, until
		s.inFlight--
		s.link(doneList, i, e)
	}
	return nil
}

func (s *shard) release(token uint64) error {
	i, ok := s.holder(token)
	if !ok || s.slots.at(i).done {
		return ErrLost
	}
	s.drop(i)
	return nil
}

// holder finds the slot of a claim that is its key's newest.
func (s *shard) holder(token uint64) (uint32, bool) {
	i := uint32(token & (1<<slotBits - 1))
	ok := i >= firstSlot && i < s.slots.made && s.slots.at(i).token == token
	return i, ok
}

func (s *shard) add(r *Request, tag uint32, until time.Duration) uint64 {
	var i uint32
	if s.keys == s.limit {
		i = s.evict()
	} else {
		i = s.take()
	}
	s.claims++
	token := s.claims<<slotBits | uint64(i)
	e := s.slots.at(i) // field by field: a literal would be made elsewhere, and its copy wait for all that was written before
	e.key.Stage, e.key.ID = r.Key.Stage, r.Key.ID
	e.tag, e.token, e.until, e.done = tag, token, until, false
	s.setMark(i, mark{r.Holder, r.Digest})
	s.link(claimedList, i, e)
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
		s.marks = append(s.marks, make([]mark, s.slots.room()-len(s.marks))...)
	}
	s.marks[i] = m
}

// maxSweep bounds what one call forgets, and so how long it may take.
const maxSweep = 16

// sweep forgets completed keys whose time is over. A claim whose lease ended stays for the retention,
// since its holder may still confirm it.
func (s *shard) sweep(now, retention time.Duration) {
	for range maxSweep {
		i := s.slots.at(doneList).next
		if i == doneList || s.slots.at(i).until > now {
			break
		}
		s.drop(i)
	}
	if i := s.slots.at(claimedList).next; i != claimedList && s.slots.at(i).until+retention <= now {
		s.drop(i)
	}
	if s.slots.made > piece && s.keys*4 < int(s.slots.made) && s.inFlight == 0 {
		s.shrink()
	}
}

// shrink moves the keys to fewer slots. It renumbers them, so it must wait for a moment without
// claims, whose tokens carry their slot.
func (s *shard) shrink() {
	old, marks := s.slots, s.marks
	s.reset(max(2*s.keys, piece))
	for i := old.at(doneList).next; i != doneList; i = old.at(i).next {
		n := s.take()
		e := s.slots.at(n)
		*e = *old.at(i)
		if int(i) < len(marks) {
			s.setMark(n, marks[i])
		}
		s.link(doneList, n, e)
		s.table.insert(e.tag, n)
	}
}

// evict forgets a key before its time and returns its slot: completed keys go before those in flight.
func (s *shard) evict() uint32 {
	i := s.slots.at(doneList).next
	if i != doneList {
		s.evicted++
	} else {
		s.evictedInFlight++
		i = s.slots.at(claimedList).next
	}
	s.forget(i, s.slots.at(i))
	return i
}

// drop forgets a key and keeps its slot for another.
func (s *shard) drop(i uint32) {
	e := s.slots.at(i)
	s.forget(i, e)
	e.key.Stage, e.key.ID = "", ""
	e.token, e.next = 0, s.free
	s.free = i
}

func (s *shard) forget(i uint32, e *slot) {
	s.table.remove(e.tag, i)
	s.unlink(e)
	s.keys--
	if !e.done {
		s.inFlight--
	}
}

// take returns an unused slot.
func (s *shard) take() uint32 {
	if i := s.free; i != 0 {
		s.free = s.slots.at(i).next
		return i
	}
	if int(s.slots.made) >= s.table.room() {
		s.table.double()
	}
	return s.slots.add()
}

// link makes e, which is slot i, the last of a list.
func (s *shard) link(list, i uint32, e *slot) {
	end := s.slots.at(list)
	e.prev, e.next = end.prev, list
	s.slots.at(end.prev).next, end.prev = i, i
}

func (s *shard) unlink(e *slot) {
	s.slots.at(e.prev).next, s.slots.at(e.next).prev = e.next, e.prev
}
