package stage

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/runnel-go/runnel/stage/internal/lane"
)

// runner is one worker's slot: the event it is at, and the delivery that is a view of it.
type runner[T any] struct {
	s      *running[T]
	it     *item[T]
	d      Delivery
	ctx    context.Context
	cancel func() // of a redrive's context
	x      *extra // the item's, or made in this attempt
	preset error  // returned in the handler's place
	called bool
	box    any // *outbox, where the stage emits; *boarding, where it has batches
	seat   *lane.Seat[*item[T]]

	outcome Outcome
	err     error
	// For Amend: what becomes of the item that runs again.
	again Kind  // KindRetry, KindPostpone, KindHold, KindHalt; KindDone for as it was
	cause error // of the verdict

	spent spent[T]
}

func (s *running[T]) newRunner() lane.Runner[*item[T]] {
	r := &runner[T]{s: s, spent: spent[T]{pool: s.pool}}
	if s.newBox != nil {
		r.box = s.newBox()
	}
	r.d.Batched = s.set.batch != nil
	return r
}

// Sit is described at lane.Seated.
func (r *runner[T]) Sit(s *lane.Seat[*item[T]]) { r.seat = s }

// load makes it the event of this attempt.
func (r *runner[T]) load(it *item[T]) {
	r.ctx, r.preset, r.called, r.again, r.cause = r.s.base, nil, false, KindDone, nil
	r.show(it)
	if bad := it.x.bad(); bad != nil {
		r.preset = Permanent(errors.Join(ErrUndecodable, bad))
	}
}

// show makes the delivery a view of it.
func (r *runner[T]) show(it *item[T]) {
	r.it, r.x, r.err = it, it.x, nil
	key, ordered := r.s.keyOf(it)
	d := &r.d // field by field: a literal would be made first and copied then
	d.Meta, d.Stage, d.slot = &it.event.Meta, r.s.name, r
	d.Lane, d.Ordered, d.Attempt, d.Final = key, ordered, 1, false
	d.Redrive, d.memory = nil, nil
	if x := it.x; x != nil {
		r.d.memory = &x.memory
		r.d.Attempt += x.memory.failed
		r.d.Redrive = x.redrive()
	}
}

// Run runs one attempt. A panic or a Goexit that leaves the chain ends here, as a failed attempt.
func (r *runner[T]) Run(p **item[T], d *lane.Decision) {
	it := *p
	r.load(it)
	if it.event.Header != nil && r.early(it, d) {
		return
	}
	if it.x != nil && r.detour(it.x, d) {
		r.s.tally.untried.Add(1)
		return
	}
	returned := false
	defer func() {
		if !returned {
			r.crashed(recover(), d)
		}
		if r.cancel != nil {
			r.cancel()
			r.cancel = nil
		}
	}()
	if o := r.s.host.Observer.Started; o != nil {
		r.s.host.guard("Started", func() { o(&r.d) })
	}
	err := r.s.chain(r.ctx, &r.d)
	returned = true
	if err == nil { // as nearly all are
		r.settle(OutcomeDone, nil, d)
		return
	}
	r.decide(err, d)
}

// detour handles what is not an ordinary attempt: a redrive whose drain was cancelled, and parked
// events while the pipeline drains. It returns true when there is nothing to run.
func (r *runner[T]) detour(x *extra, d *lane.Decision) bool {
	if x.letter != nil {
		r.ctx, r.cancel = joined(r.ctx, x.letter.ctx)
		if r.ctx.Err() != nil {
			r.settle(OutcomeCancelled, context.Cause(r.ctx), d)
			r.cancel()
			r.cancel = nil
			return true
		}
		return false
	}
	if x.skip {
		r.skip(ReasonReleased, d)
		return true
	}
	if !x.parked || !r.s.draining.Load() {
		return false
	}
	switch r.s.set.drain {
	case TryOnce:
		r.d.Final = true
	case GiveUp:
		r.d.Final = true
		if r.preset == nil {
			r.preset = Permanent(x.memory.last())
		}
	case Return: // it stays where it is, and what waits behind it too, for Abandon
		r.again = KindPostpone
		*d = lane.Decision{Action: lane.Hold}
		return true
	}
	return false
}

