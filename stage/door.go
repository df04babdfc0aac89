package stage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage/internal/lane"
)

// Intake is where the events of one topic come in, whatever their type.
type Intake interface {
	// Close refuses what comes from outside; the pipeline's own handlers may go on publishing.
	Close()
	// Seal refuses everything.
	Seal()
	// Accepted is how many events came in.
	Accepted() uint64
}

// Door is the intake of a topic of payloads T. It gives an event its identity, key and sequence number
// and hands it to every stage of the topic, or to none: under one short lock it looks whether each has
// room, and only then sends to all. Only the stages take events out, so the room cannot vanish. The
// order in which the lock is taken is the accept order, the same for all stages.
type Door[T any] struct {
	topic   *event.Topic[T]
	host    *Host
	origin  uint64
	closing chan struct{} // closed by Close
	sealing chan struct{} // closed by Seal

	stages []*running[T]
	asks   bool   // one of them has a key or levels of its own
	reads  bool   // they or the topic read something from a payload
	drops  bool   // one of them drops events when it is full
	tick   func() // reads the clock anew

	mu     sync.Mutex // guards all below
	seq    uint64
	clock  clock
	closed bool
	sealed bool
}

func newIntake[T any](topic *event.Topic[T], h *Host) *Door[T] {
	var origin [8]byte
	_, _ = rand.Read(origin[:]) // never fails since Go 1.24
	d := &Door[T]{
		topic: topic, host: h, reads: topic.Reads(), origin: binary.LittleEndian.Uint64(origin[:]) >> 24,
		closing: make(chan struct{}), sealing: make(chan struct{}),
	}
	d.tick = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.clock.tick()
	}
	return d
}

// Close is described at Intake.
func (d *Door[T]) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(d.closing)
	}
}

// Seal is described at Intake.
func (d *Door[T]) Seal() {
	d.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.sealed {
		d.sealed = true
		d.clock.stop()
		close(d.sealing)
	}
}

// Accepted is described at Intake.
func (d *Door[T]) Accepted() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seq
}

// Topic returns the topic.
func (d *Door[T]) Topic() *event.Topic[T] { return d.topic }

// Publish accepts one event; see event.Publisher.
func (d *Door[T]) Publish(ctx context.Context, payload T, opts ...event.PublishOption) error {
	return d.publish(ctx, &payload, opts)
}

// PublishFrom is Publish of a payload that lies elsewhere, and is copied once less, to a pipeline without Host.Follow.
func (d *Door[T]) PublishFrom(ctx context.Context, payload *T, opts []event.PublishOption) error {
	return d.accept(ctx, payload, opts, nil)
}

func (d *Door[T]) publish(ctx context.Context, payload *T, opts []event.PublishOption) error {
	if f := d.follower(ctx); f != nil {
		return d.followed(ctx, f, payload, opts, &receipt{})
	}
	return d.accept(ctx, payload, opts, nil)
}

// follower returns who wants to be told of what ctx's publish leads to, or nil.
func (d *Door[T]) follower(ctx context.Context) Follower {
	if d.host.Follow == nil || ctx == nil {
		return nil
	}
	return d.host.Follow(ctx)
}

// followed accepts an event of which f wants to be told, beside whoever has the receipt.
func (d *Door[T]) followed(ctx context.Context, f Follower, payload *T, opts []event.PublishOption, r *receipt) error {
	each, done := r.each, r.done
	r.each = func(stage string, o Outcome, err error) {
		if each != nil {
			each(stage, o, err)
		}
		f.Ended(stage, o, err)
	}
	r.done = func(err error) {
		if done != nil {
			done(err)
		}
		f.Done()
	}
	f.Expect()
	err := d.accept(ctx, payload, opts, &arrival{receipt: r})
	if err != nil {
		f.Done()
	}
	return err
}

// Accept accepts an event that comes with an acknowledgement, or cannot be decoded, or not be routed, where its bytes are
// known. Each, unless nil, is called for each stage with how the event ended there.
func (d *Door[T]) Accept(ctx context.Context, in event.Incoming[T], each func(stage string, o Outcome, err error)) error {
	a := &arrival{raw: in.Raw, undecodable: in.Err}
	if in.Settled != nil || each != nil {
		a.receipt = &receipt{each: each, done: in.Settled}
	}
	err := d.accept(ctx, &in.Payload, in.Options, a)
	if err != nil && in.Err == nil && in.Raw != nil && isUnfit(err) {
		a.undecodable, a.unfit = err, true
		return d.accept(ctx, &in.Payload, in.Options, a)
	}
	return err
}

// arrival is what an event may bring beside its payload.
type arrival struct {
	receipt     *receipt
	undecodable error
	unfit       bool // it was decoded: what of its key and identity can be used is
	raw         []byte
}

