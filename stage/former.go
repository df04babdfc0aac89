package stage

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/event"
)

// former forms the batches of one stage. Every event is on its own worker, which waits for its batch. The worker of
// the first one leads: it waits until the batch is complete, and calls the handler. An event that has joined lets the
// next one of its key begin, as long as the batch takes more; lane/crew.go keeps their order.
type former[T any] struct {
	limits Limits
	handle func(context.Context, []event.Event[T]) error
	stage  *running[T]

	mu      sync.Mutex // guards forming, and what is in it
	forming *batch[T]
}

// batch is some events that are handled together. What is in it is guarded by the former's lock until it is sealed,
// and read by all once it is over.
type batch[T any] struct {
	events []event.Event[T]
	bytes  int
	sealed atomic.Bool   // written under the former's lock
	full   chan struct{} // closed when it is sealed
	over   chan struct{} // closed by its leader
	errs   []error       // of each event, if whole is nil
	whole  error         // it failed as a whole
	late   bool          // its time was up
}

// boarding is what a worker knows of its event and its batch, from one attempt to the next.
type boarding struct {
	joined  bool // it is in a batch, or was one of its own
	handled bool // its handler has done it
}

// errUntried is why an event goes back into its lane that neither failed nor was done: another of its key, in the
// same batch, has failed before it, or the batch was complete without it.
var errUntried = errors.New("stage: it waits for the batch that its key is in")

func untried() error { return Postpone(0, errUntried) }

// drainWait is how long a batch waits for more while the stage drains.
const drainWait = time.Millisecond

func (f *former[T]) process(ctx context.Context, r *runner[T]) error {
	e, own := r.it.event, r.box.(*boarding)
	if r.d.Attempt > 1 || r.d.Redrive != nil || r.x.goesAlone() || !f.stage.working.Load() {
		if r.seat.Behind() != nil {
			return untried()
		}
		own.joined = true
		return f.single(ctx, e)
	}
	size := 0
	if f.limits.Bytes > 0 {
		data, codec, err := r.encode()
		if err != nil {
			return Permanent(fmt.Errorf("stage: codec %s cannot carry an event of a batch: %w", codec, err))
		}
		size = len(data)
	}
	behind := r.seat.Behind()
	b, place := f.join(e, size, behind)
	if b == nil {
		return untried()
	}
	own.joined = true
	if r.d.Ordered {
		r.seat.Open(&b.sealed)
	}
	if place == 0 {
		f.lead(ctx, b)
	}
	<-b.over
	switch {
	case b.whole == nil:
		if !r.seat.Turn(context.WithoutCancel(f.stage.base)) { // those ahead were in this batch: their handler has returned too
			return untried()
		}
		own.handled = b.errs[place] == nil
		return b.errs[place]
	case len(b.events) == 1:
		return b.whole
	case Interrupted(ctx):
		return context.Cause(ctx)
	case behind != nil, b.late, ctx.Err() != nil: // no time is left: it is tried by itself before anything counts
		r.goAlone()
		return untried()
	default:
		return f.single(ctx, e)
	}
}

// inTurn keeps the order of a key's events for what stands outside of it, the middleware that stores letters: what
// ended without having been in a batch, because it was a duplicate or had expired, say, ends after those before it.
func (f *former[T]) inTurn(next Handler) Handler {
	return func(ctx context.Context, d *Delivery) error {
		r, ok := d.slot.(*runner[T])
		if !ok {
			return next(ctx, d) // refuses the clone
		}
		own := r.box.(*boarding)
		*own = boarding{}
		err := next(ctx, d)
		v := VerdictOf(err)
		if behind := r.seat.Behind(); behind != nil && !own.joined && v.ends() {
			if v.Kind == KindDone || v.Kind == KindSkip {
				r.seat.Open(behind) // it is in nobody's way
			}
			if !r.seat.Turn(f.stage.base) {
				err, v = untried(), Verdict{}
			}
		}
		if goesOn := v.Kind == KindDone || v.Kind == KindSkip || v.Kind == KindPostpone && own.handled; !goesOn {
			r.seat.Break()
		}
		return err
	}
}

