package stage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage/internal/lane"
)

// Runtime is a stage at work, whatever its type: what a pipeline drives.
type Runtime interface {
	Name() string
	// Start starts the workers.
	Start()
	// Step runs one attempt at one event on the caller's goroutine, if one may run now; only, unless
	// fresh, one that came out of the intake before. The handler's context derives from ctx. Not while
	// workers run, nor by two goroutines at once.
	Step(ctx context.Context, fresh bool) bool
	// NextDue returns when the next parked event is due.
	NextDue() (time.Time, bool)
	// Drain applies the drain policy to parked events from now on.
	Drain()
	// AtRest reports whether nothing can happen any more but by a release: every accepted event has
	// settled, or waits behind a held one or in a paused stage.
	AtRest() bool
	// Jammed reports whether a publisher waits for room that nothing but a release can make.
	Jammed() bool
	// Interrupt ends the handlers' contexts with ErrShutdown.
	Interrupt()
	// End makes the workers leave after what they are at; Wait waits for them.
	End()
	Wait()
	// Abandon hands back every event that has not settled, those of a key in their order.
	Abandon(cause error) []Unfinished
	// SettlesLetters reports whether the stage has a middleware that settles redriven letters.
	SettlesLetters() bool
	// Redrive begins to run a dead letter; the channel gets how it ended. It enters the stage within gate, which
	// may refuse it.
	Redrive(ctx context.Context, r Redriven, gate Gate) (<-chan error, error)
	// Release lets the held events of a key go on; it returns how many there were.
	Release(key string) int
	// Skip drops the held events at the head of a key's lanes and lets what is behind them go on; it
	// returns how many there were.
	Skip(key string) int
	Pause(on bool)
	Resize(workers int)
	Snapshot() Snapshot
}

// Unfinished is an event that a shutdown handed back.
type Unfinished struct {
	Stage   string
	Meta    event.Meta
	Payload any
	// State is what it was doing: "queued", "running" (its handler has not returned, and may yet
	// finish), "parked" or "held"; or "refused" for what a source brought too late.
	State    string
	Attempts int // that had failed
	// Letter is the id of the dead letter, where a redrive was under way; it is in its store as before.
	Letter string
}

// running is a stage of payloads T at work.
type running[T any] struct {
	name   string
	index  int // in the door
	set    settings
	host   *Host
	plain  *plain[T]
	door   *Door[T]
	engine *lane.Engine[*item[T]]
	pool   *pool[T]
	chain  Handler
	names  []Middleware
	newBox func() any
	ownKey func(T) string
	level  func(event.Event[T]) int // nil without levels

	notifies bool // somebody is to be told of each event that ends

	ctx      context.Context // of the handlers, while workers run
	cancel   context.CancelCauseFunc
	base     context.Context // of the handlers; written only while no handler runs
	redrives chan struct{}   // bounds the redrives under way

	room     room
	keys     keyCounts
	working  atomic.Bool // workers run
	draining atomic.Bool
	tally    tally
}

func newRunning[T any](d *Stage, h *Host, p *plain[T], chain []Middleware, door *Door[T], newBox func() any) *running[T] {
	s := &running[T]{
		name: d.name, index: len(door.stages), set: d.set, host: h, plain: p, door: door,
		names: chain, newBox: newBox, redrives: make(chan struct{}, d.set.workers),
	}
	s.ownKey, _ = d.set.key.(func(T) string)
	s.level, _ = d.set.level.(func(event.Event[T]) int)
	s.notifies = h.Observer.Settled != nil || d.set.maxPerKey > 0
	s.room.token = make(chan struct{}, 1)
	s.keys.freed = make(chan struct{})
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.ctx = at(s.ctx, &mark{h, s.name})
	s.base = s.ctx
	s.chain = Chain(s.innermost, chain...)
	s.pool = newPool[T](d.set.buffer+d.set.workers, d.set.workers)
	rooms := d.set.buffer / 2
	if s.level != nil {
		rooms = d.set.buffer // what waits in the inlet could not be chosen
	}
	s.engine = lane.New(lane.Config[*item[T]]{
		Workers: d.set.workers, Inlet: d.set.buffer, Room: rooms, Bound: d.set.buffer, DropsOldest: d.set.overflow == DropOldest,
		Key: s.key, OneKey: d.set.order == Serial, Level: s.levelOf, Levels: d.set.levels, NewRunner: s.newRunner, Took: s.took, Idle: h.Quiet,
	})
	door.stages = append(door.stages, s)
	door.asks = door.asks || s.asks()
	door.reads = door.reads || s.asks()
	door.drops = door.drops || s.drops()
	return s
}

// laneKey returns the key whose order the stage keeps for an item, whatever its order; empty for none.
func (s *running[T]) laneKey(it *item[T]) string {
	if it.x != nil && it.x.letter != nil {
		return it.x.letter.lane
	}
	if s.ownKey != nil {
		return it.own.key
	}
	return it.event.Key
}

// keyIn is the laneKey of an event that was not accepted yet.
func (s *running[T]) keyIn(c *candidate) string {
	if s.ownKey != nil {
		return c.own(s.index).key
	}
	return c.meta.Key
}

// key is what the engine asks.
func (s *running[T]) key(p **item[T]) (string, bool) { return s.keyOf(*p) }

func (s *running[T]) keyOf(it *item[T]) (string, bool) {
	if it.event.Header != nil && it.event.IsUnordered() {
		return "", false
	}
	switch s.set.order {
	case Serial:
		return "", true
	case PerKey:
		key := s.laneKey(it)
		return key, key != ""
	}
	return "", false
}

