package deadletter

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Memory is a Store in this process's memory: its letters end with the process. It starts no goroutine
// and no timer, and needs no closing. Every method but the ones that read all letters costs O(1), or
// O(log n) of a sequence's length, however many letters there are; none blocks on anything but a short
// lock. Times are time.Now's, so leases run in a testing/synctest bubble.
//
// A letter that was discarded and dies again is a new failure: it takes the discarded one's id and
// notes, stands at the end of its sequence and is Active.
type Memory struct {
	limits MemoryConfig
	prefix string // of the ids, so that those of an earlier process name nothing here
	held   HeldSet

	// mu is taken before a lock of held, and no other lock with it.
	mu        sync.RWMutex
	letters   map[string]*entry
	events    map[eventName]*entry
	sequences map[Sequence]*sequence
	journal   journal
	claims    claims
	ops       operations
	lanes     int // sequences that have an order
	last      uint64
	bytes     int64
	removed   uint64
	states    map[State]int
}

// eventName is what a letter is known by.
type eventName struct{ stage, id string }

// MemoryOption sets the limits of a Memory. MemoryConfig is the one there is.
type MemoryOption interface{ applyMemory(*MemoryConfig) }

// MemoryConfig bounds a Memory. A field that is zero has its default; a negative one is no limit.
type MemoryConfig struct {
	// MaxLetters bounds all letters, discarded ones included. Default 100,000. Beyond it Put
	// returns ErrFull.
	MaxLetters int
	// MaxSequences bounds the sequences that have an order. Default 100,000. Beyond it Put returns
	// ErrFull for the first letter of another one.
	MaxSequences int
	// MaxPerSequence bounds the letters of one sequence, without the discarded ones, so that one
	// key cannot fill the store. Default 25,000. Beyond it Put returns ErrSequenceFull.
	MaxPerSequence int
	// MaxLetterBytes bounds the texts and bytes of one letter. Default 4 MiB. A larger one is
	// refused with ErrTooLarge.
	MaxLetterBytes int64
	// MaxBytes bounds the texts and bytes of all letters. Default 1 GiB. Beyond it Put returns
	// ErrFull.
	MaxBytes int64
}

func (c MemoryConfig) applyMemory(to *MemoryConfig) {
	set(&to.MaxLetters, c.MaxLetters)
	set(&to.MaxSequences, c.MaxSequences)
	set(&to.MaxPerSequence, c.MaxPerSequence)
	set(&to.MaxLetterBytes, c.MaxLetterBytes)
	set(&to.MaxBytes, c.MaxBytes)
}

