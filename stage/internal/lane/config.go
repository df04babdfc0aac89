package lane

import "time"

// Action is what the engine does with an item that was run.
type Action uint8

// The actions.
const (
	Settle Action = iota // it is done with; counted under Outcome
	Park                 // it runs again after Delay
	Keep                 // it stays at the head of its lane as if it had not been run
	Hold                 // it waits at the head of its lane for a Release
	Stop                 // it waits as under Hold, and nothing more is run
)

// Outcomes is how many outcomes an engine counts.
const Outcomes = 8

// Decision is what to do with an item that was run. The zero Decision, settled under outcome 0 with nobody
// to tell, is the one that a ride can carry out without the lock.
type Decision struct {
	Action  Action
	Outcome uint8 // under Settle, below Outcomes
	Delay   time.Duration
	Hurry   bool // under Park: without the delay, once there was an Expedite
	Notify  bool // under Settle: call Runner.Settled
}

// Runner runs items, one at a time, for one worker.
type Runner[T any] interface {
	// Run runs one attempt at item, which it does not change, and writes what to do with it. It must
	// not panic. It may end its goroutine by runtime.Goexit, after it has written the decision.
	Run(item *T, d *Decision)
	// Amend writes into an item that was just run, and is not settled, what its next attempt needs.
	// It is called under the engine's lock.
	Amend(item *T)
	// Settled is called for a decision that asks for it, after the item was counted and before the
	// next of its lane is run.
	Settled(item *T, d Decision)
	// Gone is called when the engine is done with an item that this worker has settled, and nobody looks at
	// it any more. It may be called under the engine's lock.
	Gone(item *T)
}

// Config describes an engine.
type Config[T any] struct {
	Workers int
	Inlet   int // how many items wait that no worker has seen
	Room    int // how many live items may be beyond it: filed, running, parked, held; workers add to it
	// Bound is how many live items may be in the inlet and beyond it; workers add to it. 0 is Inlet and Room.
	Bound int
	// DropsOldest is whether Replace is called.
	DropsOldest bool
	// Key returns the item's key; false means that it runs in no order.
	Key func(*T) (string, bool)
	// OneKey is whether all items have the same: then nothing is gained by riding together.
	OneKey bool
	// Level, unless Levels is below 2, returns the item's, from 0 to Levels-1: a higher one goes first. It must be
	// quick: it is called under the engine's lock.
	Level  func(*T) int
	Levels int
	// NewRunner makes the runner of one worker.
	NewRunner func() Runner[T]
	// Took is called after items have left the inlet, or have settled. For items that leave it one after
	// the other in some microseconds, one call may do. It reports whether it has woken a sender.
	Took func() (woken bool)
	// Idle is called, while the engine drains, when there is nothing left to run.
	Idle func()
}
