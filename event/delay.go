package event

import "time"

// The header names that put an event off. They travel with it, into dead letters and back.
const (
	HeaderNotBefore = "not-before" // RFC 3339, to the nanosecond
	HeaderUnordered = "unordered"  // "true"
)

// At has the event handled not before t: it is accepted now and waits in its stages, without a worker,
// until it is due. In a stage with an order it keeps its place: the events of its key that came after
// it wait behind it, and it is tried at t or as soon after as its turn comes; see Unordered. It counts
// against each stage's capacity while it waits, and is lost with the process like any event in memory. A
// t in the past changes nothing.
func At(t time.Time) PublishOption {
	return WithHeader(HeaderNotBefore, notBefore(t))
}

// After is At, d from now.
func After(d time.Duration) PublishOption {
	return publishOption(func(m *Meta) {
		m.setHeader(HeaderNotBefore, notBefore(time.Now().Add(d)))
	})
}

// notBefore is the header's text. A year of more than four digits cannot be read back.
func notBefore(t time.Time) string {
	if last := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC); t.After(last) {
		t = last
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Unordered takes the event out of its key's order: it waits for no other event of its key, none waits for
// it, and they may overlap. With At or After it is handled when it is due, while its key goes on.
func Unordered() PublishOption { return WithHeader(HeaderUnordered, "true") }

// NotBefore returns when the event may be handled, if its producer put it off. A header that is no time
// puts nothing off.
func (m *Meta) NotBefore() (due time.Time, delayed bool) {
	text, ok := m.Header[HeaderNotBefore]
	if !ok {
		return time.Time{}, false
	}
	due, err := time.Parse(time.RFC3339Nano, text)
	return due, err == nil
}

// IsUnordered reports whether its producer took the event out of its key's order.
func (m *Meta) IsUnordered() bool { return m.Header[HeaderUnordered] == "true" }
