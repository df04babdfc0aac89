package lane

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"
)

// runBudget is how many items of one lane a worker runs in a row while other lanes are waiting.
const runBudget = 8

// maxFree bounds the empty lanes kept for use again.
const maxFree = 64

// cacheLine keeps what publishers write and what riders write apart.
type cacheLine [64]byte

// Engine runs the items of one stage.
type Engine[T any] struct {
	cfg   Config[T]
	inlet inlet[T]
	_     cacheLine

	tracks   []track[T]  // of those that ride; see track.go
	watching atomic.Bool // the watcher's timer is set
	beckoned atomic.Bool // a rider is to look under the lock before it waits
	_        cacheLine

	aside    atomic.Int64  // settled, as far as the tracks do not count it
	tallied  atomic.Uint64 // accepted, but never in the inlet
	placed   atomic.Uint64 // taken from the inlet, but not to be ridden
	capacity atomic.Int64  // the bound on live items

	wake    chan struct{} // wakes a rider that waits: one signal for each that was roused
	group   conc.WaitGroup
	watcher *time.Timer // steals rides that last; made by Start
	alarm   *time.Timer // for the earliest parked item; made by Start
	stepper *worker[T]

	mu        sync.Mutex            // guards all below
	lanes     index[T]              // partly read without the lock
	loose     map[*lane[T]]struct{} // lanes of single items without a key
	ready     readyQueue[T]
	parked    dueHeap[T]
	free      []*lane[T]
	workers   map[*worker[T]]struct{}
	idle      []*worker[T] // those that wait to be called
	called    int          // those that were called and have not come yet
	riders    int          // those that receive without the lock
	alone     bool         // the only one of them takes no turns
	pace      pace
	target    int       // how many workers there should be
	alarmAt   time.Time // what alarm is set to; zero for nothing
	rang      bool      // the alarm went off, and nobody has looked yet
	took      bool      // to be told by unlock
	atRest    bool      // to be told by unlock
	inletTurn bool
	started   bool
	paused    bool
	stopped   bool // by a decision to Stop
	ending    bool
	draining  bool
	hurried   bool // there was an Expedite
	abandoned bool
	surplus   int // live items above the bound when a Resize lowered it
	resident  int // live items taken from the inlet and not settled, but for one that is ridden
	redriven  int // redriven items not settled
	nRunning  int
	nParked   int
	nHeld     int
	starts    uint64 // runs that did not begin as a ride
	places    uint64 // of all crews
	live      [Outcomes]uint64
	redrive   [Outcomes]uint64
}

// New makes an engine that runs nothing until Start or Step.
func New[T any](cfg Config[T]) *Engine[T] {
	if cfg.Bound == 0 {
		cfg.Bound = cfg.Inlet + cfg.Room
	}
	e := &Engine[T]{
		cfg: cfg, tracks: make([]track[T], min(runtime.GOMAXPROCS(0), maxTracks)),
		lanes: newIndex[T](), loose: map[*lane[T]]struct{}{},
		workers: map[*worker[T]]struct{}{}, target: cfg.Workers,
	}
	e.wake, e.pace = make(chan struct{}, len(e.tracks)), newPace()
	e.pace.riders = e.mostRiders()
	if e.ready = newReadyQueue(cfg.Levels, cfg.Level); e.hasLevels() {
		e.pace.fixed = true // shared: who rides chooses nothing
	}
	e.inlet.initialise(cfg.Inlet, cfg.DropsOldest)
	e.remark(attention)
	e.capacity.Store(int64(cfg.Bound + cfg.Workers))
	e.stepper = e.newWorker()
	return e
}

// Admits reports whether another item may come in: there is a slot in the inlet, and the bound is not reached. Like Send
// it is called by one goroutine at a time. It looks at what the workers write only when what it knew is used up.
func (e *Engine[T]) Admits() bool {
	return e.inlet.tail.Load() < e.inlet.upTo || e.AdmitsNow()
}

