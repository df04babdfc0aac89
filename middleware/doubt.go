package middleware

import (
	"errors"
	"sync"
)

// doubts are the events whose letter may be in the store although the store did not say so. Such an event is
// still in its lane and stores its letter again; a redrive of that letter meanwhile would handle the event
// before it has become a letter, and again afterwards.
type doubts struct {
	mu      sync.Mutex
	of      map[string]int // by the event's identity
	flights map[string]int // of those that are being stored, whose answer is on its way
}

// errDoubt refuses a redrive of an event in doubt; the letter stays as it is.
var errDoubt = errors.New("its event is still being stored; redrive it when the store answers")

// storing is called before an event's letter is stored, and what it returns after that, and after add. A letter is
// there before its store says so; an event without a lane holds up no redrive of it.
func (s *doubts) storing(id string) (done func()) {
	s.count(&s.flights, id, 1)
	return func() { s.count(&s.flights, id, -1) }
}

// inFlight reports whether the event's letter is being stored.
func (s *doubts) inFlight(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[id] > 0
}

func (s *doubts) count(in *map[string]int, id string, by int) {
	if id == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if *in == nil {
		*in = map[string]int{}
	}
	if (*in)[id] += by; (*in)[id] == 0 {
		delete(*in, id)
	}
}

func (s *doubts) add(u *unsettled) {
	if u.doubted || u.letter.EventID == "" {
		return
	}
	u.doubted = true
	s.count(&s.of, u.letter.EventID, 1)
}

// settle ends a doubt: the event is in the store, or runs.
func (s *doubts) settle(u *unsettled) {
	if !u.doubted {
		return
	}
	u.doubted = false
	s.count(&s.of, u.letter.EventID, -1)
}

func (s *doubts) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[id] > 0
}
