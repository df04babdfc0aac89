package deadletter

import (
	"bytes"
	"slices"
	"time"
	"unicode/utf8"
)

// What happens to a letter in its store is written here once, so that every store does the same. The
// methods that change a letter replace what they change: a copy of the struct made before stays as it
// was.

// Clone returns a copy that shares nothing with l but Value.
func (l *Letter) Clone() *Letter {
	c := *l
	c.Header = l.Header.Clone()
	c.Payload = bytes.Clone(l.Payload)
	c.Original = bytes.Clone(l.Original)
	c.Causes = slices.Clone(l.Causes)
	c.History = slices.Clone(l.History)
	c.Notes = slices.Clone(l.Notes)
	return &c
}

// Prepare makes l ready to be stored at now: it is Active unless it has a state (an import keeps its
// own), dead since now unless it says since when, and within the limits of a letter. A letter without
// an order holds nothing.
func (l *Letter) Prepare(now time.Time) {
	if l.State == "" {
		l.State = Active
	}
	if l.DeadAt.IsZero() {
		l.DeadAt = now
	}
	l.UpdatedAt = now
	l.Holds = l.Holds && l.Ordered
	l.trim()
}

// Follow makes l a follower of head: untried, holding, of the same cause.
func (l *Letter) Follow(head *Letter) {
	l.Follower, l.Holds = true, true
	if l.Reason == "" {
		l.Reason = Follows
	}
	l.Fingerprint, l.Error, l.ErrorType = head.Fingerprint, head.Error, head.ErrorType
}

// Fail records a redrive that failed. A follower is none any longer: it was tried. When by names
// somebody or a reason it is noted.
func (l *Letter) Fail(f Failure, by Note, now time.Time) {
	l.Follower = false
	l.Reason, l.Error, l.ErrorType = f.Reason, f.Error, f.ErrorType
	l.Fingerprint, l.Stack = f.Fingerprint, f.Stack
	l.Causes = slices.Clone(f.Causes)
	l.Attempts += f.Attempts
	l.History = slices.Concat(l.History, f.History)
	l.Redrives++
	if f.Quarantine && l.State == Active {
		l.State = Quarantined
	}
	if by.Who != "" || by.Why != "" {
		l.note("redrive", by, now)
	}
	l.UpdatedAt = now
	l.trim()
}

// Discard gives l up and reports whether that changed it.
func (l *Letter) Discard(by Note, now time.Time) bool {
	if l.State == Discarded {
		return false
	}
	l.State = Discarded
	l.note("discard", by, now)
	return true
}

// Restore takes a discarded letter back and reports whether that changed it.
func (l *Letter) Restore(by Note, now time.Time) bool {
	if l.State != Discarded {
		return false
	}
	l.State = Active
	l.note("restore", by, now)
	return true
}

// Replace makes l, which died again after it was discarded, out of the letter that it was: it keeps
// its id and its notes.
func (l *Letter) Replace(old *Letter, now time.Time) {
	l.ID = old.ID
	l.Notes = slices.Concat(old.Notes, l.Notes)
	l.note("restore", Note{Why: "it failed again"}, now)
}

// Edit replaces the payload and keeps the first one in Original.
func (l *Letter) Edit(payload []byte, by Note, now time.Time) {
	if l.Original == nil {
		l.Original = append([]byte{}, l.Payload...)
	}
	l.Payload = bytes.Clone(payload)
	l.Value = nil
	l.note("edit", by, now)
}

func (l *Letter) note(what string, by Note, now time.Time) {
	by.What = what
	if by.At.IsZero() {
		by.At = now
	}
	notes := slices.Concat(l.Notes, []Note{by})
	l.Notes = notes[max(0, len(notes)-MaxNotes):]
	l.UpdatedAt = now
}

func (l *Letter) trim() {
	l.Error = cut(l.Error, MaxErrorBytes)
	l.Stack = cut(l.Stack, MaxStackBytes)
	l.Causes = l.Causes[:min(len(l.Causes), MaxCauses)]
	for i := range l.Causes {
		l.Causes[i].Text = cut(l.Causes[i].Text, MaxErrorBytes)
	}
	if n := len(l.History); n > MaxHistory {
		l.History = slices.Concat(l.History[:MaxHistory/2], l.History[n-MaxHistory/2:])
	}
	for i := range l.History {
		l.History[i].Error = cut(l.History[i].Error, MaxErrorBytes)
	}
	l.Notes = l.Notes[max(0, len(l.Notes)-MaxNotes):]
}

// cut shortens s to at most n bytes, at the end of a character, and marks it.
func cut(s string, n int) string {
	const mark = "… (cut)"
	if len(s) <= n {
		return s
	}
	end := n - len(mark)
	for end > n-len(mark)-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// Size is roughly what l occupies, in bytes: its texts and bytes, without the fixed part. It is what limits
// in bytes count.
func (l *Letter) Size() int64 {
	n := len(l.Payload) + len(l.Original) + len(l.Error) + len(l.Stack) +
		len(l.Stage) + len(l.Topic) + len(l.Key) + len(l.EventID)
	for name, value := range l.Header {
		n += len(name) + len(value)
	}
	for i := range l.Causes {
		n += len(l.Causes[i].Type) + len(l.Causes[i].Text)
	}
	for i := range l.History {
		n += len(l.History[i].Error)
	}
	for i := range l.Notes {
		n += len(l.Notes[i].Who) + len(l.Notes[i].Why)
	}
	return int64(n)
}
