package deadletter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Drain sends dead letters back through their stages: one maintenance job, as one starts it by hand or
// from cron. It blocks until the job has ended.
//
// What it takes is fixed when it starts, and it touches a letter at most once, so it always ends.
// Letters of a sequence go in order, head first. One that fails again stays at the head and stops only
// its own sequence; a letter behind one that was not selected is not touched. Any number of drains
// may run at once, in one process or in many: a sequence that another one has is skipped. When ctx
// ends, no further letter is started, and the one on its way goes back to the head uncounted.
//
// A letter that fails is no error of Drain: it is in the Report. The error is ctx's cause, the store's
// failure, or ErrInterrupted when the target is stopping; the Report is filled in as far as it got.
// A panic of target is the failure of its letter; one of Progress is passed on to the caller, after all
// claims were given back.
//
// The memory it takes grows with the letters selected, about 100 bytes each. target may be nil for a
// dry run.
func Drain(ctx context.Context, store Store, target Target, opts DrainOptions) (Report, error) {
	d := newDrain(store, target, opts)
	err := d.run(ctx)
	d.report.Elapsed = time.Since(d.report.Started)
	return d.report, err
}

func newDrain(store Store, target Target, opts DrainOptions) *drain {
	opts = opts.filled()
	return &drain{
		store: store, target: target, opts: opts,
		pace: newPace(opts.Limit, opts.Rate),
		out:  make(chan outcome),
		report: Report{
			DryRun: opts.DryRun, Who: opts.Who, Why: opts.Why,
			Started: time.Now(), Remaining: -1,
		},
	}
}

type drain struct {
	store  Store
	target Target
	opts   DrainOptions
	pace   *pace
	work   []batch      // fixed before the workers start
	next   atomic.Int64 // the first of work that no worker has
	out    chan outcome // closed when the last worker has ended
	shut   context.CancelCauseFunc
	report Report // of the goroutine that called Drain

	operation string                    // whose drain this is, or empty
	tried     map[string]bool           // letters that the operation has tried before
	failed    func(LetterFailure) error // told of each letter that fails, on the goroutine that called Drain
	claimed   int                       // letters passed over because another drainer had their sequence
}

// batch is the selected letters of one sequence, in order.
type batch struct {
	sequence Sequence
	ids      []string
}

func (d *drain) run(ctx context.Context) error {
	if err := d.choose(ctx); err != nil {
		return d.stopped(ctx, err)
	}
	var err error
	if !d.opts.DryRun {
		err = d.redriveAll(ctx)
	}
	d.countRemaining(ctx)
	return d.stopped(ctx, err)
}

// choose fixes the selection.
func (d *drain) choose(ctx context.Context) error {
	f, none := d.opts.selection()
	if none {
		return nil
	}
	at := map[Sequence]int{}
	for l, err := range d.store.List(ctx, f) {
		if err != nil {
			return err
		}
		if d.tried[l.ID] {
			continue
		}
		s := l.Sequence()
		i, ok := at[s]
		if !ok {
			i = len(d.work)
			at[s] = i
			d.work = append(d.work, batch{sequence: s})
		}
		d.work[i].ids = append(d.work[i].ids, l.ID)
		d.selected(&l)
	}
	return nil
}

func (d *drain) selected(l *Letter) {
	r := &d.report
	r.Selected++
	r.Untouched++
	if !r.DryRun {
		return
	}
	if r.Reasons == nil {
		r.Reasons, r.Fingerprints = map[Reason]int{}, map[string]int{}
	}
	r.Reasons[l.Reason]++
	r.Fingerprints[l.Fingerprint]++
}

// redriveAll runs the workers and accounts for what they did, on the caller's goroutine. It returns why no
// further letter was started, or nil when all were.
func (d *drain) redriveAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	gate, shut := context.WithCancelCause(ctx)
	d.shut = shut
	var workers sync.WaitGroup
	for range min(d.opts.Parallel, len(d.work)) {
		workers.Go(func() { d.worker(ctx, gate) })
	}
	go func() {
		workers.Wait()
		close(d.out)
	}()
	defer func() { // Progress may panic: nobody may be left behind
		cancel()
		for range d.out {
			continue
		}
	}()
	for o := range d.out {
		d.account(o)
	}
	return context.Cause(gate)
}

func (d *drain) account(o outcome) {
	d.report.add(o)
	if o.kind == skipped && errors.Is(o.err, ErrClaimed) {
		d.claimed += o.n
	}
	if o.kind == failed && d.failed != nil {
		if err := d.failed(o.failure()); err != nil {
			d.shut(err)
		}
	}
	if d.opts.Progress == nil {
		return
	}
	p := Progress{Counts: d.report.Counts, Err: o.err, Elapsed: time.Since(d.report.Started)}
	if o.letter != nil {
		p.Letter = o.letter.ID
	}
	d.opts.Progress(p)
}

// worker takes sequence after sequence until there are none or the gate is shut.
func (d *drain) worker(ctx, gate context.Context) {
	ended := false
	defer func() {
		if !ended { // the target called runtime.Goexit
			d.shut(fmt.Errorf("%w: the target ended its goroutine", ErrInterrupted))
		}
	}()
	for gate.Err() == nil && !d.pace.over() {
		i := int(d.next.Add(1) - 1)
		if i >= len(d.work) {
			break
		}
		d.drainSequence(ctx, gate, d.work[i])
	}
	ended = true
}

// countRemaining counts what is left also when ctx has ended, but not for long.
func (d *drain) countRemaining(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	groups, err := d.store.Groups(ctx, d.opts.Filter)
	if err != nil {
		return
	}
	d.report.Remaining = 0
	for _, g := range groups {
		d.report.Remaining += g.Letters
	}
}

// stopped says in the report why the drain ended, and returns what the caller should know as an error.
func (d *drain) stopped(ctx context.Context, err error) error {
	r := &d.report
	switch {
	case err == nil && d.pace.over():
		r.Stopped = StoppedLimit
		return nil
	case err == nil:
		r.Stopped = StoppedFinished
		return nil
	case ctx.Err() != nil && r.Selected > 0 && r.Untouched+r.Interrupted == 0:
		r.Stopped = StoppedFinished
		return nil
	case ctx.Err() != nil:
		r.Stopped = StoppedCancelled
		return fmt.Errorf("deadletter: drain: %w", context.Cause(ctx))
	case errors.Is(err, ErrInterrupted):
		r.Stopped = StoppedTarget
	default:
		r.Stopped = StoppedStore
	}
	return fmt.Errorf("deadletter: drain: %w", err)
}
