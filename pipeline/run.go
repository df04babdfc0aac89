package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// Run runs the pipeline and blocks until it has ended: when ctx ends, Shutdown is called, a stage halts,
// a source fails, or, with Config.StopAfterSources, every source has ended. It then drains; see
// Shutdown in the package's documentation. It returns nil when every accepted event has settled, else
// what went wrong, an *UnfinishedError among it when events are left. A description with faults is
// returned, whole, before anything starts. A pipeline runs once.
func (p *Pipeline) Run(ctx context.Context) error {
	a, err := p.start(ctx)
	if err != nil {
		return err
	}
	sources := p.startSources(ctx)
	unwatch := p.watch(a)
	select {
	case <-ctx.Done():
	case <-p.stopping:
	case <-sources.over:
	}
	unwatch()
	return p.end(a, sources)
}

func (p *Pipeline) start(ctx context.Context) (*assembly, error) {
	a, err := p.assemble()
	if err != nil {
		return nil, err
	}
	if p.cfg.Inline {
		return nil, errors.New("pipeline: Run of an inline pipeline; leave out Config.Inline, or Run")
	}
	if !p.awaitStep(ctx) {
		return nil, context.Cause(ctx)
	}
	defer func() { p.step <- struct{}{} }()
	p.mu.Lock()
	again, late := p.started, errors.Join(p.faults...)
	if late == nil {
		p.started, p.fifo = true, nil
	}
	p.mu.Unlock()
	if again {
		return nil, fmt.Errorf("pipeline: Run: %w, or has run; make a new one", ErrRunning)
	}
	if late != nil {
		return nil, late
	}
	p.running.Store(true)
	for _, r := range a.runtimes {
		r.Start()
	}
	return a, nil
}

// awaitStep waits for a Drain that is under way, until ctx ends. Where none is, that ctx has ended already
// makes no difference: a select would choose by chance.
func (p *Pipeline) awaitStep(ctx context.Context) bool {
	select {
	case <-p.step:
		return true
	default:
	}
	select {
	case <-p.step:
		return true
	case <-ctx.Done():
		return false
	}
}

// end drains and ends a pipeline that runs.
func (p *Pipeline) end(a *assembly, s *sources) error {
	p.beginStop()
	grace := time.NewTimer(p.cfg.Grace)
	defer grace.Stop()
	s.cancel(stage.ErrShutdown)
	p.awaitSources(a, s, grace.C)
	p.drain(a, grace.C)
	p.await(s.done, grace.C) // what they have in hand is refused by now
	left := p.finish(a, s)
	failed := errors.New("pipeline: a source did not end when its context did")
	if closed(s.done) {
		failed = s.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// What is left comes first: a search for it must not walk through a user's own error.
	p.result = errors.Join(left, p.halted, failed)
	close(p.ended)
	return p.result
}

// await waits for done, until the grace ends or the shutdown is forced.
func (p *Pipeline) await(done <-chan struct{}, grace <-chan time.Time) bool {
	select {
	case <-done:
		return true
	case <-grace:
		p.beginForce()
	case <-p.forced:
	}
	return false
}

func (p *Pipeline) beginForce() { p.force.Do(func() { close(p.forced) }) }

// drain closes the intakes and waits until nothing is in flight anywhere, or the grace ends.
func (p *Pipeline) drain(a *assembly, grace <-chan time.Time) {
	for _, in := range a.intakes {
		in.Close()
	}
	for _, r := range a.runtimes {
		r.Drain()
	}
	for !p.atRest(a) {
		if !p.await(p.quiet, grace) {
			return
		}
	}
}

// atRest reports whether nothing is in flight. Events pass from stage to stage while it looks, so it
// looks at all of them, then whether meanwhile any was accepted; no redrive begins meanwhile. When nothing is in
// flight nobody is left to publish, and the intakes are sealed for good, to redrives too.
func (p *Pipeline) atRest(a *assembly) bool {
	p.sealing.Lock()
	defer p.sealing.Unlock()
	before := a.accepted()
	for _, r := range a.runtimes {
		if !r.AtRest() {
			return false
		}
	}
	if a.accepted() != before {
		p.lookAgain()
		return false
	}
	for _, in := range a.intakes {
		in.Seal()
	}
	p.sealed = true
	if a.accepted() != before {
		p.lookAgain()
		return false
	}
	return true
}

func (a *assembly) accepted() (n uint64) {
	for _, in := range a.intakes {
		n += in.Accepted()
	}
	return n
}

// finish ends the workers and returns what is left, and what the sources, if there are any, had in hand:
// nil, or an UnfinishedError.
func (p *Pipeline) finish(a *assembly, s *sources) error {
	for _, in := range a.intakes {
		in.Seal()
	}
	gone := make([]chan struct{}, len(a.runtimes))
	for i, r := range a.runtimes {
		r.End()
		gone[i] = make(chan struct{})
		go func() { // it ends with the last handler; one that never returns is reported
			defer close(gone[i])
			r.Wait()
		}()
	}
	if closed(p.forced) {
		p.interrupt(a)
	}
	lingered := make(chan struct{})
	linger := time.AfterFunc(p.cfg.Linger, func() { close(lingered) })
	defer linger.Stop()
	left := &UnfinishedError{}
	for i, r := range a.runtimes {
		if !wentInTime(gone[i], lingered) {
			left.Stuck = append(left.Stuck, r.Name())
		}
	}
	p.interrupt(a) // frees the contexts
	for _, r := range a.runtimes {
		left.Events = append(left.Events, r.Abandon(stage.ErrShutdown)...)
	}
	if s != nil && wentInTime(s.done, lingered) {
		left.Events = append(left.Events, s.refused...)
	}
	if len(left.Events)+len(left.Stuck) == 0 {
		return nil
	}
	return left
}

func (p *Pipeline) interrupt(a *assembly) {
	for _, r := range a.runtimes {
		r.Interrupt()
	}
}

// wentInTime waits for a stage's workers, or the sources, to leave, until the time is up.
func wentInTime(gone, up <-chan struct{}) bool {
	select {
	case <-gone:
		return true
	case <-up:
		return closed(gone)
	}
}

// Shutdown makes Run drain and waits until it has ended; it returns what Run returns. When ctx ends, the
// shutdown is forced. It may be called at any time, from any number of goroutines: they all get the same
// result. A handler that calls it with its own context begins the shutdown and gets ErrInHandler. A
// pipeline that was never run is closed: what is queued in it is returned in an UnfinishedError.
func (p *Pipeline) Shutdown(ctx context.Context) error {
	a, err := p.assemble()
	if err != nil {
		return err
	}
	p.beginStop()
	if p.host.Inside(ctx) {
		return fmt.Errorf("pipeline: Shutdown: %w", ErrInHandler)
	}
	if err := p.endIdle(ctx, a); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.beginForce()
		<-p.ended
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result
}

// endIdle ends a pipeline that was never run, so that there is no Run that would.
func (p *Pipeline) endIdle(ctx context.Context, a *assembly) error {
	if !p.awaitStep(ctx) {
		if !p.running.Load() {
			return context.Cause(ctx)
		}
		return nil
	}
	defer func() { p.step <- struct{}{} }()
	p.mu.Lock()
	started := p.started
	p.started = true
	p.mu.Unlock()
	if started {
		return nil
	}
	left := p.finish(a, nil)
	p.mu.Lock()
	p.result = left
	p.mu.Unlock()
	close(p.ended)
	return nil
}