func set[T int | int64](to *T, v T) {
	if v != 0 {
		*to = v
	}
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory(opts ...MemoryOption) *Memory {
	m := &Memory{
		limits: MemoryConfig{
			MaxLetters: 100_000, MaxSequences: 100_000, MaxPerSequence: 25_000,
			MaxLetterBytes: 4 << 20, MaxBytes: 1 << 30,
		},
		prefix:    strconv.FormatUint(uint64(rand.Uint32()), 36) + "-",
		letters:   map[string]*entry{},
		events:    map[eventName]*entry{},
		sequences: map[Sequence]*sequence{},
		claims:    claims{of: map[Sequence]lease{}},
		states:    map[State]int{},
	}
	for _, o := range opts {
		o.applyMemory(&m.limits)
	}
	return m
}

// Put implements Keeper. The letter is copied.
func (m *Memory) Put(_ context.Context, l *Letter) (Receipt, error) {
	c := l.Clone()
	c.Prepare(time.Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.put(c)
}

// Divert implements Keeper. The letter is copied.
func (m *Memory) Divert(_ context.Context, l *Letter) (r Receipt, held bool, err error) {
	if !l.Ordered || !m.held.Has(l.Stage, l.Key) {
		return Receipt{}, false, nil
	}
	c := l.Clone()
	c.Prepare(time.Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sequences[c.Sequence()]
	if s == nil || s.holding == 0 {
		return Receipt{}, false, nil
	}
	c.Follow(s.line[0].l)
	r, err = m.put(c)
	return r, true, err
}

// MayHold implements Keeper. It is exact for letters put here, and does not allocate: while nothing is
// held anywhere it costs one atomic load.
func (m *Memory) MayHold(stage, key string) bool { return m.held.Has(stage, key) }

// Resolve implements Keeper.
func (m *Memory) Resolve(_ context.Context, c Claim, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.claimed(c, id)
	if err != nil {
		return err
	}
	m.remove(e)
	m.countOperation(c, id, nil)
	return nil
}

// Fail implements Keeper.
func (m *Memory) Fail(_ context.Context, c Claim, id string, f Failure) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.claimed(c, id)
	if err != nil {
		return err
	}
	l := *e.l
	l.Fail(f, c.By, time.Now())
	m.replace(e, &l)
	m.countOperation(c, id, &f)
	return nil
}

// put stores l, unless it is there already. The caller holds mu.
func (m *Memory) put(l *Letter) (Receipt, error) {
	old := m.events[eventName{l.Stage, l.EventID}]
	if old != nil && (live(old.l) || !live(l)) {
		return Receipt{ID: old.l.ID, Existed: true}, nil
	}
	l.ID = "" // the store's to give
	if err := m.room(l, old); err != nil {
		return Receipt{}, err
	}
	if old != nil {
		l.Replace(old.l, l.UpdatedAt)
		m.remove(old)
	}
	m.insert(l)
	return Receipt{ID: l.ID}, nil
}

// room returns the limit that l, in the place of old, would break.
func (m *Memory) room(l *Letter, old *entry) error {
	size, all, per := l.Size(), len(m.letters), 0
	var s *sequence
	if l.Ordered { // one without an order is a sequence of its own, which its id names when it has one
		s = m.sequences[l.Sequence()]
	}
	if s != nil {
		per = len(s.line)
	}
	bytes := m.bytes
	if old != nil {
		all--
		bytes -= old.size
	}
	switch {
	case over(size-1, m.limits.MaxLetterBytes):
		return fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, size, m.limits.MaxLetterBytes)
	case over(per, m.limits.MaxPerSequence):
		return fmt.Errorf("%w: stage %s has %d letters of one key", ErrSequenceFull, l.Stage, per)
	case over(all, m.limits.MaxLetters):
		return fmt.Errorf("%w: %d letters", ErrFull, all)
	case s == nil && l.Ordered && over(m.lanes, m.limits.MaxSequences):
		return fmt.Errorf("%w: %d sequences", ErrFull, m.lanes)
	case over(bytes+size-1, m.limits.MaxBytes):
		return fmt.Errorf("%w: %d bytes", ErrFull, bytes)
	}
	return nil
}

// over reports whether one more than n breaks the limit.
func over[T int | int64](n, limit T) bool { return limit > 0 && n >= limit }

func (m *Memory) insert(l *Letter) {
	m.last++
	if l.ID == "" {
		l.ID = m.prefix + strconv.FormatUint(m.last, 36)
	}
	e := &entry{n: m.last, l: l, seq: l.Sequence(), size: l.Size()}
	m.letters[l.ID] = e
	if l.EventID != "" {
		m.events[eventName{l.Stage, l.EventID}] = e
	}
	m.journal.add(e)
	m.bytes += e.size
	m.states[l.State]++
	m.sequence(e.seq).letters++
	if live(l) {
		m.enter(e)
	}
}

func (m *Memory) remove(e *entry) {
	if live(e.l) {
		m.leave(e)
	}
	m.forget(e.seq)
	m.states[e.l.State]--
	m.bytes -= e.size
	delete(m.letters, e.l.ID)
	delete(m.events, eventName{e.l.Stage, e.l.EventID})
	m.journal.remove(e)
}

// replace puts l in the stead of e's letter. A sequence that goes on being held is held throughout:
// MayHold asks without the lock.
func (m *Memory) replace(e *entry, l *Letter) {
	was, is := live(e.l), live(l)
	m.states[e.l.State]--
	m.states[l.State]++
	size := l.Size()
	m.bytes += size - e.size
	e.l, e.size = l, size
	switch {
	case was && !is:
		m.leave(e)
	case is && !was:
		m.enter(e)
	}
}

// enter takes e into its sequence's line, which it may hold from now on.
func (m *Memory) enter(e *entry) {
	s := m.sequences[e.seq]
	s.line.add(e)
	if !e.l.Holds {
		return
	}
	if s.holding++; s.holding == 1 {
		m.held.Set(e.seq.Stage, e.seq.Key, true)
	}
}

// leave takes e out of its sequence's line; the last one that holds opens the sequence.
func (m *Memory) leave(e *entry) {
	s := m.sequences[e.seq]
	s.line.remove(e)
	if !e.l.Holds {
		return
	}
	if s.holding--; s.holding == 0 {
		m.held.Set(e.seq.Stage, e.seq.Key, false)
	}
}

func (m *Memory) sequence(name Sequence) *sequence {
	s := m.sequences[name]
	if s == nil {
		s = &sequence{}
		m.sequences[name] = s
		if name.Solo == "" {
			m.lanes++
		}
	}
	return s
}

// forget takes one letter off a sequence's count; an empty sequence is none.
func (m *Memory) forget(name Sequence) {
	s := m.sequences[name]
	if s.letters--; s.letters > 0 {
		return
	}
	delete(m.sequences, name)
	if name.Solo == "" {
		m.lanes--
	}
}