// AdmitsNow is Admits, of what there is now. It is to be called after a Resize.
func (e *Engine[T]) AdmitsNow() bool {
	q := &e.inlet
	bound := e.Settled() + uint64(e.capacity.Load()) // on all that were accepted
	q.upTo = min(e.taken()+q.size, bound-e.tallied.Load())
	return q.tail.Load() < q.upTo
}

// Send puts an item into the inlet, which admits one. It is accepted from then on.
func (e *Engine[T]) Send(item T) {
	if e.inlet.send(item) {
		e.wake <- struct{}{}
	}
}

// Replace takes out the item that is next, if no worker has seen it, counts it as settled under outcome, and sends
// another. Whoever counts sees both or none of that: in between there would be room. It is called by senders.
func (e *Engine[T]) Replace(by T, outcome uint8) (item T, ok bool) {
	e.mu.Lock()
	e.inlet.take()
	wake := false
	if ok = e.inlet.receive(&item); ok {
		e.placed.Add(1)
		e.live[outcome]++
		e.aside.Add(1)
		wake = e.inlet.send(by)
	}
	e.inlet.turn.Unlock()
	e.mu.Unlock()
	if wake {
		e.wake <- struct{}{}
	}
	return item, ok
}

// Queued is how many items wait that no worker has seen, and Slots how many can.
func (e *Engine[T]) Queued() int {
	taken := e.taken() // first: it never passes the tail
	return int(e.inlet.tail.Load() - taken)
}

// Slots is described at Queued.
func (e *Engine[T]) Slots() int { return e.cfg.Inlet }

// Accepted is how many items came in, or were tallied.
func (e *Engine[T]) Accepted() uint64 { return e.inlet.tail.Load() + e.tallied.Load() }

// Start starts the workers.
func (e *Engine[T]) Start() {
	e.mu.Lock()
	e.started = true
	e.watcher = time.AfterFunc(time.Hour, e.watch)
	e.alarm = time.AfterFunc(time.Hour, e.ring)
	e.watcher.Stop()
	e.alarm.Stop()
	e.hire()
	e.unlock()
}

// hire starts workers until there are as many as there should be: none before Start, and none after End,
// when nobody might be left to wait for them.
func (e *Engine[T]) hire() {
	for e.started && !e.ending && len(e.workers) < e.target {
		w := e.newWorker()
		e.workers[w] = struct{}{}
		e.group.Go(w.work)
	}
}

// Resize changes the number of workers. A surplus worker leaves when it has finished its item. What the
// larger number let in stays: the bound sinks with what settles.
// Senders may go on by the bound that they know, until one calls AdmitsNow.
func (e *Engine[T]) Resize(n int) {
	e.mu.Lock()
	e.attend()
	e.target = n
	e.pace.riders = e.mostRiders()
	e.capacity.Store(int64(e.cfg.Bound + n))
	e.surplus = max(e.surplus, e.excess())
	e.hire()
	e.unlock()
}

// excess is how many live items there are above the bound.
func (e *Engine[T]) excess() int {
	settled := e.Settled()
	return max(0, int(e.Accepted()-settled)-e.cfg.Bound-e.target)
}

// Pause stops (or resumes) starting items; those that run go on.
func (e *Engine[T]) Pause(on bool) {
	e.mu.Lock()
	e.attend()
	e.paused = on
	e.unlock()
}

// Drain makes the engine call Config.Idle when there is nothing left to run.
func (e *Engine[T]) Drain() {
	e.mu.Lock()
	e.attend()
	e.draining = true
	e.unlock()
}

// End makes the workers leave, each when it has finished its item. Nothing more is started.
func (e *Engine[T]) End() {
	e.mu.Lock()
	e.attend()
	e.ending = true
	if e.started {
		e.watcher.Stop()
		e.alarm.Stop()
	}
	e.unlock()
}

