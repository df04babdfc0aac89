package lane

// Counts is a consistent picture of an engine.
type Counts struct {
	Accepted uint64
	Runs     uint64           // calls of Runner.Run
	Live     [Outcomes]uint64 // settled, by outcome
	Redriven [Outcomes]uint64
	Resident int // live items beyond the inlet: filed, running, parked and held
	Redrives int // redriven items under way
	Running  int // redriven ones included, as in the rest
	Parked   int
	Held     int
	Lanes    int
	Workers  int  // as asked for
	Capacity int  // the bound on live items, those in the inlet included; see Resize
	Shared   bool // the workers share the items, rather than riding them
	Paused   bool
	Stopped  bool
	HeldKeys []string // at most maxHeldKeys
}

const maxHeldKeys = 100

// Count reads the counters, and calls each (unless nil) for every item beyond the inlet, in no
// order. It costs time in proportion to the lanes.
func (e *Engine[T]) Count(each func(*T)) Counts {
	e.mu.Lock()
	defer e.unlock()
	e.attend()
	rode := e.rode()
	c := Counts{
		Runs: rode + e.starts,
		Live: e.live, Redriven: e.redrive, Resident: e.resident, Redrives: e.redriven,
		Running: e.nRunning, Parked: e.nParked, Held: e.nHeld,
		Lanes: e.lanes.len() + len(e.loose), Workers: e.target,
		Paused: e.paused, Stopped: e.stopped, Shared: e.pace.gait == share,
	}
	c.Live[0] += rode
	c.Accepted = e.Accepted()
	e.surplus = min(e.surplus, e.excess())
	c.Capacity = e.cfg.Bound + e.target + e.surplus
	for ln := range e.all() {
		if ln.where == isHeld && len(c.HeldKeys) < maxHeldKeys {
			c.HeldKeys = append(c.HeldKeys, ln.key)
		}
		for i := 0; each != nil && i < ln.queue.len(); i++ {
			each(&ln.queue.at(i).item)
		}
	}
	for w := range e.workers {
		if each != nil && w.busy {
			each(&w.item)
		}
	}
	return c
}

// Rest is what Engine.Rest counts.
type Rest struct {
	Accepted uint64
	Settled  uint64 // live items
	Stuck    uint64 // live items in lanes that wait for a Release, and all those that wait for the room these take
	Redrives int    // under way, and in no such lane
	Running  int
	Blocked  bool // nothing is started: paused, or stopped by a decision
}

// Rest counts what tells whether anything can still happen: it cannot when as many items as came in
// have settled or are stuck, and no redriven one is under way that is not stuck too.
func (e *Engine[T]) Rest() Rest {
	e.mu.Lock()
	defer e.unlock()
	e.attend()
	r := Rest{Settled: e.Settled(), Redrives: e.redriven, Running: e.nRunning, Blocked: e.paused || e.stopped}
	r.Accepted = e.Accepted()
	for ln := range e.all() {
		if ln.where == isHeld {
			for i := range ln.queue.len() {
				if ln.queue.at(i).redrive {
					r.Redrives--
				} else {
					r.Stuck++
				}
			}
		}
	}
	if !e.hasRoom() && r.Stuck == uint64(e.resident) {
		r.Stuck = r.Accepted - r.Settled
	}
	return r
}

// Tally counts an item that comes in in the place of one that is settled before it came into a lane,
// or is that one: one accepted and one settled, at once, so that no count sees the one without the other.
func (e *Engine[T]) Tally(outcome uint8) {
	e.mu.Lock()
	e.tallied.Add(1)
	e.live[outcome]++
	e.aside.Add(1)
	e.mu.Unlock()
}
