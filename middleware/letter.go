package middleware

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

// newLetter makes a letter of a failed event. It cannot fail: a payload that its codec cannot write is kept
// as a value, and every text is bounded, whatever the error's methods do.
func newLetter(d *stage.Delivery, err error) deadletter.Letter {
	l := envelope(d)
	f := failureOf(d, err)
	l.Reason, l.Error, l.ErrorType, l.Causes = f.Reason, f.Error, f.ErrorType, f.Causes
	l.Fingerprint, l.Stack, l.Attempts, l.History = f.Fingerprint, f.Stack, f.Attempts, f.History
	return l
}

// newFollower makes a letter of an event that is not tried because its key is held.
func newFollower(d *stage.Delivery) deadletter.Letter {
	l := envelope(d)
	l.Follower, l.Holds = true, true
	l.Reason = deadletter.Follows
	l.History = history(d)
	l.Attempts = d.Attempt - 1
	return l
}

// envelope is all of a letter but the failure.
func envelope(d *stage.Delivery) deadletter.Letter {
	l := deadletter.Letter{
		Stage: d.Stage, Topic: d.Topic, Key: keyOf(d), Ordered: d.Ordered,
		EventID: d.ID(), GivenID: d.GivenID, Origin: d.Origin, TopicKey: d.Key, Seq: d.Seq,
		Time: d.Time, Header: d.Header.Clone(), State: deadletter.Active,
	}
	var err error
	if l.Payload, l.Codec, err = d.Encode(); err != nil {
		l.Payload, l.Codec, l.Value = nil, "", d.Payload()
		l.Notes = []deadletter.Note{{
			At: time.Now(), What: "encode", Who: "runnel", Why: "the codec cannot write the payload: " + stage.ErrorText(err),
		}}
	}
	return l
}

// keyOf is the key whose order the stage keeps, where it keeps one.
func keyOf(d *stage.Delivery) string {
	if d.Ordered {
		return d.Lane
	}
	return d.Key
}

// failureOf puts a failure into words.
func failureOf(d *stage.Delivery, err error) deadletter.Failure {
	kind := stage.VerdictOf(err).Kind
	err = core(err)
	all := stage.Errors(err)
	root := all[len(all)-1]
	f := deadletter.Failure{
		Reason:    reasonOf(kind, all),
		Error:     oneLine(stage.ErrorText(err)),
		ErrorType: fmt.Sprintf("%T", root),
		Causes:    causes(all),
		Stack:     stackOf(all),
		History:   history(d),
	}
	f.Fingerprint = deadletter.Fingerprint(d.Stage, f.ErrorType, stage.ErrorText(root), deadletter.TopFrame(f.Stack))
	if f.Reason != deadletter.Undecodable {
		f.Attempts = d.Attempt
		f.History = append(f.History, deadletter.Attempt{Number: d.Attempt, At: time.Now(), Error: brief(err)})
	}
	return f
}

// core is the failure without what Retry and the verdict add to it, which the letter's own fields say.
func core(err error) error {
	for range 8 {
		if x, ok := err.(*ExhaustedError); ok && x.Err != nil { //nolint:errorlint // only the outermost
			err = x.Err
		} else if isMark(err) {
			err = stage.VerdictOf(err).Cause
		} else {
			break
		}
	}
	return err
}

// reasonOf looks through the tree itself: an Unwrap that never ends would hang errors.Is.
func reasonOf(kind stage.Kind, all []error) deadletter.Reason {
	if contains(all, stage.ErrUndecodable) {
		return deadletter.Undecodable
	}
	if contains(all, stage.ErrGoexit) {
		return deadletter.Panicked
	}
	for _, e := range all {
		switch e.(type) { //nolint:errorlint // see above
		case *stage.PanicError:
			return deadletter.Panicked
		case *TimeoutError:
			return deadletter.TimedOut
		}
	}
	if kind == stage.KindPermanent {
		return deadletter.Permanent
	}
	return deadletter.Exhausted
}

// contains compares with a sentinel, which is a pointer: errors in all need not be comparable.
func contains(all []error, sentinel error) bool {
	return slices.ContainsFunc(all, func(e error) bool { return e == sentinel }) //nolint:errorlint // all is the tree
}

func stackOf(all []error) string {
	for _, e := range all {
		if p, ok := e.(*stage.PanicError); ok { //nolint:errorlint // all is the tree
			return string(p.Stack)
		}
	}
	return ""
}

// causes lists the errors of the tree, without the marks of verdicts, which say nothing of their own.
func causes(all []error) []deadletter.Cause {
	var list []deadletter.Cause
	for _, e := range all {
		if len(list) == deadletter.MaxCauses {
			break
		}
		if !isMark(e) {
			list = append(list, deadletter.Cause{Type: fmt.Sprintf("%T", e), Text: brief(e)})
		}
	}
	return list
}

func history(d *stage.Delivery) []deadletter.Attempt {
	var list []deadletter.Attempt
	for _, a := range d.History() {
		list = append(list, deadletter.Attempt{Number: a.Number, At: a.At, Error: brief(a.Err)})
	}
	return list
}

// maxBrief bounds the texts of which a letter has many.
const maxBrief = 1 << 10

func brief(err error) string { return stage.Truncate(stage.ErrorText(err), maxBrief) }

var breaks = strings.NewReplacer("\r\n", "; ", "\n", "; ")

func oneLine(s string) string { return stage.Truncate(breaks.Replace(s), deadletter.MaxErrorBytes) }
