package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// Redrive runs a dead letter through its stage again; deadletter.Drain calls it. See deadletter.Target.
// It blocks until the letter has settled. In a pipeline that does not run, it is handled on the caller's
// goroutine.
func (p *Pipeline) Redrive(ctx context.Context, l deadletter.Letter, c deadletter.Claim) error {
	r, err := p.runtime(l.Stage)
	if err != nil {
		return fmt.Errorf("%w: %w", deadletter.ErrNoStage, err)
	}
	if p.host.Inside(ctx) && !p.running.Load() {
		return fmt.Errorf("%w: in a handler: %w", deadletter.ErrInterrupted, ErrCycle)
	}
	leave, err := p.host.Await(ctx, []string{l.Stage}) // for the length of the redrive
	if err != nil {
		return fmt.Errorf("%w: %w", deadletter.ErrInterrupted, err)
	}
	defer leave()
	if !p.running.Load() && !closed(p.stopping) {
		return p.redriveByHand(ctx, r, l, c)
	}
	return p.redriveByWorkers(ctx, r, l, c)
}

// redriveByWorkers lets the workers handle the letter.
func (p *Pipeline) redriveByWorkers(ctx context.Context, r stage.Runtime, l deadletter.Letter, c deadletter.Claim) error {
	ended, err := r.Redrive(ctx, redriven(l, c), p.unlessSealed)
	if err != nil {
		return redriveError(err)
	}
	return redriveError(<-ended)
}

// unlessSealed lets a letter into its stage, unless the pipeline has come to rest. A drain looks whether it has while
// no letter can enter: it sees each, or has sealed the pipeline to it.
func (p *Pipeline) unlessSealed(enter func() bool) bool {
	p.sealing.RLock()
	defer p.sealing.RUnlock()
	return !p.sealed && enter()
}

// Stages returns the names of the stages that take redriven letters, in the order in which they were added.
// It is none while the description has a fault.
func (p *Pipeline) Stages() []string {
	names := []string{}
	a, err := p.assemble()
	if err != nil {
		return names
	}
	for _, r := range a.runtimes {
		if r.SettlesLetters() {
			names = append(names, r.Name())
		}
	}
	return names
}

// errPaused is why a letter is taken back out of a stage that starts nothing.
var errPaused = errors.New("the stage is paused or has halted")

// redriveByHand steps the stage until the letter has settled, waiting while it is parked.
func (p *Pipeline) redriveByHand(ctx context.Context, r stage.Runtime, l deadletter.Letter, c deadletter.Claim) error {
	select {
	case <-p.step:
	case <-ctx.Done():
		return redriveError(errors.Join(stage.ErrShutdown, context.Cause(ctx)))
	}
	if p.running.Load() { // it began to meanwhile
		p.step <- struct{}{}
		return p.redriveByWorkers(ctx, r, l, c)
	}
	defer func() { p.step <- struct{}{} }()
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended, err := r.Redrive(own, redriven(l, c), p.unlessSealed)
	if err != nil {
		return redriveError(err)
	}
	for {
		for r.Step(context.WithoutCancel(ctx), false) {
		}
		select {
		case err := <-ended:
			return redriveError(err)
		default:
		}
		if n := r.Snapshot(); n.Paused || n.Halted {
			cancel(errPaused)
		}
		if own.Err() != nil { // it is being taken out
			return redriveError(<-ended)
		}
		if due, ok := r.NextDue(); ok {
			sleepUntil(own, due)
		}
	}
}

func redriven(l deadletter.Letter, c deadletter.Claim) stage.Redriven {
	m := event.Meta{GivenID: l.GivenID, Topic: l.Topic, Key: l.TopicKey, Seq: l.Seq, Origin: l.Origin, Time: l.Time, Header: l.Header}
	key := l.Key
	if !l.Ordered {
		key = ""
	}
	return stage.Redriven{
		Redrive: stage.Redrive{Letter: l.ID, Claim: c, Count: l.Redrives + 1},
		Meta:    m, Key: key, Payload: l.Payload, Codec: l.Codec, Value: l.Value,
	}
}

func redriveError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, stage.ErrNoRedrive):
		return fmt.Errorf("%w: %w", deadletter.ErrNoStage, err)
	case errors.Is(err, stage.ErrShutdown):
		return fmt.Errorf("%w: %w", deadletter.ErrInterrupted, err)
	}
	return err
}
