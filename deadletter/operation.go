package deadletter

import (
	"context"
	"iter"
	"time"
)

// Operation is a bulk redrive as its store records it: who asked for it and why, what it took when it was
// asked for, how far it is, and which letters failed. A process that redrives takes it with a lease; when
// that process dies another takes it up where it stood.
type Operation struct {
	// ID names the operation in its store; the store gives it.
	ID string

	// What was asked for. Filter.Before bounds it: letters that die later are not its business, those
	// that it makes fail again included.
	Filter   Filter
	Selected int     // letters that matched then; once finished, with those that were being stored just then
	Rate     float64 // letters a second at most; 0: no limit
	Limit    int     // letters redriven at most; 0: no limit
	Parallel int     // sequences at once; 0: one
	Who, Why string
	At       time.Time // when it was asked for

	// How far it is.
	State     OperationState
	Succeeded int // redriven, handled and gone
	Failed    int // redriven and failed again; Operations.OperationFailures lists them
	Blocked   int // once finished: behind a letter that stays
	Untouched int // once finished: not reached, because of the limit
	Stopped   Stopped
	StartedAt time.Time // when it was first taken
	EndedAt   time.Time
	Cancelled Note // who cancelled it, when and why

	// Who works on it, or did last.
	Owner  string
	Token  uint64    // grows each time it is taken
	Until  time.Time // the end of the lease
	Starts int       // how often it was taken; more than once: who had it died or gave it back
}

// OperationState is where an operation stands.
type OperationState string

// The states of an operation. It is running also when who ran it died, until another takes it up.
const (
	OperationRequested OperationState = "requested" // nobody has taken it yet
	OperationRunning   OperationState = "running"
	OperationFinished  OperationState = "finished"
	OperationCancelled OperationState = "cancelled"
)

// Open reports whether o has not ended.
func (o Operation) Open() bool { return o.State == OperationRequested || o.State == OperationRunning }

// Gone is how many of the selected letters are accounted for by nobody: while o is open, and when it was cancelled,
// those that are left, and once it is finished those that others redrove, discarded or purged meanwhile, or that were
// being redriven by another drain.
func (o Operation) Gone() int {
	return max(0, o.Selected-o.Succeeded-o.Failed-o.Blocked-o.Untouched)
}

// Operations is the part of a store that keeps operations. An implementation obeys these rules, which
// deadlettertest.RunOperations checks:
//
//   - An operation is as durable as a letter: what AddOperation acknowledged is there until it has
//     ended. Of those that have ended a store keeps the newest MaxEnded; older ones may go.
//   - Every text of an operation, its filter and its failures is bytes: NUL and invalid UTF-8 survive
//     (Filter.MarshalBinary writes a filter so).
//   - At most one lease on an operation is valid at a time, by the store's own clock, and what is done
//     with one that was lost is refused with ErrClaimLost, as it is with claims on sequences.
//   - Resolve and Fail, called with a claim whose Operation names an operation, count it there in the
//     same step in which they change the letter: Resolve adds one to Succeeded, Fail adds the letter
//     to the failures. They do so in whatever state the operation is, and whoever has its lease; a name that is unknown
//     is passed over.
//   - Failed is the number of different letters that failed; a letter is listed once, with its
//     latest error.
type Operations interface {
	// AddOperation records an operation that was asked for and returns it with its ID and State; only
	// what was asked for is taken from o. When owner is not empty it is taken at once, as by
	// TakeOperation.
	AddOperation(ctx context.Context, o Operation, owner string, lease time.Duration) (Operation, error)
	// Operation returns one, or ErrNotFound.
	Operation(ctx context.Context, id string) (Operation, error)
	// Operations yields the operations, the newest first, as they stood when they were read. It holds
	// no lock while it yields. An error ends it.
	Operations(ctx context.Context) iter.Seq2[Operation, error]
	// OperationFailures yields the letters that failed, in the order in which they first did. Of an unknown
	// operation there are none. An error ends it.
	OperationFailures(ctx context.Context, id string) iter.Seq2[LetterFailure, error]
	// TakeOperation leases the oldest open operation that no lease covers, owner's own included, and
	// whose Filter.Stage is one of stages; nil stages are any. It is OperationRunning from now on. It returns
	// ErrNotFound when there is none.
	TakeOperation(ctx context.Context, owner string, stages []string, lease time.Duration) (Operation, error)
	// RenewOperation extends the lease of who took o, or returns ErrClaimLost: another has it, or it
	// has ended; then it was cancelled.
	RenewOperation(ctx context.Context, o Operation, lease time.Duration) error
	// FailOperation adds a letter to the failures of o, whose redrive failed before anything could be
	// recorded with the letter. It is ErrClaimLost without a valid lease.
	FailOperation(ctx context.Context, o Operation, f LetterFailure) error
	// ReleaseOperation gives o back, for another to go on with. With a lost lease it does nothing.
	ReleaseOperation(ctx context.Context, o Operation) error
	// EndOperation makes o OperationFinished, with the Selected, Blocked, Untouched and Stopped that it
	// has. It is ErrClaimLost without a valid lease.
	EndOperation(ctx context.Context, o Operation) error
	// CancelOperation makes an open operation OperationCancelled; who has it learns that when it renews its
	// lease. It reports whether that changed anything, and ErrNotFound when there is no such
	// operation.
	CancelOperation(ctx context.Context, id string, by Note) (bool, error)
}

// MaxEnded is how many ended operations a store keeps at least.
const MaxEnded = 1000

// RedriveStore is a Store that records operations.
type RedriveStore interface {
	Store
	Operations
}
