package middleware

import (
	"errors"
	"sync"
)

// doubts are the events whose letter may be in the store although the store did not say so. Such an event is
// still in its lane and stores its letter again; a redrive of that letter meanwhile would handle the event
// before it has become a letter, and again afterwards.
type doubts struct {
	mu sync.Mutex
	of map[string]int // by the event's identity
}

// errDoubt refuses a redrive of an event in doubt; the letter stays as it is.
var errDoubt = errors.New("its event is still being stored; redrive it when the store answers")

func (s *doubts) add(u *unsettled) {
	if u.doubted || u.letter.EventID == "" {
		return
	}
	u.doubted = true
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.of[u.letter.EventID]++
}

// settle ends a doubt: the event is in the store, or runs.
func (s *doubts) settle(u *unsettled) {
	if !u.doubted {
		return
	}
	u.doubted = false
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[u.letter.EventID]--; s.of[u.letter.EventID] == 0 {
		delete(s.of, u.letter.EventID)
	}
}

func (s *doubts) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[id] > 0
}
