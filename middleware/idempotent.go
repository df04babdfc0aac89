package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/stage"
)

// Idempotent lets at most one delivery of an event (its stage and its given identity) succeed within the
// store's window. It claims the identity before the handler runs, confirms it after success or
// stage.Skip, and releases it after anything else, panics and runtime.Goexit included, so that a failed
// event is never a duplicate of itself. A duplicate of a completed event settles as duplicate; one of an
// event that is being handled waits, with ErrBusy and without counting an attempt, until that is decided.
//
// Events whose producer gave no identity are unique: they pass through at no cost.
//
// While the store fails, events wait and count no attempt; with FailOpen they run unguarded. A claim whose
// reply was lost is asked for again under the same holder, so an event never waits for itself. When the
// confirmation fails after the handler succeeded, only the confirmation is repeated, not the handler;
// when it finds that the lease ended and another took the key, the event is done all the same. When a
// release fails it is repeated before the next attempt; a claim that stays unreleased ends with its lease.
//
// While the handler runs, the lease is renewed at every third of it. A Memory needs none of this, since
// its holders cannot outlive it: there a claim lasts as long as its attempt, unless Lease says otherwise.
//
// An effect outside happens once only if it commits together with the mark: InTx does that with a store
// that can.
func Idempotent(store idempotency.Store, opts ...IdempotentOption) stage.Middleware {
	i := &idempotent{store: store, lease: DefaultLease}
	if i.local, _ = store.(*idempotency.Memory); i.local != nil {
		i.lease = forever
	}
	faults := []error{check(store != nil, "Idempotent(nil); give it a store, such as idempotency.NewMemory()")}
	for _, o := range opts {
		faults = append(faults, check(o != nil, "Idempotent: a nil option; leave it out"))
		if o != nil {
			faults = append(faults, o.applyIdempotent(i))
		}
	}
	faults = append(faults, check(i.tx == nil || !i.failOpen, "InTx with FailOpen; leave one out: without its store there is no transaction"))
	return stage.Middleware{
		Name:    "idempotent",
		Single:  store, // two of one store would wait for each other; a memory in front of another may stand
		Outside: []string{"retry", "timeout", "recover"},
		Inside:  []string{"deadletter"},
		Promise: i.promise(),
		// A digest needs the payload's bytes.
		NeedsCodec: i.compare,
		Commits:    i.tx != nil,
		Fault:      errors.Join(faults...),
		Wrap:       i.wrap,
	}
}

func (i *idempotent) promise() string {
	text := "an identity given by the producer succeeds at most once within the store's window"
	if i.tx != nil {
		text += ", and what the handler writes in the store's transaction commits with it"
	}
	return text
}

// DefaultLease is how long Idempotent claims an identity before it renews the claim.
const DefaultLease = 5 * time.Minute

// leastLease leaves a renewal, at a third of it, the time that a call takes.
const leastLease = time.Millisecond

// forever is the lease of a claim that cannot outlive its holder.
const forever = 365 * 24 * time.Hour

// IdempotentOption sets what Idempotent does beside its store: Lease, FailOpen, InTx, ComparePayloads,
// WithLogger.
type IdempotentOption interface{ applyIdempotent(*idempotent) error }

type idempotentOption func(*idempotent) error

func (f idempotentOption) applyIdempotent(i *idempotent) error { return f(i) }

// Lease is how long a crashed holder blocks its identity. It is renewed while the handler runs, so it need
// not be longer than the slowest attempt, but long enough for a renewal to come through: after it, a
// duplicate may run beside the first. Default 5 minutes, at least a millisecond.
func Lease(d time.Duration) IdempotentOption {
	return idempotentOption(func(i *idempotent) error {
		i.lease = d
		return check(d >= leastLease, "Lease(%v); make it %v or more, or leave it out for %v", d, leastLease, DefaultLease)
	})
}

// FailOpen runs events although the store fails: better twice than late.
func FailOpen() IdempotentOption {
	return idempotentOption(func(i *idempotent) error { i.failOpen = true; return nil })
}

