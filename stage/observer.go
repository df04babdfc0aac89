package stage

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/runnel-go/runnel/event"
)

// Outcome is how an event ended at a stage.
type Outcome uint8

// The outcomes. Every accepted event ends in exactly one at each stage of its topic.
const (
	OutcomeDone         Outcome = iota // its handler succeeded
	OutcomeDeadLettered                // it is a dead letter
	OutcomeDiverted                    // it is stored behind the dead letter it follows
	OutcomeDropped                     // it was skipped, or dropped by an overflow mode
	OutcomeDuplicate                   // it was done before
	OutcomeFailed                      // its failure was handled by nobody
	OutcomeReturned                    // a shutdown handed it back
	OutcomeCancelled                   // of redrives only: cancelled, and a dead letter as before
	outcomes
)

func (o Outcome) String() string {
	names := [outcomes]string{"done", "dead-lettered", "diverted", "dropped", "duplicate", "failed", "returned", "cancelled"}
	if o < outcomes {
		return names[o]
	}
	return fmt.Sprintf("stage.Outcome(%d)", o)
}

// Observer is told what happens to events. Every func may be nil, which costs nothing; one that is set is
// called on the goroutine at work, so it must be quick, and must not keep the Delivery. A panic in it is
// logged and goes no further.
type Observer struct {
	// Accepted is called when a publish was accepted by every stage of its topic.
	Accepted func(m *event.Meta)
	// Started is called before each attempt. Parked, Held or Settled follows, unless a shutdown interrupts
	// the attempt: its event stays where it was, and the shutdown hands it back.
	Started func(d *Delivery)
	// Parked is called when an attempt asked to be repeated: the delay and the error are the verdict's.
	Parked func(d *Delivery, v Verdict)
	// Held is called when an event blocks its key until it is released.
	Held func(d *Delivery, err error)
	// Settled is called when an event ended, redriven ones included; err is what it failed with. What a
	// shutdown hands back is in its UnfinishedError instead.
	Settled func(d *Delivery, o Outcome, err error)
}

// Host is what a stage at work needs of its pipeline.
type Host struct {
	Logger   *slog.Logger
	Observer Observer
	// OnUnhandled, unless nil, is given each event that settles as failed.
	OnUnhandled func(d *Delivery, err error)
	// Halted is called when a stage stops itself.
	Halted func(stage string, err error)
	// Quiet is called when a stage may have come to rest. It must not block.
	Quiet func()
	// Follow, unless nil, is asked who wants to be told of the event that a publish with ctx brings; nil
	// for nobody.
	Follow func(ctx context.Context) Follower
	// Queued is called, while the pipeline runs no workers, when a stage has taken an event.
	Queued func(r Runtime)

	waits waitGraph
}

// Follower is told how an event ends, and what it leads to. Its methods may be called by many goroutines
// at once.
type Follower interface {
	// Expect is called before the event is accepted; Done when all stages have settled it, or it was
	// not accepted after all.
	Expect()
	Done()
	// Ended is called for each stage with how the event ended there.
	Ended(stage string, o Outcome, err error)
}

// guard calls a user's hook and logs its panic.
func (h *Host) guard(hook string, call func()) {
	defer func() {
		if p := recover(); p != nil {
			h.Logger.Error("runnel: a hook panicked", "hook", hook, "panic", valueText(p))
		}
	}()
	call()
}

// at returns ctx marked as belonging to a handler of the named stage.
func at(ctx context.Context, m *mark) context.Context {
	return &inside{context.WithValue(ctx, markKey{}, m), event.Carried(ctx)}
}

// inside is the context that a stage starts an attempt with. Each publish of a handler asks it what it carries: to look
// that up through all that it stands on is a fortieth of a hop from one stage to the next.
type inside struct {
	context.Context
	carried event.Header
}

// carried is event.Carried.
func carried(ctx context.Context) event.Header {
	if in, ok := ctx.(*inside); ok {
		return in.carried
	}
	return event.Carried(ctx)
}

type markKey struct{}

// mark says which stage's handler a context belongs to.
type mark struct {
	host  *Host
	stage string
}

// markOf returns the mark of a context, if it belongs to a handler of this host's pipeline.
func (h *Host) markOf(ctx context.Context) *mark {
	if m, ok := ctx.Value(markKey{}).(*mark); ok && m.host == h {
		return m
	}
	return nil
}

// Inside reports whether ctx belongs to a handler of h's pipeline.
func (h *Host) Inside(ctx context.Context) bool { return h.markOf(ctx) != nil }
