package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// sources is the running sources.
type sources struct {
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when one failed, or all have ended and that ends the run
	done   chan struct{} // closed when all have ended

	// Readable when done is closed.
	err     error
	refused []stage.Unfinished // what they had in hand when the pipeline accepted nothing more
}

// sourceEnd is how one source ended.
type sourceEnd struct {
	topic string
	err   error
}

func (p *Pipeline) startSources(ctx context.Context) *sources {
	s := &sources{over: make(chan struct{}), done: make(chan struct{})}
	ctx, s.cancel = context.WithCancelCause(ctx)
	ends := make(chan sourceEnd, len(p.feeds))
	var group conc.WaitGroup
	for _, f := range p.feeds {
		group.Go(func() {
			end := sourceEnd{f.topic, fmt.Errorf("pipeline: the source of topic %s ended its goroutine", f.topic)}
			defer func() { ends <- end }()
			end.err = receive(ctx, f)
		})
	}
	go s.gather(&group, ends, len(p.feeds), p.cfg.StopAfterSources)
	return s
}

// gather is owned by whoever waits for done.
func (s *sources) gather(group *conc.WaitGroup, ends <-chan sourceEnd, n int, stopAfter bool) {
	defer close(s.done)
	isOver := false
	for range n {
		end := <-ends
		refused := refusedIn(end.err)
		switch {
		case end.err == nil:
			continue
		case refused != nil && isClosed(refused.Err):
			meta := event.Meta{Topic: end.topic}
			s.refused = append(s.refused, stage.Unfinished{Meta: meta, Payload: refused.Payload, State: "refused"})
		default:
			s.err = errors.Join(s.err, end.err)
		}
		if !isOver {
			isOver = true
			close(s.over)
		}
	}
	group.Wait()
	if stopAfter && !isOver {
		close(s.over)
	}
}

// receive runs one source. That it was stopped is no error.
func receive(ctx context.Context, f feed) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("pipeline: the source of topic %s panicked: %w", f.topic, &stage.PanicError{Value: v})
		}
	}()
	err = f.receive(ctx)
	stopped := ctx.Err() != nil || isClosed(err)
	if err == nil || stopped && refusedIn(err) == nil {
		return nil
	}
	return fmt.Errorf("pipeline: the source of topic %s: %w", f.topic, err)
}

// awaitSources waits for the sources, which were told to stop, until the grace ends, or one of them waits
// for room that nothing but a release could make.
func (p *Pipeline) awaitSources(a *assembly, s *sources, grace <-chan time.Time) {
	for !a.jammed() {
		select {
		case <-s.done:
			return
		case <-p.quiet:
		case <-grace:
			p.beginForce()
			return
		case <-p.forced:
			return
		}
	}
}

func (a *assembly) jammed() bool {
	return slices.ContainsFunc(a.runtimes, stage.Runtime.Jammed)
}

// refusedIn and isClosed are errors.As and errors.Is for an error of a source, which may be one whose methods panic or
// never end.
func refusedIn(err error) *event.RefusedError {
	for _, e := range stage.Errors(err) {
		if r, ok := e.(*event.RefusedError); ok { //nolint:errorlint // the walk is stage's
			return r
		}
	}
	return nil
}

func isClosed(err error) bool { return slices.Contains(stage.Errors(err), stage.ErrClosed) }