// joined returns ctx, ended too, as by a shutdown, when the other ends.
func joined(ctx, other context.Context) (context.Context, func()) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(ErrShutdown) })
	if other.Err() != nil {
		cancel(ErrShutdown)
	}
	return both, func() { stop(); cancel(nil) }
}

// crashed decides on an attempt that did not return: it panicked and no middleware recovered that, or it
// ended its goroutine, which cannot be stopped. The chain is entered once more with the failure in the
// handler's place, so that its middleware can do about it what it does about any failure.
func (r *runner[T]) crashed(panicked any, d *lane.Decision) {
	if panicked == nil {
		panicked = ErrGoexit
	}
	stack := debug.Stack()
	r.preset = &PanicError{Value: panicked, Stack: stack[:min(len(stack), MaxStackBytes)]}
	// The first decision stands if the chain ends the goroutine again. It tells nobody anything.
	if Interrupted(r.ctx) {
		r.interrupted(d)
	} else {
		r.s.tally.panics.Add(1)
		r.settle(OutcomeFailed, r.preset, d)
	}
	r.judge(r.reenter(), d)
}

func (r *runner[T]) reenter() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p}
		}
	}()
	return r.s.chain(r.ctx, &r.d)
}

// errCalledTwice is what a middleware gets that calls next again in one attempt.
var errCalledTwice = errors.New("stage: a middleware called next twice in one attempt; return RetryAfter for another attempt")

// innermost is the end of every chain: the stage's own function.
func (s *running[T]) innermost(ctx context.Context, d *Delivery) error {
	r, ok := d.slot.(*runner[T])
	switch {
	case !ok:
		return errors.New("stage: a middleware passed on a clone of its delivery; pass on the delivery itself")
	case r.preset != nil:
		return r.preset
	case r.called:
		return errCalledTwice
	}
	r.called = true
	return s.plain.process(ctx, r)
}

// decide turns an error that the chain returned into what the engine does.
func (r *runner[T]) decide(err error, d *lane.Decision) {
	if _, ok := as[*PanicError](err); ok && !Interrupted(r.ctx) {
		r.s.tally.panics.Add(1)
	}
	r.judge(err, d)
}

// judge is decide for an attempt whose panic, if it was one, has been counted.
func (r *runner[T]) judge(err error, d *lane.Decision) {
	v := VerdictOf(err)
	if Interrupted(r.ctx) && !v.isFact() {
		r.interrupted(d)
		return
	}
	switch v.Kind {
	case KindRetry, KindPostpone:
		if v.Cause == errUntried { //nolint:errorlint // what the stage itself said
			r.putOff(v, d)
			return
		}
		r.park(v, d)
	case KindSkip:
		r.skip(v.Reason, d)
	case KindHold, KindHalt:
		r.hold(v, d)
	case KindDone:
		r.settle(OutcomeDone, nil, d)
	case KindStored:
		r.settle(r.live(OutcomeDeadLettered), v.Cause, d)
	case KindDiverted:
		r.settle(r.live(OutcomeDiverted), nil, d)
	default:
		r.settle(OutcomeFailed, err, d)
	}
}

// live is o for a live event; a redrive that ends so has failed.
func (r *runner[T]) live(o Outcome) Outcome {
	if r.d.Redrive != nil {
		return OutcomeFailed
	}
	return o
}

func (r *runner[T]) interrupted(d *lane.Decision) {
	if r.d.Redrive != nil && context.Cause(r.s.base) == nil {
		r.settle(OutcomeCancelled, context.Cause(r.ctx), d)
		return
	}
	*d = lane.Decision{Action: lane.Keep}
}

func (r *runner[T]) skip(reason string, d *lane.Decision) {
	switch {
	case r.d.Redrive != nil:
		r.settle(OutcomeDone, nil, d)
	case reason == ReasonDuplicate:
		r.settle(OutcomeDuplicate, nil, d)
	default:
		r.s.tally.reason(reason)
		r.settle(OutcomeDropped, nil, d)
	}
}

// minDelay is the least that an event waits for its next attempt: one that asks for less and never succeeds
// must not keep a worker busy.
const minDelay = time.Millisecond