// Wait waits for the workers to leave.
func (e *Engine[T]) Wait() { e.group.Wait() }

// Release makes the held items at the head of key's lanes runnable, after it has called each, unless nil, for them, and
// returns how many there were.
func (e *Engine[T]) Release(key string, each func(*T)) int {
	e.mu.Lock()
	defer e.unlock()
	n := 0
	for ln := range e.all() {
		if ln.key == key && ln.where == isHeld {
			if each != nil {
				each(&ln.queue.at(0).item)
			}
			e.wakeUp(ln.queue.at(0))
			e.arrange(ln)
			n++
		}
	}
	return n
}

// Expedite makes the parked items that match due now. It costs time in proportion to the lanes.
func (e *Engine[T]) Expedite(match func(*T) bool) {
	e.mu.Lock()
	defer e.unlock()
	e.hurried = true
	for ln := range e.all() {
		e.displace(ln)
		for i := range ln.queue.len() {
			if n := ln.queue.at(i); !n.held && !n.due.IsZero() && match(&n.item) {
				e.wakeUp(n)
			}
		}
		if ln.where == nowhere {
			e.arrange(ln)
		}
	}
}

// unlock gives up the lock, and then sees to what has changed: it calls a worker where one is wanted, wakes
// a rider, sets the alarm, and tells the owner.
func (e *Engine[T]) unlock() {
	var w *worker[T]
	nudge := false
	if e.started {
		if w = e.summon(); w == nil {
			nudge = e.riders > 0 && e.called == 0 && (e.hasReady() || e.blocked() || len(e.workers) > e.target)
			if nudge {
				e.remark(attention)
			}
		}
		e.setAlarm()
	}
	took, atRest := e.took, e.atRest
	e.took, e.atRest = false, false
	e.mu.Unlock()
	if w != nil {
		w.call <- struct{}{} // has room: a worker is called once for each wait
	}
	if nudge {
		e.nudge()
	}
	if took {
		e.cfg.Took()
	}
	if atRest {
		e.cfg.Idle()
	}
}

// nudge has a rider look under the lock, now or before it waits next.
func (e *Engine[T]) nudge() {
	e.beckoned.Store(true)
	if e.inlet.rouse() {
		e.wake <- struct{}{}
	}
}

// summon takes an idle worker off the list, when there is something for it to do and none has been called for
// that yet. It sees to the next itself when it has come.
func (e *Engine[T]) summon() *worker[T] {
	n := len(e.idle)
	if n == 0 || e.called > 0 {
		return nil
	}
	if !e.ending && len(e.workers) <= e.target &&
		(e.blocked() || !e.hasReady() && (!e.mayLead() || !e.hasRoom())) {
		return nil
	}
	w := e.idle[n-1]
	e.idle[n-1] = nil
	e.idle = e.idle[:n-1]
	e.called++
	return w
}

// blocked reports whether nothing may be started.
func (e *Engine[T]) blocked() bool { return e.paused || e.stopped || e.ending }

func (e *Engine[T]) hasRoom() bool { return e.roomBeside(0) }

// setAlarm sets the alarm to the due time of the earliest parked item.
func (e *Engine[T]) setAlarm() {
	switch {
	case e.ending || e.rang:
	case len(e.parked) == 0:
		if !e.alarmAt.IsZero() {
			e.alarm.Stop()
			e.alarmAt = time.Time{}
		}
	default:
		if due := e.parked[0].queue.at(0).due; due != e.alarmAt {
			e.alarmAt = due
			e.alarm.Reset(time.Until(due))
		}
	}
}

// ring is the alarm. It leaves it to a worker to make ready what is due.
func (e *Engine[T]) ring() {
	e.mu.Lock()
	e.alarmAt, e.rang = time.Time{}, true
	e.unlock()
}

// hasReady reports whether a lane is ready, or may be.
func (e *Engine[T]) hasReady() bool { return e.rang || e.ready.len() > 0 }
