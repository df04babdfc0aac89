package deadletter

import (
	"time"

	"github.com/runnel-go/runnel/event"
)

// Letter is an event that a stage gave up on, with all that an operator needs to understand it, mend
// the cause and send it back.
type Letter struct {
	// ID names the letter in its store; the store gives it at Put.
	ID string

	// Where it comes from.
	Stage   string
	Topic   string
	Key     string // the key whose order the stage keeps: with Stage, it names the sequence
	Ordered bool   // whether Key means an order; letters without one are sequences of their own
	Holds   bool   // whether the letter holds its sequence: followers are diverted behind it

	// The event as the stage received it. Redrive restores all of it.
	EventID  string // its identity, generated or given
	GivenID  string // the identity that its producer gave, if any
	Origin   uint64 // with Seq, the generated identity
	TopicKey string // the event's own key, where the stage has a key of its own
	Seq      uint64
	Time     time.Time
	Header   event.Header
	Payload  []byte
	Codec    string // how Payload is written; empty when it is raw bytes that could not be decoded
	// Value is the payload itself, kept by stores in this process when Payload could not be made.
	// Stores that outlive the process do not keep it.
	Value any

	// Why it is here.
	Follower    bool   // not tried: it follows an earlier letter of its key
	Reason      Reason // what kind of failure
	Error       string // the failure in one line
	ErrorType   string // the Go type of the root error
	Causes      []Cause
	Fingerprint string // equal for letters of one cause; a follower has its head's
	Stack       string // of the goroutine, on panic
	Attempts    int    // how often the handler was tried, redrives included
	History     []Attempt
	Redrives    int // how often it was sent back

	// What happened to it here.
	State     State
	DeadAt    time.Time // when it was stored
	UpdatedAt time.Time
	Notes     []Note
	Original  []byte // the payload as it was before the first Edit
}

// Reason is what kind of failure made a letter.
type Reason string

// The reasons.
const (
	Exhausted   Reason = "exhausted"   // every attempt failed
	Permanent   Reason = "permanent"   // the handler said that no retry can mend it
	Panicked    Reason = "panic"       // the last attempt panicked, or ended its goroutine
	TimedOut    Reason = "timeout"     // the last attempt took too long
	Undecodable Reason = "undecodable" // it could not be decoded; the handler was not called
	Follows     Reason = "follows"     // it follows an earlier letter; the handler was not called
)

// State is where a letter stands.
type State string

// The states. Active and Quarantined letters hold their sequence; a Quarantined one is redriven only by its id.
const (
	Active      State = "active"
	Quarantined State = "quarantined" // redriven MaxRedrives times: it holds, but only an explicit redrive by id takes it
	Discarded   State = "discarded"   // given up by an operator; restorable until retention ends
)

// Cause is one error of the chain that led to a letter, outermost first.
type Cause struct{ Type, Text string }

// Attempt is one failed attempt.
type Attempt struct {
	Number int
	At     time.Time
	Error  string
}

// Note records what an operator did to a letter, who and why.
type Note struct {
	At   time.Time
	What string // "discard", "restore", "edit", "redrive"
	Who  string
	Why  string
}

// Limits of a letter, beyond which its parts are cut with a mark.
const (
	MaxErrorBytes = 8 << 10
	MaxStackBytes = 16 << 10
	MaxCauses     = 16
	MaxHistory    = 20
	MaxNotes      = 50
)

// Sequence names the letters that keep one order: those of one stage and key. Solo, a letter's id,
// names the sequence of a letter without an order.
type Sequence struct{ Stage, Key, Solo string }

// Sequence returns the sequence that l belongs to.
func (l *Letter) Sequence() Sequence {
	if l.Ordered {
		return Sequence{Stage: l.Stage, Key: l.Key}
	}
	return Sequence{Stage: l.Stage, Key: l.Key, Solo: l.ID}
}
