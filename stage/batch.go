package stage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/event"
)

// The defaults of Limits.
const (
	DefaultBatchSize = 100
	DefaultBatchWait = 10 * time.Millisecond
)

// Limits say when a batch takes no more events. The zero value is fit for production.
type Limits struct {
	// Size is how many events a batch holds at most. Default 100.
	Size int
	// Bytes bounds what the events' payloads come to, as their topic's codec writes them, which costs the writing. An
	// event that is larger is a batch of its own. Default no bound.
	Bytes int
	// Wait is how long the first event of a batch waits for others. Default 10 ms.
	Wait time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Size == 0 {
		l.Size = DefaultBatchSize
	}
	if l.Wait == 0 {
		l.Wait = DefaultBatchWait
	}
	return l
}

func (l Limits) String() string {
	text := fmt.Sprintf("at most %d events", l.Size)
	if l.Bytes > 0 {
		text += fmt.Sprintf(", or %d bytes", l.Bytes)
	}
	return text + fmt.Sprintf(", or what came within %v", l.Wait)
}

// BatchErrors is what the handler of a batch returns to answer for each event: as many errors as there are events,
// nil for those that are done. Each other error is a verdict, as a handler of single events returns it.
type BatchErrors []error

func (e BatchErrors) Error() string {
	failed := 0
	var first error
	for _, err := range e {
		if err != nil {
			if failed++; first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("stage: %d of %d events of a batch failed: %s", failed, len(e), ErrorText(first))
}

// Unwrap returns the errors.
func (e BatchErrors) Unwrap() []error { return e }

// Batch describes a stage that handles events together. Its handler gets at most limits.Size of them and returns nil
// when all are done, BatchErrors to answer for each, or any other error when the batch as a whole failed. Then each
// event is tried by itself, in a batch of one, within the same attempt: one bad event takes no other along. An
// event that is tried again, redriven, or handled step by step is a batch of its own too.
//
// A batch holds a run of each key: events that follow each other in their key, in their order. No other batch has
// events of that key meanwhile. A handler that fails an event must leave the later ones of its key alone: whatever it
// answers for them, they count as not tried, go back to the head of their key in their order, and no attempt of theirs
// is counted. So do those of a batch that failed as a whole, but for the first of each key. Under Serial, which is one
// key, a batch is a run of the whole stage.
//
// Middleware does not know of batches: each event runs through the chain by itself, and meets the others of its batch
// inside of all of it. So retries, letters, identities and timeouts are each event's own; a timeout counts from when
// the event joins its batch. The handler's context carries no values of the chain. It ends with the stage and with the
// deadline of the event that came first.
//
// An event in a batch is at work: Workers is how many events are in batches, forming and running, so at least Size;
// the default is twice that, so that one batch forms while another runs. When the pipeline drains, what has come
// together is handled at once.
//
// A batch emits nothing: it is where events leave the pipeline, for a table or a service that takes many at once. What
// comes of one event is the work of Map and Expand, which publish it only when its attempt has succeeded; for a batch
// there would be no such moment, as some of its events fail and are tried again. A handler that publishes does it
// like any other, with a publisher, and again when its events are tried again.
func Batch[T any](topic *event.Topic[T], name string, limits Limits, handle func(context.Context, []event.Event[T]) error, opts ...Option) *Stage {
	limits = limits.withDefaults()
	b := &batching[T]{plain: &plain[T]{topic: topic}, limits: limits, handle: handle}
	if handle != nil {
		b.process = func(context.Context, *runner[T]) error { return nil } // each pipeline's own takes its place
	}
	s := describe("batch", name, topic, b, append([]Option{Workers(min(2*limits.Size, MaxWorkers))}, opts...))
	s.set.batch = &limits
	return s
}

// batching is the typed part of Batch.
type batching[T any] struct {
	*plain[T]
	limits Limits
	handle func(context.Context, []event.Event[T]) error
}

func (b *batching[T]) faults(s *Stage) []error {
	faults := b.plain.faults(s)
	add := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("stage: %s: "+format, append([]any{s.label()}, args...)...))
	}
	if b.limits.Size < 1 || b.limits.Bytes < 0 || b.limits.Wait < 0 {
		add("Limits %+v; make them positive, or 0 for the defaults", b.limits)
	}
	if s.set.workers < b.limits.Size {
		add("Workers(%d), but a batch holds %d events, and each is at work; make them at least as many", s.set.workers, b.limits.Size)
	}
	return faults
}

func (b *batching[T]) run(s *Stage, h *Host, chain []Middleware, intake, _ Intake) Runtime {
	f := &former[T]{limits: b.limits, handle: b.handle}
	turn := Middleware{Name: "turn", Wrap: f.inTurn}
	full := slices.Insert(slices.Clone(chain), inTurnPlace(chain), turn)
	f.stage = newRunning(s, h, &plain[T]{topic: b.topic, process: f.process}, full, intake.(*Door[T]), func() any { return new(boarding) })
	return &batchRuntime[T]{f.stage, f}
}

// batchRuntime is a stage whose batches flush when it drains.
type batchRuntime[T any] struct {
	*running[T]
	former *former[T]
}

// Drain is described at Runtime.
func (b *batchRuntime[T]) Drain() {
	b.running.Drain()
	b.former.flush()
}
