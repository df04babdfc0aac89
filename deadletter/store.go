package deadletter

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Store keeps letters. An implementation obeys these rules, which deadlettertest.Run checks:
//
//   - What Put or Divert acknowledged is there until it is resolved, purged, or removed by a
//     retention that counts and reports it. Nothing is trimmed in silence.
//   - A letter is identified by (stage, event id): putting it again changes nothing and reports the
//     letter that is already there. Two exceptions: a letter without an event id is never taken for
//     another, and a Discarded letter that is put again has failed anew: it keeps its id and notes,
//     takes all else from the new letter, is Active and goes to the end of its sequence
//     (Letter.Replace).
//   - Letters of a sequence keep the order in which they were put. That is their accept order: a
//     lane puts one after the other.
//   - A sequence is held while a letter of it that Holds is Active or Quarantined. Divert and "the
//     last letter is gone" are decided in one critical section: a letter is never diverted to an
//     open sequence, and never let through past a held one.
//   - At most one claim on a sequence is valid at a time. Resolve and Fail are fenced: with a claim
//     that was lost they change nothing and return ErrClaimLost. A claim is lost when it is released
//     or another one is given; one whose lease ended and that nobody else took may still be good.
//   - Bytes are bytes: any payload, header and text survives, NUL and invalid UTF-8 included.
//   - Every method is safe for concurrent use. None calls back into the pipeline.
type Store interface {
	Keeper
	Claimer
	Browser
}

// Keeper is what a running stage needs of a store.
type Keeper interface {
	// Put stores l at the end of its sequence and is durable when it returns nil. It runs to its end
	// even when ctx is cancelled. The error is, or wraps, ErrSequenceFull or ErrFull at a limit.
	Put(ctx context.Context, l *Letter) (Receipt, error)
	// Divert stores l behind its sequence if that is held, and does nothing otherwise. The letter
	// becomes a follower that holds, with the Fingerprint, Error and ErrorType of the sequence's
	// head as they are now (Letter.Follow). At a limit it returns held true and the error.
	Divert(ctx context.Context, l *Letter) (r Receipt, held bool, err error)
	// MayHold reports whether the sequence of stage and key may be held. It is asked for each event
	// of a stage that parks followers, so it neither blocks on I/O nor allocates. It may say true of
	// an open sequence, never false of one that this store has acknowledged a letter for.
	MayHold(stage, key string) bool
	// Resolve removes the letter of a claimed sequence after it was redriven with success. When it
	// was the last one that holds, the sequence is open at once.
	Resolve(ctx context.Context, c Claim, id string) error
	// Fail records a redrive that failed: the letter stays in its place with Redrives+1, the new
	// attempts, history and cause (Letter.Fail). Resolve and Fail return ErrNotFound for a letter
	// that is not in the claimed sequence.
	Fail(ctx context.Context, c Claim, id string, f Failure) error
}

// Claimer is what a drain needs of a store.
type Claimer interface {
	// Claim leases the sequence to owner. It returns ErrClaimed while another owner's lease lasts
	// and ErrNotFound when the sequence has no letters but discarded ones. The owner that has it
	// gets a new claim and loses the old.
	Claim(ctx context.Context, s Sequence, owner string, lease time.Duration) (Claim, error)
	// Renew extends a claim, or returns ErrClaimLost.
	Renew(ctx context.Context, c Claim, lease time.Duration) error
	// Release gives the sequence back. Releasing a lost claim does nothing.
	Release(ctx context.Context, c Claim) error
	// Head returns the first letter of the claimed sequence that is not discarded, or ErrNotFound.
	// A claim that was lost is ErrClaimLost. What another process did to the head or the claim in the last
	// 20 ms may be overlooked: Resolve and Fail are fenced all the same.
	Head(ctx context.Context, c Claim) (Letter, error)
}

// Browser is what an operator needs of a store.
type Browser interface {
	// Get returns one letter, or ErrNotFound.
	Get(ctx context.Context, id string) (Letter, error)
	// List yields the letters that match, in the order in which they were put, as they stood when
	// they were read; it may page behind the scenes and holds no lock while it yields. An error
	// ends it.
	List(ctx context.Context, f Filter) iter.Seq2[Letter, error]
	// Groups counts the letters that match by stage and fingerprint, the largest group first, of
	// equal ones the older.
	Groups(ctx context.Context, f Filter) ([]Group, error)
	// Stats counts the whole store.
	Stats(ctx context.Context) (Stats, error)
	// Discard gives letters up: they no longer hold their sequence and are not redriven, but Restore
	// brings them back, in their place, until they are purged. It returns how many changed.
	Discard(ctx context.Context, ids []string, by Note) (int, error)
	// Restore makes discarded letters active again. It returns how many changed.
	Restore(ctx context.Context, ids []string, by Note) (int, error)
	// Edit replaces a letter's payload; the first one is kept in Original.
	Edit(ctx context.Context, id string, payload []byte, by Note) error
	// Purge removes letters that match for good and returns how many; Stats counts them as Removed.
	// Unless f names States it takes letters of every state.
	Purge(ctx context.Context, f Filter) (int, error)
}

// Receipt is what Put and Divert return.
type Receipt struct {
	ID string
	// Existed is true when the store had the letter already.
	Existed bool
}

// Claim is a lease on a sequence.
type Claim struct {
	Sequence Sequence
	Owner    string
	Token    uint64 // grows with every claim of the sequence
	Until    time.Time
	// By says who redrives and why. A drain sets it; Fail notes it with the letter.
	By Note
	// Operation is the ID of the operation that redrives, if one does. A store that records operations
	// counts what Resolve and Fail do there; see Operations.
	Operation string
}

// Failure is what a redrive that failed adds to its letter.
type Failure struct {
	Reason      Reason
	Error       string
	ErrorType   string
	Causes      []Cause
	Fingerprint string
	Stack       string
	Attempts    int // of this redrive
	History     []Attempt
	Quarantine  bool // it was redriven often enough
}

// Group is the letters of one cause.
type Group struct {
	Fingerprint string
	Stage       string
	Reason      Reason
	Error       string // of its first letter that was tried
	ErrorType   string
	Letters     int
	Sequences   int
	First, Last time.Time // DeadAt
}

// Stats counts a store's letters.
type Stats struct {
	Active, Quarantined, Discarded int
	Sequences                      int // held
	Bytes                          int64
	Oldest                         time.Time // DeadAt of the oldest that is not discarded
	// Removed counts what limits and retention removed since the store was opened.
	Removed uint64
}

// Errors of a store.
var (
	ErrNotFound     = errors.New("deadletter: no such letter")
	ErrClaimed      = errors.New("deadletter: another drainer holds the sequence")
	ErrClaimLost    = errors.New("deadletter: the claim was lost: its lease ended and another took it")
	ErrFull         = errors.New("deadletter: the store is full")
	ErrSequenceFull = errors.New("deadletter: the sequence is full")
	ErrTooLarge     = errors.New("deadletter: the letter is too large")
)

// Filter selects letters; every field that is set must match. The zero Filter selects all that are
// not discarded.
type Filter struct {
	IDs         []string // nil: any; empty but not nil: none, so that "the chosen ones" is never all
	Stage       string
	Topic       string
	Key         *string
	Reason      Reason
	Fingerprint string
	ErrorText   string // a part of the error's text, compared as it stands
	ErrorType   string
	Before      time.Time // dead before
	After       time.Time // dead at or after
	States      []State   // default: Active and Quarantined; to Purge, all
}
