package pipelinetest

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// StageConfig is what Stage must know of a stage.
type StageConfig[T any] struct {
	// Topic is the topic that the stage handles.
	Topic *event.Topic[T]
	// Event is a payload that the stage handles with success. It is handled several times.
	Event T
	// State, unless nil, returns what the handler's effects come to, to be compared by reflect.DeepEqual
	// before and after the event is handled a second time.
	State func() any
	// Within is how soon a handler must return once its context has ended. Default: 5 s.
	Within time.Duration
	// Others are stages that the pipeline needs beside it, such as one for the topic that a Map
	// publishes to.
	Others []*stage.Stage
}

// Stage checks that a stage does what runnel asks of every handler and middleware:
//
//   - the event is handled with success;
//   - it may come again, as after a crash between the effect and its acknowledgement: that succeeds too, or
//     is skipped, and changes nothing (the handler is idempotent);
//   - when its context ends the handler returns soon, whatever it returns;
//   - nothing keeps the Delivery beyond its call: it is overwritten afterwards, which the race detector
//     notices of one that was kept and is read.
//
// It makes a pipeline of its own for each. Handlers that do real I/O run outside of a Bubble.
func Stage[T any](t *testing.T, s *stage.Stage, c StageConfig[T]) {
	t.Helper()
	if c.Within <= 0 {
		c.Within = 5 * time.Second
	}
	for _, f := range stageFaults(s, c) {
		t.Error(f)
	}
}

// stageFaults returns what is wrong with a stage.
func stageFaults[T any](s *stage.Stage, c StageConfig[T]) (faults []error) {
	if err := handleTwice(s, c); err != nil {
		faults = append(faults, err)
	}
	if err := endContext(s, c); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// trial is a pipeline of the stage, in which first is around all of its chain.
func trial[T any](s *stage.Stage, c StageConfig[T], inline bool, first stage.Handler) (*pipeline.Pipeline, event.Publisher[T]) {
	p := pipeline.New(pipeline.Config{Inline: inline, Logger: slog.New(slog.DiscardHandler), Grace: time.Nanosecond, Linger: c.Within})
	p.Use(stage.Middleware{Name: "trial", Wrap: func(next stage.Handler) stage.Handler {
		return func(ctx context.Context, d *stage.Delivery) error {
			if d.Stage != s.Name() {
				return next(ctx, d)
			}
			lent := *d
			meta := *d.Meta
			lent.Meta = &meta
			defer func() { // what is kept is worth nothing from here on
				meta = event.Meta{Topic: "a Delivery was kept; use Clone"}
				lent.Stage = meta.Topic
			}()
			if first != nil {
				return errors.Join(first(ctx, &lent), next(ctx, &lent))
			}
			return next(ctx, &lent)
		}
	}})
	p.Add(append([]*stage.Stage{s}, c.Others...)...)
	return p, pipeline.NewPublisher(p, c.Topic)
}

// handleTwice handles the event, and handles it again.
func handleTwice[T any](s *stage.Stage, c StageConfig[T]) error {
	_, pub := trial(s, c, true, nil)
	if err := pub.Publish(context.Background(), c.Event); err != nil {
		return errors.Join(errors.New("pipelinetest: Stage: the event was not handled"), err)
	}
	var before any
	if c.State != nil {
		before = c.State()
	}
	_, pub = trial(s, c, true, nil) // another pipeline: the same event, delivered again
	if err := pub.Publish(context.Background(), c.Event); err != nil {
		return errors.Join(errors.New("pipelinetest: Stage: the event came twice and was not handled the second time"), err)
	}
	if c.State != nil {
		if after := c.State(); !reflect.DeepEqual(before, after) {
			return errors.New("pipelinetest: Stage: the handler is not idempotent: the event came twice and the second time changed what there was")
		}
	}
	return nil
}

// endContext ends the contexts of the handlers that run.
func endContext[T any](s *stage.Stage, c StageConfig[T]) error {
	started := make(chan struct{}, 1)
	p, pub := trial(s, c, false, func(context.Context, *stage.Delivery) error {
		select {
		case started <- struct{}{}:
		default:
		}
		return nil
	})
	over := make(chan error, 1)
	go func() { over <- p.Run(context.Background()) }()
	if err := pub.Publish(context.Background(), c.Event); err != nil {
		return errors.Join(errors.New("pipelinetest: Stage: the event was refused"), err)
	}
	<-started
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Shutdown(ended)
	var left *pipeline.UnfinishedError
	if err := <-over; errors.As(err, &left) && len(left.Stuck) > 0 {
		return errors.New("pipelinetest: Stage: the handler had not returned " + c.Within.String() + " after its context had ended")
	}
	return nil
}
