package middleware

import (
	"errors"
	"log/slog"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

// DeadLetter stores what nothing inside of it could mend, with all that an operator needs, and lets the
// lane go on only after the store has it. It stands outside of Idempotent, Retry, Timeout and Recover.
//
// What becomes of the events that follow a letter in its lane is the policy: see WithPolicy. What is no
// failure passes through: success, skips, waits, and any error once a shutdown has ended the context.
// While the store fails, the event waits in its place and the store is asked again, ever less often;
// the handler is not called again, no attempt is counted, and other keys run on. After some seconds of it
// there is a warning, once an event. A full sequence or store does the same, with the warning at once. A letter that is too large even without its stack and history is held:
// only its key stops, and once released the event starts afresh.
//
// A redriven letter runs like a live event. After success it is removed; after failure it stays at the head
// of its sequence, with the new cause. When the claim of its drainer was lost meanwhile, another has it
// and runs it again: Idempotent makes a duplicate of that, and a handler without it runs twice.
//
// A letter can always be built, whatever the error and the payload are. Nothing is built, asked or
// allocated for an event that succeeds, beyond the store's MayHold under Park.
func DeadLetter(store deadletter.Keeper, opts ...DeadLetterOption) stage.Middleware {
	p := &deadLetter{store: store, maxRedrives: DefaultMaxRedrives}
	faults := []error{check(store != nil, "DeadLetter(nil); give it a store, such as deadletter.NewMemory()")}
	for _, o := range opts {
		faults = append(faults, check(o != nil, "DeadLetter: a nil option; leave it out"))
		if o != nil {
			faults = append(faults, o.applyDeadLetter(p))
		}
	}
	return stage.Middleware{
		Name:       "deadletter",
		Outside:    []string{"idempotent", "retry", "timeout", "recover"},
		Promise:    promises[p.policy],
		Redrives:   true,
		NeedsCodec: true,
		Fault:      errors.Join(faults...),
		Wrap:       p.wrap,
	}
}

// DefaultMaxRedrives is how often a letter is redriven before it is quarantined.
const DefaultMaxRedrives = 10

var promises = map[deadletter.Policy]string{
	"": "a failure becomes a dead letter, and in a lane it parks its key: followers are stored behind it, " +
		"untried, until it is redriven",
	deadletter.Park: "a dead letter parks its key: followers are stored behind it, untried, until it is redriven",
	deadletter.Continue: "a dead letter is a gap in the order: followers run, and a redriven letter comes " +
		"after them",
	deadletter.Block:     "a failure keeps its key waiting, in memory, until it is released; nothing is stored",
	deadletter.HaltStage: "a failure stops the stage and ends Run; nothing is stored",
}

// DeadLetterOption sets what DeadLetter does beside its store: WithPolicy, MaxRedrives, WithLogger.
type DeadLetterOption interface{ applyDeadLetter(*deadLetter) error }

type deadLetterOption func(*deadLetter) error

func (f deadLetterOption) applyDeadLetter(p *deadLetter) error { return f(p) }

// WithPolicy chooses what happens to the events that follow a dead letter. The default is
// deadletter.Park in a lane. Events without an order have no followers: for them Park and Block are
// Continue.
func WithPolicy(policy deadletter.Policy) DeadLetterOption {
	return deadLetterOption(func(p *deadLetter) error {
		p.policy = policy
		_, known := promises[policy]
		return check(known && policy != "", "WithPolicy(%q); give it deadletter.Park, Continue, Block or HaltStage", policy)
	})
}

// MaxRedrives quarantines a letter whose nth redrive fails: after that only an explicit redrive by id takes
// it, so that a maintenance job that runs for ever does not run a poisonous letter for ever. Default 10;
// 0 is no limit.
func MaxRedrives(n int) DeadLetterOption {
	return deadLetterOption(func(p *deadLetter) error {
		p.maxRedrives = n
		return check(n >= 0, "MaxRedrives(%d); make it positive, or 0 for no limit", n)
	})
}

// deadLetter is the middleware within one stage.
type deadLetter struct {
	store       deadletter.Keeper
	policy      deadletter.Policy
	maxRedrives int
	logger      *slog.Logger
	next        stage.Handler
	doubts      *doubts
}

func (p *deadLetter) wrap(next stage.Handler) stage.Handler {
	own := *p // each stage's own address names what it keeps with an event
	own.next, own.doubts = next, &doubts{}
	return own.handle
}

// policyFor is what the policy comes to for d.
func (p *deadLetter) policyFor(d *stage.Delivery) deadletter.Policy {
	switch {
	case p.policy == deadletter.HaltStage:
		return p.policy
	case !d.Ordered:
		return deadletter.Continue
	case p.policy == "":
		return deadletter.Park
	default:
		return p.policy
	}
}
