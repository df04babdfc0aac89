package pipeline

import (
	"errors"
	"fmt"
	"strings"

	"github.com/runnel-go/runnel/stage"
)

// Errors that a pipeline's methods return, to be compared with errors.Is.
var (
	// ErrClosed refuses a publish to a pipeline that drains or has ended.
	ErrClosed = stage.ErrClosed
	// ErrFull refuses a publish to a full stage whose overflow mode is Reject.
	ErrFull = stage.ErrFull
	// ErrCycle refuses a publish by a handler that would wait for itself. It is an ErrFull.
	ErrCycle = stage.ErrCycle
	// ErrShutdown is the cause of the contexts that a forced shutdown ends.
	ErrShutdown = stage.ErrShutdown
	// ErrNoStage refuses a publish to a topic that no stage handles.
	ErrNoStage = errors.New("no stage handles the topic; add one")
	// ErrRunning refuses what only a pipeline that is not running can do.
	ErrRunning = errors.New("the pipeline runs")
	// ErrInHandler is returned by Shutdown to a handler: the shutdown has begun, and waiting for it
	// there would wait for itself.
	ErrInHandler = errors.New("the shutdown has begun; a handler cannot wait for it")
	// ErrUnfinished is what every UnfinishedError is.
	ErrUnfinished = errors.New("events are unfinished")
	// ErrHeld is returned by an inline Publish whose event waits for a release.
	ErrHeld = errors.New("the event is held")
)

// UnfinishedError is returned by Run when events did not finish: the grace ended first, or they wait
// behind a held event, in a paused stage or in one that has halted. None is lost: here they are.
type UnfinishedError struct {
	// Events holds them by stage, those of a key in their order. Last come the values that a source had
	// taken when the pipeline accepted nothing more; they have a topic, and no stage.
	Events []stage.Unfinished
	// Stuck names the stages whose handlers ignore that their context has ended.
	Stuck []string
}

func (e *UnfinishedError) Error() string {
	states := map[string]int{}
	for i := range e.Events {
		states[e.Events[i].State]++
	}
	var parts []string
	for _, s := range []string{"running", "queued", "parked", "held", "refused"} {
		if states[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", states[s], s))
		}
	}
	text := fmt.Sprintf("pipeline: %d events are unfinished: %s", len(e.Events), strings.Join(parts, ", "))
	if len(e.Stuck) > 0 {
		text += "; handlers that ignore their context: " + strings.Join(e.Stuck, ", ")
	}
	return text
}

// Is reports whether target is ErrUnfinished.
func (e *UnfinishedError) Is(target error) bool { return target == ErrUnfinished }