// InTx runs the handler in a transaction of the store, which its context carries: what it writes there
// commits together with the mark, or not at all, so it happens once, whatever crashes in between. The
// store must be an idempotency.Transactor, and says how a handler gets at the transaction; an event without
// an identity has none. A commit that fails is tried again with the handler, without counting an attempt, but for
// one that the store refuses for what the handler wrote (idempotency.ErrRefused): that is a failure which Retry
// does not repeat.
//
// What Map and Expand return is published after the commit, and the event is not settled before; a publish that
// fails is repeated without the handler. A crash in between loses it, since the event is a duplicate from
// then on; so does a letter that comes to hold the event's key, restored or of another process, while it is open
// whether the commit happened: where that matters, have the handler write it in the transaction too. A Batch has no transaction
// and is refused.
func InTx() IdempotentOption {
	return idempotentOption(func(i *idempotent) error {
		var ok bool
		i.tx, ok = i.store.(idempotency.Transactor)
		return check(ok, "InTx with a %T; give Idempotent a store that is an idempotency.Transactor", i.store)
	})
}

// ComparePayloads tells another payload under the same identity from a duplicate: it fails with
// ErrOtherPayload, for good, where it would have been taken for done or have waited. It costs the encoding
// and a hash of every event with an identity. Leave it out where a producer that sends an event twice
// may write it differently each time, with a new time in it, say.
func ComparePayloads() IdempotentOption {
	return idempotentOption(func(i *idempotent) error { i.compare = true; return nil })
}

type idempotent struct {
	store    idempotency.Store
	tx       idempotency.Transactor // the store, under InTx
	local    *idempotency.Memory    // the store, if it is one: it ends no call early, and does not panic
	lease    time.Duration
	failOpen bool
	compare  bool
	logger   *slog.Logger
}

func (i *idempotent) wrap(next stage.Handler) stage.Handler {
	own := *i // each stage's own address names what it keeps with an event
	return func(ctx context.Context, d *stage.Delivery) error {
		if d.GivenID == "" {
			return next(ctx, d)
		}
		return own.handle(ctx, d, next)
	}
}

// guard is what Idempotent keeps with an event while its store, or a duplicate, makes it wait.
type guard struct {
	pause
	holder   uint64             // of a claim whose reply was lost
	confirm  *idempotency.Claim // of a handler that succeeded
	release  *idempotency.Claim // of one that did not
	succeed  error              // the verdict that was confirmed: nil, or a Skip
	reported bool
}

func (i *idempotent) handle(ctx context.Context, d *stage.Delivery, next stage.Handler) error {
	g, _ := d.Kept(i).(*guard)
	if g != nil && g.confirm != nil {
		return i.confirm(ctx, d, g.confirm, g.succeed)
	}
	if g != nil && g.release != nil {
		if err := i.release(ctx, *g.release); err != nil {
			return i.down(ctx, d, next, err)
		}
		g.release = nil
	}
	var r idempotency.Request // handed on by their addresses: to copy them at each call costs as much as the store
	var c idempotency.Claim
	if err := i.request(d, g, &r); err != nil {
		return err
	}
	err := i.claim(ctx, &r, &c)
	switch {
	case err != nil:
		i.guard(d).holder = r.Holder
		return i.down(ctx, d, next, err)
	case c.State != idempotency.Claimed && r.Digest != 0 && c.Digest != 0 && c.Digest != r.Digest:
		return stage.Permanent(fmt.Errorf("%w: identity %s", ErrOtherPayload, d.GivenID))
	case c.State == idempotency.Done:
		return stage.Skip(stage.ReasonDuplicate)
	case c.State == idempotency.Busy:
		return i.busy(d, c)
	case i.tx != nil:
		return i.runInTx(ctx, d, next, c)
	default:
		return i.run(ctx, d, next, &c)
	}
}

// request writes down what the store is asked for d.
func (i *idempotent) request(d *stage.Delivery, g *guard, r *idempotency.Request) error {
	r.Key.Stage, r.Key.ID, r.Lease = d.Stage, d.GivenID, i.lease
	switch {
	case g != nil && g.holder != 0:
		r.Holder = g.holder
	case i.local == nil:
		r.Holder = rand.Uint64() | 1
	}
	if !i.compare {
		return nil
	}
	data, codec, err := d.Encode()
	if err != nil {
		return fmt.Errorf("middleware: idempotent: codec %s: %w", codec, err)
	}
	sum := sha256.Sum256(data)
	r.Digest = binary.LittleEndian.Uint64(sum[:]) | 1
	return nil
}

