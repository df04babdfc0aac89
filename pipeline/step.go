package pipeline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// Drain handles what is queued in a pipeline that does not run, on the caller's goroutine: at most limit
// attempts, one for each event at each stage, or all that may run now when limit is 0 or less. Events
// are taken in the order in which they were published; a retry that has become due comes first. It
// returns how many attempts it ran. An event that fails is settled, or parked, as its middleware says,
// and the others go on; a parked one waits for a later Drain. When ctx ends, the handler at work is
// interrupted, its event stays queued with nothing counted, and the context's cause is returned.
func (p *Pipeline) Drain(ctx context.Context, limit int) (int, error) {
	if _, err := p.assemble(); err != nil {
		return 0, err
	}
	if p.host.Inside(ctx) && !p.running.Load() {
		return 0, fmt.Errorf("pipeline: Drain in a handler: %w", ErrCycle)
	}
	select {
	case <-p.step:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { p.step <- struct{}{} }()
	if p.running.Load() {
		return 0, fmt.Errorf("pipeline: Drain: %w; it drains by itself", ErrRunning)
	}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(stage.ErrShutdown) })
	defer stop()
	n := 0
	for limit <= 0 || n < limit {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		if !p.stepOnce(inner) {
			break
		}
		n++
	}
	return n, nil
}

// stepOnce runs one attempt: at an event that was taken up before, or else at the oldest that was not.
func (p *Pipeline) stepOnce(ctx context.Context) bool {
	a := p.assembled.Load()
	for _, r := range a.runtimes {
		if r.Step(ctx, false) {
			return true
		}
	}
	if p.stepOldest(ctx) {
		return true
	}
	for _, r := range a.runtimes {
		if r.Step(ctx, true) {
			return true
		}
	}
	return false
}

// queued notes that a stage took an event while nothing runs.
func (p *Pipeline) queued(r stage.Runtime) {
	p.mu.Lock()
	p.fifo = append(p.fifo, r)
	p.mu.Unlock()
}

// stepOldest runs an attempt at the oldest event of those that are queued. What a paused stage has keeps its turn.
func (p *Pipeline) stepOldest(ctx context.Context) bool {
	var blocked []stage.Runtime
	for i := 0; ; {
		r := p.queuedAt(i)
		if r == nil {
			return false
		}
		if slices.Contains(blocked, r) {
			i++
			continue
		}
		ran := r.Step(ctx, true)
		if !ran && isBlocked(r) {
			blocked = append(blocked, r)
			continue
		}
		p.unqueue(i)
		if ran {
			return true
		}
	}
}

// isBlocked reports whether a stage starts nothing. What waits behind a held or parked event is no reason: it is run when
// that has ended, and has no turn until then.
func isBlocked(r stage.Runtime) bool {
	s := r.Snapshot()
	return (s.Paused || s.Halted) && s.Queued > 0
}

func (p *Pipeline) queuedAt(i int) stage.Runtime {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.fifo) {
		return nil
	}
	return p.fifo[i]
}

func (p *Pipeline) unqueue(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i == 0 { // as nearly always
		p.fifo = p.fifo[1:]
	} else {
		p.fifo = slices.Delete(p.fifo, i, i+1)
	}
	if len(p.fifo) == 0 {
		p.fifo = nil
	}
}

// nextDue returns when the next parked event of any stage is due.
func (p *Pipeline) nextDue() (next time.Time, found bool) {
	for _, r := range p.assembled.Load().runtimes {
		if due, ok := r.NextDue(); ok && (!found || due.Before(next)) {
			next, found = due, true
		}
	}
	return next, found
}
