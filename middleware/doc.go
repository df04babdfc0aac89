// Package middleware holds the policies that a stage wraps around its handler: what is retried, what
// becomes a dead letter, what is a duplicate, how long an attempt may take.
//
// # Order
//
// A chain runs once for each attempt. The first is outermost:
//
//	Trace → Log → DeadLetter → Deadline, Filter, Sample → Idempotent → Retry → Throttle → Timeout → Recover → handler
//
// Each place has its reason, and a pipeline refuses to run with a chain that breaks one:
//
//   - Trace and Log outermost: what is recorded is what became of the attempt, under its trace.
//   - DeadLetter outside Retry: it stores only what Retry gave up on. Outside Idempotent: by the time a
//     letter is stored its identity is released, so that a redrive is no duplicate of the failure, and a
//     follower of a held key is diverted before it claims anything.
//   - Idempotent outside Retry: the claim ends with each attempt and is kept only by success, so a long
//     wait between attempts holds no lease.
//   - Deadline, Filter and Sample inside DeadLetter, so that what is redriven is settled with its letter, and
//     outside Idempotent, so that what they drop claims nothing.
//   - Throttle, and the rate limits and breakers of adapters, inside Retry: to wait there is no attempt. Outside
//     Timeout: waiting is not timed.
//   - Retry outside Timeout and Recover: it sees timeouts and panics as failures like any other.
//   - Recover innermost: nothing is inside of it but the handler, and what a stage adds for itself.
//
// Standard returns the usual part of it ready made.
//
// # Meeting the engine
//
// Middleware decides and the engine acts: a middleware returns an error that carries a verdict (see
// stage.Verdict), and the engine parks, holds or settles the event. No middleware waits, starts a
// goroutine or keeps an event back. What it must remember of an event from one attempt to the next, such
// as a retry policy's state or a letter that the store has not taken yet, it keeps with the event
// (stage.Delivery.Keep), so it ends with the event.
//
// Cancellation is not failure: once a shutdown or a cancelled drain has ended the context
// (stage.Interrupted), errors pass through untouched, cost no attempt and make no letter. Success stands,
// and is recorded, even then: stores are written to with a context that the shutdown does not end.
//
// # Cost
//
// An event that succeeds costs no allocation in any of DeadLetter, Retry, Recover and Log (its level
// off); Idempotent costs what its store does, Timeout a context and a timer.
//
// Settings that make no sense are not a panic and not an error of the constructor: they are reported, all
// at once, by the pipeline before anything starts (stage.Middleware.Fault).
package middleware