// inTurnPlace is where in a chain that is: right inside of what stores letters.
func inTurnPlace(chain []Middleware) int {
	return 1 + slices.IndexFunc(chain, func(m Middleware) bool { return m.Name == "deadletter" })
}

// single handles one event as a batch of its own.
func (f *former[T]) single(ctx context.Context, e event.Event[T]) error {
	err := f.handle(ctx, []event.Event[T]{e})
	errs, ok := err.(BatchErrors) //nolint:errorlint // what the handler returned, not what it wrapped
	switch {
	case !ok:
		return err
	case len(errs) == 1:
		return errs[0]
	default:
		return f.miscounted(errs, 1)
	}
}

// miscounted is the failure of a handler that answered for another number of events. It wraps none of the answers,
// whose verdicts are nobody's.
func (f *former[T]) miscounted(errs BatchErrors, events int) error {
	return fmt.Errorf("stage: %s answered for %d events of a batch of %d: %s", f.stage.name, len(errs), events, ErrorText(errs))
}

// join puts an event into the forming batch, or begins one with it. The first place is the leader's. An event
// whose key is in a batch already, of which behind is the seal, joins that one or none: then the batch is nil.
func (f *former[T]) join(e event.Event[T], size int, behind *atomic.Bool) (b *batch[T], place int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.forming; b != nil && f.limits.Bytes > 0 && b.bytes+size > f.limits.Bytes {
		f.seal(b)
	}
	if behind != nil && (f.forming == nil || behind != &f.forming.sealed) {
		return nil, 0
	}
	if f.forming == nil {
		f.forming = &batch[T]{full: make(chan struct{}), over: make(chan struct{})}
	}
	b = f.forming
	b.events = append(b.events, e)
	b.bytes += size
	if len(b.events) == f.limits.Size || f.limits.Bytes > 0 && b.bytes >= f.limits.Bytes {
		f.seal(b)
	}
	return b, len(b.events) - 1
}

// seal makes a batch take no more. It is called under the lock.
func (f *former[T]) seal(b *batch[T]) {
	if f.forming == b {
		f.forming = nil
		b.sealed.Store(true)
		close(b.full)
	}
}

// flush has the forming batch handled as it is.
func (f *former[T]) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.forming != nil {
		f.seal(f.forming)
	}
}

// lead waits until the batch is complete and handles it.
func (f *former[T]) lead(ctx context.Context, b *batch[T]) {
	defer close(b.over)
	f.await(ctx, b)
	work, cancel := f.stage.base, context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		work, cancel = context.WithDeadline(work, end)
	}
	defer cancel()
	err := f.call(work, b.events)
	b.late = work.Err() != nil
	errs, each := err.(BatchErrors) //nolint:errorlint // what the handler returned, not what it wrapped
	switch {
	case err == nil:
		b.errs, b.whole = make([]error, len(b.events)), nil
	case each && len(errs) == len(b.events):
		b.errs, b.whole = errs, nil
	case each:
		b.whole = f.miscounted(errs, len(b.events))
	default:
		b.whole = err
	}
}

// await waits until the batch is full, or has waited long enough, or its leader may not wait any longer.
func (f *former[T]) await(ctx context.Context, b *batch[T]) {
	wait := f.limits.Wait
	if f.stage.draining.Load() {
		wait = min(wait, drainWait)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-b.full:
	case <-t.C:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seal(b)
}

// call calls the handler, on a goroutine that it may end: the leader's own event must not fail for the others'. A
// panic and a Goexit are failures of the batch as a whole.
func (f *former[T]) call(ctx context.Context, events []event.Event[T]) error {
	var err error = &PanicError{Value: ErrGoexit} // stands if the handler ends the goroutine
	var work sync.WaitGroup
	work.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				stack := debug.Stack()
				err = &PanicError{Value: p, Stack: stack[:min(len(stack), MaxStackBytes)]}
			}
		}()
		err = f.handle(ctx, events)
	})
	work.Wait()
	return err
}