// claim asks the store; one that panics has failed.
func (i *idempotent) claim(ctx context.Context, r *idempotency.Request, c *idempotency.Claim) (err error) {
	if i.local != nil {
		i.local.ClaimAt(r, c)
		return nil
	}
	returned := false
	defer catchUnless(&returned, &err)
	*c, err = i.store.Claim(ctx, *r)
	returned = true
	return err
}

// run calls the handler with the claim. Whatever way it ends, the claim is confirmed or released.
func (i *idempotent) run(ctx context.Context, d *stage.Delivery, next stage.Handler, c *idempotency.Claim) error {
	succeeded := false
	defer func() {
		if !succeeded {
			i.giveBack(ctx, d, *c)
		}
	}()
	err := i.renewed(ctx, d, c, next)
	if !completes(err) {
		return err
	}
	succeeded = true
	return i.confirm(ctx, d, c, err)
}

// completes reports whether a handler that returned err is not to run again for its event.
func completes(err error) bool {
	if err == nil {
		return true
	}
	k := stage.VerdictOf(err).Kind
	return k == stage.KindDone || k == stage.KindSkip
}

// confirm marks the event and returns the verdict of its handler.
func (i *idempotent) confirm(ctx context.Context, d *stage.Delivery, c *idempotency.Claim, verdict error) error {
	err := i.mark(ctx, c)
	if err == nil {
		return verdict
	}
	if i.failOpen || d.Final || errors.Is(err, idempotency.ErrLost) {
		i.warn(ctx, d, "handled, but not marked as done: a duplicate may be handled again", err)
		return verdict
	}
	g, kept := i.guard(d), *c // a copy here, so that the healthy path allocates none
	g.confirm, g.succeed = &kept, verdict
	d.SetHandled()
	return g.postpone(fmt.Errorf("middleware: idempotent: confirm: %w", err))
}

func (i *idempotent) mark(ctx context.Context, c *idempotency.Claim) error {
	if i.local != nil {
		return i.local.ConfirmAt(c)
	}
	return i.write(ctx, c, i.store.Confirm)
}

// giveBack releases the claim, or keeps it with the event to release it later.
func (i *idempotent) giveBack(ctx context.Context, d *stage.Delivery, c idempotency.Claim) {
	if err := i.release(ctx, c); err != nil {
		i.warn(ctx, d, "the claim was not released: duplicates wait until its lease ends", err)
		kept := c
		i.guard(d).release = &kept
	}
}

// release gives the claim back. One that was lost is not held any more either.
func (i *idempotent) release(ctx context.Context, c idempotency.Claim) error {
	if err := i.write(ctx, &c, i.store.Release); !errors.Is(err, idempotency.ErrLost) {
		return err
	}
	return nil
}

// busy waits for the other holder, and not longer than its lease.
func (i *idempotent) busy(d *stage.Delivery, c idempotency.Claim) error {
	delay := i.guard(d).next()
	if !c.Until.IsZero() {
		delay = min(delay, max(time.Until(c.Until), minDelay))
	}
	return stage.Postpone(delay, ErrBusy)
}

// down decides for an event whose store fails.
func (i *idempotent) down(ctx context.Context, d *stage.Delivery, next stage.Handler, err error) error {
	err = fmt.Errorf("middleware: idempotent: %w", err)
	switch {
	case stage.Interrupted(ctx):
		return err
	case i.failOpen:
		i.warn(ctx, d, "the store fails: handled without a claim", err)
		return next(ctx, d)
	default:
		return i.guard(d).postpone(err)
	}
}

func (i *idempotent) write(ctx context.Context, c *idempotency.Claim, op func(context.Context, idempotency.Claim) error) (err error) {
	if i.local != nil {
		return op(ctx, *c)
	}
	defer catch(&err)
	ctx, cancel := detached(ctx)
	defer cancel()
	return op(ctx, *c)
}

func (i *idempotent) guard(d *stage.Delivery) *guard {
	g, ok := d.Kept(i).(*guard)
	if !ok {
		g = &guard{}
		d.Keep(i, g)
	}
	return g
}

// warn says once for each event what could not be done for it.
func (i *idempotent) warn(ctx context.Context, d *stage.Delivery, text string, err error) {
	if g := i.guard(d); !g.reported {
		g.reported = true
		loggerOr(i.logger).LogAttrs(ctx, slog.LevelWarn, "middleware: idempotent: "+text, attrs(d, err)...)
	}
}
