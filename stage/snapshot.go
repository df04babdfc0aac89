package stage

import (
	"fmt"
	"maps"
	"time"
)

// Snapshot is a picture of a stage at one moment. Every accepted event is settled under exactly one of
// the outcomes or still resident; Sum says whether the figures agree.
type Snapshot struct {
	Name  string
	Topic string

	Accepted     uint64
	Done         uint64
	DeadLettered uint64
	Diverted     uint64
	Dropped      uint64
	Duplicate    uint64
	Failed       uint64
	Returned     uint64

	// Resident events: accepted and not settled. Running, Parked and Held count redriven letters too,
	// Queued does not.
	Queued  int
	Running int
	Parked  int
	Held    int
	// Redriving is how many redriven letters are among them.
	Redriving int

	Redriven       uint64 // dead letters that were handled when redriven
	RedrivenFailed uint64

	Attempts uint64 // calls of the chain
	Retries  uint64 // attempts that asked for another
	Panics   uint64

	// Reasons counts the dropped events by reason.
	Reasons map[string]uint64
	// HeldKeys are keys that wait for a release, at most 100 of them.
	HeldKeys []string
	// Oldest is when the longest resident event that a worker has seen was accepted; zero for none. Like
	// event.Meta.Time it may be some milliseconds early under load.
	Oldest time.Time

	Lanes    int // keys, and keyless events, that have a lane
	Workers  int
	Capacity int // the bound on resident events, and on what is running, parked and held
	Paused   bool
	Halted   bool
}

// Resident is how many accepted events have not settled.
func (s *Snapshot) Resident() int { return int(s.Accepted) - int(s.Settled()) }

// Settled is how many accepted events have ended.
func (s *Snapshot) Settled() uint64 {
	return s.Done + s.DeadLettered + s.Diverted + s.Dropped + s.Duplicate + s.Failed + s.Returned
}

// Sum returns an error unless the figures add up, that is, unless no event was lost or counted twice:
// settled is at most accepted, what is resident is within the capacity, and, at rest, nothing is.
func (s *Snapshot) Sum(atRest bool) error {
	switch {
	case s.Resident() < 0:
		return fmt.Errorf("stage: %s: %d events settled of %d accepted", s.Name, s.Settled(), s.Accepted)
	case s.Queued < 0:
		return fmt.Errorf("stage: %s: %d running, parked or held, but %d resident", s.Name, s.Running+s.Parked+s.Held, s.Resident())
	case s.Resident() > s.Capacity:
		return fmt.Errorf("stage: %s: %d events resident, above the capacity of %d", s.Name, s.Resident(), s.Capacity)
	case atRest && (s.Resident() != 0 || s.Lanes != 0 || s.Redriving != 0):
		return fmt.Errorf("stage: %s: at rest, but %d events resident in %d lanes, %d redriving", s.Name, s.Resident(), s.Lanes, s.Redriving)
	}
	return nil
}

// Snapshot is described at Runtime. It costs time in proportion to the resident events.
func (s *running[T]) Snapshot() Snapshot {
	oldest := time.Time{}
	c := s.engine.Count(func(p **item[T]) {
		if t := (*p).event.Time; oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	})
	n := Snapshot{
		Name: s.name, Topic: s.plain.topic.Name(), Accepted: c.Accepted,
		Done: c.Live[OutcomeDone], DeadLettered: c.Live[OutcomeDeadLettered], Diverted: c.Live[OutcomeDiverted], Dropped: c.Live[OutcomeDropped],
		Duplicate: c.Live[OutcomeDuplicate], Failed: c.Live[OutcomeFailed], Returned: c.Live[OutcomeReturned],
		Running: c.Running, Parked: c.Parked, Held: c.Held, Redriving: c.Redrives,
		Redriven: c.Redriven[OutcomeDone], RedrivenFailed: c.Redriven[OutcomeFailed],
		Attempts: c.Runs - s.tally.untried.Load(), Retries: s.tally.retries.Load(), Panics: s.tally.panics.Load(),
		HeldKeys: c.HeldKeys, Oldest: oldest, Lanes: c.Lanes, Workers: c.Workers,
		Capacity: c.Capacity + cap(s.redrives), Paused: c.Paused, Halted: c.Stopped,
	}
	n.Queued = n.Resident() + n.Redriving - n.Running - n.Parked - n.Held
	s.tally.mu.Lock()
	n.Reasons = maps.Clone(s.tally.reasons)
	s.tally.mu.Unlock()
	return n
}