func (d *Door[T]) accept(ctx context.Context, payload *T, opts []event.PublishOption, a *arrival) error {
	if ctx == nil {
		return d.refuse(errNilContext)
	}
	if ctx.Err() != nil {
		return d.refuse(context.Cause(ctx))
	}
	var c candidate
	if !d.reads && len(opts) == 0 && a == nil { // nobody's function is called for it
		d.name(ctx, &c)
	} else if err := d.label(ctx, &c, payload, opts, a); err != nil {
		return err
	}
	waited := false
	for {
		full, err := d.offer(ctx, &c, payload, a)
		if full == nil || err != nil {
			if waited && full == nil {
				d.leaveRoom()
			}
			return err
		}
		if err := d.await(ctx, full, &c); err != nil {
			d.passOn()
			return err
		}
		waited = true
	}
}

var errNilContext = errors.New("the context is nil; give it one")

// passOn wakes the next publisher that waits, in the place of one that was woken and has gone.
func (d *Door[T]) passOn() {
	for _, s := range d.stages {
		s.room.signal()
	}
}

// leaveRoom is called by a publisher that waited and got in. What room there is beside it is for the next that waits.
func (d *Door[T]) leaveRoom() {
	for _, s := range d.stages {
		s.took()
	}
}

func (d *Door[T]) refuse(err error) error {
	return fmt.Errorf("stage: publish to %s: %w", d.topic.Name(), err)
}

// offer hands the event to every stage if each can take it. Otherwise it returns a stage to wait for,
// or the error.
func (d *Door[T]) offer(ctx context.Context, c *candidate, payload *T, a *arrival) (full *running[T], err error) {
	if !d.mu.TryLock() { // in place, as most find it free
		lane.LockBriefly(&d.mu, lockTries)
	}
	if d.closed && (d.sealed || !d.host.Inside(ctx)) {
		d.mu.Unlock()
		return nil, d.refuse(ErrClosed)
	}
	for _, s := range d.stages {
		if s.engine.Admits() && (s.set.maxPerKey == 0 || s.admitsKey(c)) { // admits, in place
			continue
		}
		if s.set.overflow == Block {
			d.mu.Unlock()
			return s, nil
		}
		if s.set.overflow == Reject {
			d.mu.Unlock()
			return nil, d.refuse(fmt.Errorf("stage %s: %w", s.name, ErrFull))
		}
	}
	d.seq++
	c.meta.Seq = d.seq
	if c.meta.Time.IsZero() {
		c.meta.Time = d.clock.read(d.tick)
	}
	if a != nil || d.drops {
		d.hand(c, payload, a)
		return nil, nil
	}
	quiet := d.host.Observer.Accepted == nil
	for _, s := range d.stages {
		s.engine.Send(s.item(c, payload))
		quiet = quiet && s.working.Load()
	}
	d.mu.Unlock()
	if !quiet {
		d.tell(c, nil)
	}
	return nil, nil
}

// hand hands an event that comes with something, or for which another may be dropped, to the stages. It is called with
// the door's lock, which it gives up.
func (d *Door[T]) hand(c *candidate, payload *T, a *arrival) {
	if a != nil && a.receipt != nil {
		a.receipt.left.Store(int32(len(d.stages)))
	}
	var dropped []dropping[T]
	for _, s := range d.stages {
		if a != nil {
			c.x = a.extra()
		}
		if !s.drops() { // there is room: it was asked before
			s.engine.Send(s.item(c, payload))
		} else if gone := s.take(c, payload); gone != nil {
			dropped = append(dropped, dropping[T]{s, gone})
		}
	}
	d.mu.Unlock()
	d.tell(c, dropped)
	for i := range dropped {
		dropped[i].stage.dropped(dropped[i].item)
	}
}

// tell tells who asked that an event was accepted, and wakes who steps the stages that have no workers, but for those that
// dropped it.
func (d *Door[T]) tell(c *candidate, dropped []dropping[T]) {
	for _, s := range d.stages {
		if !s.working.Load() && !slices.ContainsFunc(dropped, func(g dropping[T]) bool { return g.stage == s }) {
			d.host.Queued(s)
		}
	}
	if d.host.Observer.Accepted != nil {
		d.tellAccepted(c.meta)
	}
}

func (d *Door[T]) tellAccepted(m event.Meta) {
	d.host.guard("Accepted", func() { d.host.Observer.Accepted(&m) })
}

// dropping is an item that an overflow mode dropped, to be settled when no lock is held.
type dropping[T any] struct {
	stage *running[T]
	item  *item[T]
}

const lockTries = 30

// await waits for room in the stage full. A handler of this pipeline that would wait for itself gets
// ErrCycle.
func (d *Door[T]) await(ctx context.Context, full *running[T], c *candidate) error {
	stop := d.closing
	if m := d.host.markOf(ctx); m != nil {
		stop = d.sealing
		if !full.working.Load() {
			return d.refuse(fmt.Errorf("stage %s: %w: %s runs on the goroutine that would make the room", full.name, ErrCycle, m.stage))
		}
		if err := d.host.waits.enter(m.stage, full.name); err != nil {
			return d.refuse(fmt.Errorf("stage %s: %w", full.name, err))
		}
		defer d.host.waits.leave(m.stage, full.name)
	}
	if err := full.awaitRoom(ctx, c, stop); err != nil {
		return d.refuse(err)
	}
	return nil
}