// putOff is park for an attempt that must not count, and whose event has its place at the head of the lane at once.
func (r *runner[T]) putOff(v Verdict, d *lane.Decision) {
	r.s.tally.untried.Add(1)
	*d = lane.Decision{Action: lane.Keep}
	if o := r.s.host.Observer.Parked; o != nil {
		r.s.host.guard("Parked", func() { o(&r.d, v) })
	}
}

// park asks for another attempt. While the pipeline drains under another policy than waiting, a parked
// event comes back at once, to be settled, unless that is what it was parked from.
func (r *runner[T]) park(v Verdict, d *lane.Decision) {
	r.again, r.cause = v.Kind, v.Cause
	*d = lane.Decision{
		Action: lane.Park, Delay: max(v.Delay, minDelay),
		Hurry: r.s.set.drain != WaitUntilDue && !r.d.Final && r.d.Redrive == nil,
	}
	if v.Kind == KindRetry {
		r.s.tally.retries.Add(1)
	}
	if o := r.s.host.Observer.Parked; o != nil {
		r.s.host.guard("Parked", func() { o(&r.d, v) })
	}
}

func (r *runner[T]) hold(v Verdict, d *lane.Decision) {
	if r.d.Redrive != nil {
		r.settle(OutcomeFailed, v.Cause, d)
		return
	}
	*d = lane.Decision{Action: lane.Hold}
	if v.Kind == KindHalt {
		d.Action = lane.Stop
		r.s.host.Halted(r.s.name, v.Cause)
	}
	r.again, r.cause = v.Kind, v.Cause
	r.s.host.Logger.Warn("runnel: an event is held", "stage", r.s.name, "id", r.d.ID(), "key", r.d.Lane, "error", ErrorText(v.Cause))
	if o := r.s.host.Observer.Held; o != nil {
		r.s.host.guard("Held", func() { o(&r.d, v.Cause) })
	}
}

// settle decides that the event has ended.
func (r *runner[T]) settle(o Outcome, err error, d *lane.Decision) {
	r.outcome, r.err = o, err
	*d = lane.Decision{Action: lane.Settle, Outcome: uint8(o)}
	d.Notify = o == OutcomeFailed || r.x != nil && r.x.receipt != nil ||
		r.s.notifies
}

// Settled tells all who asked that the event has ended.
func (r *runner[T]) Settled(p **item[T], d lane.Decision) {
	it := *p
	r.outcome = Outcome(d.Outcome)
	if r.d.Redrive == nil {
		r.s.leave(it)
	}
	if x := it.x; x != nil && x.receipt != nil { // deferred: a hook may end the goroutine
		defer r.s.host.guard("a settled event's acknowledgement", func() { x.receipt.settle(r.s.name, r.outcome, r.err) })
	}
	if r.outcome == OutcomeFailed && r.d.Redrive == nil {
		r.unhandled()
	}
	if o := r.s.host.Observer.Settled; o != nil {
		r.s.host.guard("Settled", func() { o(&r.d, r.outcome, r.err) })
	}
}

func (r *runner[T]) unhandled() {
	r.s.host.Logger.Error("runnel: an event failed and nobody handled it",
		"stage", r.s.name, "id", r.d.ID(), "key", r.d.Key, "seq", r.d.Seq, "attempt", r.d.Attempt, "error", ErrorText(r.err))
	if f := r.s.host.OnUnhandled; f != nil {
		r.s.host.guard("OnUnhandled", func() { f(&r.d, r.err) })
	}
}

// Amend writes what the next attempt needs into the item.
func (r *runner[T]) Amend(p **item[T]) {
	it := *p
	if r.x == nil {
		r.x = &extra{}
	}
	it.x = r.x
	m := &r.x.memory
	r.x.parked = r.again == KindRetry || r.again == KindPostpone
	switch r.again {
	case KindRetry:
		m.fail(r.cause, time.Now())
	case KindPostpone:
		if r.cause != nil {
			m.awaits = r.cause
		}
	case KindHold, KindHalt: // once released, it starts afresh
		m.fail(r.cause, time.Now())
		m.failed, m.kept = 0, nil
	}
}

// Gone takes back an item that nobody looks at any more.
func (r *runner[T]) Gone(p **item[T]) {
	if it := *p; it.pooled {
		r.spent.add(it)
	}
}
