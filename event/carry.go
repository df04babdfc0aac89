package event

import (
	"context"
	"maps"
)

type carryKey struct{}

// Carry returns a context that gives h to every event published with it, beside what it carries already.
// A header that the publish names itself wins. Middleware uses it to hand facts on, such as a trace, from
// an event to those that its handler publishes. H is shared by them: do not change it afterwards.
func Carry(ctx context.Context, h Header) context.Context {
	if before := Carried(ctx); len(before) > 0 {
		all := before.Clone()
		maps.Copy(all, h)
		h = all
	}
	return context.WithValue(ctx, carryKey{}, h)
}

// Carried returns the headers that events published with ctx are given. Read-only.
func Carried(ctx context.Context) Header {
	h, _ := ctx.Value(carryKey{}).(Header)
	return h
}

// Carry adds headers that the event does not have yet. An event without any shares h.
func (m *Meta) Carry(h Header) {
	if len(h) == 0 {
		return
	}
	if len(m.Header) == 0 {
		m.Header = h
		return
	}
	for name, value := range h {
		if _, own := m.Header[name]; !own {
			m.setHeader(name, value)
		}
	}
}
