// Package idempotency remembers which events were completed, so that one that arrives twice is handled
// once: [Store] is the contract, [Memory] keeps it within a process, and idempotencytest checks any
// implementation against it. The middleware that asks a Store is middleware.Idempotent.
//
// A holder claims a key before it runs, confirms it after it succeeded, and releases it after it
// failed:
//
//	new ── Claim ──► claimed ── Confirm ──► done ── retention ends ──► new
//	                    │
//	                    └── Release, or the lease ends ──► new
//
// A key is marked only by success, so a failed event is never taken for a duplicate of itself. Lease and
// retention are different times: the lease (minutes) is how long a crashed holder blocks a key, the
// retention (hours, days) is the window in which a duplicate is recognised.
//
// A holder at work renews its lease. What a lease cannot do: a holder that could not renew, because it was
// stopped or cut off, may run beside the next one. The token of a claim grows with each, so the late one
// cannot confirm (ErrLost). Only a store that commits the mark together with the effect makes the effect
// happen once: see [Transactor].
//
// A claim whose reply was lost is asked for again under the same [Request.Holder] and recognised, so a
// timeout of the store does not block an event behind itself for a lease.
package idempotency
