package deadletter

// Policy says what happens to the events that follow a dead letter in its lane.
type Policy string

// The policies.
const (
	// Park stores followers behind the letter, untried, until the sequence is empty again: what
	// completes is exactly the accept order. It is the default of a stage that keeps an order.
	Park Policy = "park"
	// Continue runs followers; the letter is a gap in the order. It is the default of a stage that
	// keeps none, which knows no other.
	Continue Policy = "continue"
	// Block stores nothing: the failed event keeps its key waiting, in memory, until it is released.
	Block Policy = "block"
	// HaltStage stores nothing and stops the stage; Run returns the failure.
	HaltStage Policy = "halt stage"
)
