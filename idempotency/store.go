package idempotency

import (
	"context"
	"errors"
	"time"
)

// Key names what is done at most once: one event at one stage.
type Key struct{ Stage, ID string }

// State is what a Claim found.
type State uint8

// The states of a key.
const (
	Claimed State = iota // new to the store, or forgotten: the caller holds the claim and runs
	Busy                 // another holder is at it: ask again later
	Done                 // completed within the window: a duplicate
)

// Request asks to run a key.
type Request struct {
	Key Key
	// Lease bounds how long a holder that crashed blocks the key. One that is not positive has ended
	// already.
	Lease time.Duration
	// Holder names who asks: a random number that one delivery of one event keeps for all it asks. A
	// Claim whose reply was lost is asked again under the same Holder, and is recognised. 0 is nobody,
	// and is never recognised.
	Holder uint64
	// Digest is a hash of what is to be handled, kept with the key, so that another payload under the
	// same identity can be told from a duplicate. 0 is none.
	Digest uint64
}

// Claim is the answer to a Request.
type Claim struct {
	Key   Key
	State State
	// Token tells this holder from every other. Renew, Confirm and Release refuse a token that is not
	// the key's newest.
	Token uint64
	// Until is when another holder's lease ends, where State is Busy and the store knows.
	Until time.Time
	// Digest is that of the request which holds the key or completed it, where State is Busy or Done.
	Digest uint64

	// shard is where a Memory has the key, from 1; 0 is unknown.
	shard uint32
}

// ErrLost is returned to a holder whose lease ended and whose key was claimed by another since.
var ErrLost = errors.New("idempotency: the claim was lost: its lease ended and another took it")

// ErrRefused is returned by Transactor.InTx when what the handler wrote cannot be committed, and nothing was:
// it breaks a constraint that is looked at in the end, say, or the handler ended the transaction itself.
var ErrRefused = errors.New("idempotency: the store refused what the handler wrote")

// Store remembers which events were completed. An implementation obeys these rules, which
// idempotencytest.Run checks:
//
//   - Claim is atomic: of any number of concurrent callers for one key at most one gets Claimed.
//   - A claim ends by Confirm (the key is Done until the retention ends), by Release (the key is new
//     again) or by its lease running out (the next Claim gets it, with a greater token).
//   - A Claim under the Holder of the key's live claim is Claimed again, with the same token and a new
//     lease: the reply to the first was lost. So a caller that got an error asks again, and no client
//     below may repeat a claim by itself in a form that would take its own first try for another's.
//   - Lease and retention are different times: a crash wedges a key for a lease, not for the window.
//   - Renew, Confirm and Release by a holder that lost its claim change nothing and return ErrLost. A
//     holder past its lease has not lost it while nobody took the key.
//   - The Digest of the claim that holds or completed a key is kept as long as the key is.
//   - Nothing is ever forgotten in silence: what is evicted before its time is counted.
//   - Every method is safe for concurrent use, and none calls back but InTx.
type Store interface {
	// Claim asks to run a key. After an error it is unknown whether the caller holds it: ask again
	// under the same Holder.
	Claim(ctx context.Context, r Request) (Claim, error)
	// Renew makes the lease run anew from now, while the holder is at work. A claim that was confirmed
	// or released is lost.
	Renew(ctx context.Context, c Claim, lease time.Duration) error
	// Confirm records that the holder completed the key.
	Confirm(ctx context.Context, c Claim) error
	// Release gives the key back: the attempt did not succeed.
	Release(ctx context.Context, c Claim) error
}

// Transactor is a Store whose mark can commit together with the handler's own writes, so that the
// effect happens once. Memory is none: a process's memory has nothing to commit with.
type Transactor interface {
	Store
	// InTx begins a transaction, calls f with a context that carries it, and after f returned nil
	// confirms c in it and commits. When f returns an error, panics or ends its goroutine, the
	// transaction is rolled back, c is still held, and the error or the panic is passed on as it is.
	// The end of ctx reaches f, but ends neither the transaction nor its commit: what has succeeded is
	// recorded although a shutdown began.
	// When c was lost, it is rolled back and the error is ErrLost; when what f wrote cannot be committed,
	// the error Is ErrRefused. Any other error leaves open whether it committed: ask by Claim, which finds
	// Done if it did. A commit whose answer was lost is looked up first, where the store can be reached.
	InTx(ctx context.Context, c Claim, f func(context.Context) error) error
}
