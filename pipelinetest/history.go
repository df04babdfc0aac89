package pipelinetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// What says what happened to an event.
type What uint8

// What may happen to an event. The first five come from Recorder.Observer.
const (
	Accepted What = iota // every stage of its topic has it
	Started              // an attempt begins
	Parked               // the attempt asked to be repeated
	Held                 // the event waits for a release
	Settled              // the event has ended at a stage

	// These come from Recorder.Middleware.

	Called   // the handler is called
	Returned // it is back; Err says how

	// These come from Recorder.Letters. Letter is the letter's id.

	Stored    // the store has the event's letter
	Diverted  // the store has it behind a letter of its key
	Resolved  // the letter was redriven with success, and is gone
	Failed    // the letter's redrive failed; it stays
	Discarded // an operator gave the letter up
	Restored  // an operator took that back
)

func (w What) String() string {
	return [...]string{
		"accepted", "started", "parked", "held", "settled", "called", "returned",
		"stored", "diverted", "resolved", "failed", "discarded", "restored",
	}[w]
}

// Entry is one line of a History.
type Entry struct {
	At   time.Time
	What What

	Topic  string
	ID     string
	Key    string // the event's own
	Seq    uint64
	Origin uint64 // with Topic and Seq, it names the event: an ID may be given twice

	// The rest is empty when What is Accepted, which concerns no stage.

	Stage   string
	Lane    string // the key whose order the stage keeps for it
	Ordered bool   // whether it keeps one
	Batched bool   // whether the stage handles events in batches
	Attempt int
	Redrive string // the dead letter's id, of a redriven one
	Final   bool   // of Started: the pipeline drains and waits for no other attempt

	Delay       time.Duration // of Parked
	Postponed   bool          // of Parked: the attempt did not count
	Outcome     stage.Outcome // of Settled
	Err         error         // of Parked, Held, Settled and Returned
	Interrupted bool          // of Returned: a shutdown or a cancelled drain had ended its context
	Letter      string        // of what Recorder.Letters adds: the letter's id
	Holds       bool          // of Stored and Diverted: the letter holds its lane
}

func (e Entry) String() string {
	if e.What == Accepted {
		return fmt.Sprintf("%v %s/%d %s", e.What, e.Topic, e.Seq, e.ID)
	}
	s := fmt.Sprintf("%v %s/%d %s at %s", e.What, e.Topic, e.Seq, e.ID, e.Stage)
	if e.Ordered {
		s += fmt.Sprintf(" in lane %q", e.Lane)
	}
	s += fmt.Sprintf(", attempt %d", e.Attempt)
	if e.Redrive != "" {
		s += ", redrive of letter " + e.Redrive
	}
	if e.Letter != "" {
		s += ", letter " + e.Letter
	}
	switch e.What {
	case Parked:
		s += fmt.Sprintf(", for %v", e.Delay)
	case Settled:
		s += ", " + e.Outcome.String()
	}
	if e.Err != nil {
		s += ": " + stage.ErrorText(e.Err)
	}
	return s
}

// History is what happened to the events of one pipeline, in order. An event's Accepted may stand after its
// first Started: a worker can be quicker than the publish that it serves.
type History []Entry

// Filter returns the entries for which keep is true.
func (h History) Filter(keep func(Entry) bool) History {
	var kept History
	for _, e := range h {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// Started returns the attempts that began at a stage.
func (h History) Started(stage string) History {
	return h.Filter(func(e Entry) bool { return e.What == Started && e.Stage == stage })
}

// Settled returns what ended at a stage, redriven letters included.
func (h History) Settled(stage string) History {
	return h.Filter(func(e Entry) bool { return e.What == Settled && e.Stage == stage })
}

// Of returns what happened in one lane of a stage.
func (h History) Of(stage, lane string) History {
	return h.Filter(func(e Entry) bool { return e.Stage == stage && e.Lane == lane })
}

// IDs returns the entries' identities, in order.
func (h History) IDs() []string {
	ids := make([]string, len(h))
	for i, e := range h {
		ids[i] = e.ID
	}
	return ids
}

// String prints an entry a line.
func (h History) String() string {
	var b strings.Builder
	for _, e := range h {
		b.WriteString(e.String())
		b.WriteByte('\n')
	}
	return b.String()
}