// drops reports whether the stage drops an event when it is full.
func (s *running[T]) drops() bool { return s.set.overflow > Reject }

// item makes an item of a candidate that is accepted. It is called under the door's lock.
func (s *running[T]) item(c *candidate, payload *T) *item[T] {
	if s.set.maxPerKey > 0 {
		s.enter(c)
	}
	it := s.pool.get()
	it.fill(c, payload)
	if s.asks() {
		it.own = *c.own(s.index)
	}
	return it
}

// take puts an item into the inlet, or drops one as the overflow mode says and returns it; nil for none.
func (s *running[T]) take(c *candidate, payload *T) (gone *item[T]) {
	full := !s.admits(c)
	it := s.item(c, payload)
	if full && s.set.overflow == DropOldest {
		if gone, ok := s.engine.Replace(it, uint8(OutcomeDropped)); ok {
			return gone
		}
		full = !s.admits(c) // nothing is left that no worker has seen
	}
	if full {
		s.engine.Tally(uint8(OutcomeDropped))
		return it
	}
	s.engine.Send(it)
	return nil
}

// dropped tells all who asked of an item that an overflow mode dropped.
func (s *running[T]) dropped(it *item[T]) {
	s.tally.reason("overflow")
	s.ended(it, OutcomeDropped, ErrFull)
}

// ended tells all who asked of an item that ended while no worker had it.
func (s *running[T]) ended(it *item[T], o Outcome, err error) {
	r := s.newRunner().(*runner[T])
	r.show(it)
	r.err = err
	r.Settled(&it, lane.Decision{Outcome: uint8(o)})
}

// enter and leave keep the count of a key, where MaxPerKey limits it.
func (s *running[T]) enter(c *candidate) {
	if key := s.keyIn(c); key != "" {
		s.keys.add(key)
	}
}

func (s *running[T]) leave(it *item[T]) {
	if s.set.maxPerKey == 0 {
		return
	}
	if key := s.laneKey(it); key != "" {
		s.keys.remove(key)
	}
}

func (s *running[T]) Name() string { return s.name }

func (s *running[T]) Start() {
	s.base = s.ctx
	s.working.Store(true)
	s.engine.Start()
}

func (s *running[T]) Step(ctx context.Context, fresh bool) bool {
	s.base = at(ctx, &mark{s.host, s.name})
	if fresh {
		return s.engine.Step()
	}
	return s.engine.StepReady()
}

func (s *running[T]) NextDue() (time.Time, bool) { return s.engine.NextDue() }

func (s *running[T]) Drain() {
	s.draining.Store(true)
	s.engine.Drain()
	if s.set.drain != WaitUntilDue {
		s.engine.Expedite(func(p **item[T]) bool { return (*p).x.redrive() == nil })
	}
}

func (s *running[T]) AtRest() bool {
	r := s.engine.Rest()
	if r.Blocked && r.Running == 0 {
		return true
	}
	return r.Redrives == 0 && r.Accepted == r.Settled+r.Stuck
}

func (s *running[T]) Jammed() bool {
	r := s.engine.Rest()
	return s.room.waiters.Load() > 0 && r.Accepted > r.Settled && s.AtRest()
}

func (s *running[T]) Interrupt() { s.cancel(ErrShutdown) }

func (s *running[T]) End() { s.engine.End() }

func (s *running[T]) Wait() { s.engine.Wait() }

func (s *running[T]) Pause(on bool) {
	s.engine.Pause(on)
	s.host.Quiet()
}

func (s *running[T]) Resize(n int) {
	s.door.mu.Lock()
	s.engine.Resize(n)
	s.engine.AdmitsNow()
	s.pool.share(n)
	s.door.mu.Unlock()
	s.room.signal()
}

func (s *running[T]) Release(key string) int {
	if s.set.order == Serial {
		key = ""
	}
	return s.engine.Release(key, nil)
}

func (s *running[T]) Skip(key string) int {
	if s.set.order == Serial {
		key = ""
	}
	return s.engine.Release(key, func(p **item[T]) { (*p).x.skip = true })
}

func (s *running[T]) Abandon(cause error) []Unfinished {
	var all []Unfinished
	for _, left := range s.engine.Abandon(uint8(OutcomeReturned)) {
		all = append(all, s.unfinished(&left))
		s.leave(left.Item)
		if x := left.Item.x; x != nil && x.receipt != nil {
			s.host.guard("a settled event's acknowledgement", func() { x.receipt.settle(s.name, OutcomeReturned, cause) })
		}
	}
	return all
}

func (s *running[T]) unfinished(left *lane.Left[*item[T]]) Unfinished {
	states := [...]string{lane.Queued: "queued", lane.Running: "running", lane.Parked: "parked", lane.Held: "held"}
	it := left.Item
	u := Unfinished{Stage: s.name, Meta: it.event.Meta, Payload: it.event.Payload, State: states[left.State]}
	if x := it.x; x != nil {
		if x.parked && left.State == lane.Held { // as Return keeps it
			u.State = states[lane.Parked]
		}
		u.Attempts = x.memory.failed
		if x.letter != nil {
			u.Letter = x.letter.Letter
		}
	}
	return u
}

// tally counts what the engine does not.
type tally struct {
	untried, retries, panics atomic.Uint64 // untried are runs of the engine that were no attempts

	mu      sync.Mutex
	reasons map[string]uint64
}

// maxReasons bounds the reasons that are counted one by one; later ones count as "other".
const maxReasons = 64

func (t *tally) reason(r string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reasons == nil {
		t.reasons = map[string]uint64{}
	}
	if _, known := t.reasons[r]; !known && len(t.reasons) >= maxReasons {
		r = "other"
	}
	t.reasons[r]++
}
