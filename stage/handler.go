package stage

import (
	"context"
	"slices"
)

// Handler runs one attempt at one delivery; what it returns is the verdict (see Verdict). The innermost
// handler of a chain is the stage's own function; each middleware wraps the next.
type Handler func(ctx context.Context, d *Delivery) error

// Middleware wraps every attempt at every delivery of a stage. It is a plain struct, so that writing
// one needs neither a type parameter nor a constructor:
//
//	var Audit = stage.Middleware{Name: "audit", Wrap: func(next stage.Handler) stage.Handler {
//		return func(ctx context.Context, d *stage.Delivery) error {
//			err := next(ctx, d)
//			audit(d.ID(), err)
//			return err
//		}
//	}}
type Middleware struct {
	// Name is what the plan prints and what Outside and Inside refer to. Required.
	Name string
	// Wrap is called once for each stage, before it starts; the handler it returns is called by all
	// of the stage's workers at once. Required.
	Wrap func(next Handler) Handler
	// Outside and Inside name the middleware that this one must stand outside or inside of, where
	// they are in the same chain. A chain in another order is refused before anything starts.
	Outside, Inside []string
	// Promise says in words what the middleware does to the stage's deliveries; the plan prints it.
	Promise string
	// Redrives is set by the middleware that settles redriven dead letters.
	Redrives bool
	// NeedsCodec is set when the middleware turns payloads into bytes, so that a payload which its
	// topic's codec cannot carry is reported before anything starts.
	NeedsCodec bool
	// Commits is set when the handler's writes are committed as the middleware returns, by a transaction in
	// the handler's context. What Map and Expand return is published outside of it, after the commit; a
	// Batch, whose handler has no such context, is refused.
	Commits bool
	// Single, when not nil, is what no two middleware of one chain may have equal: what they would claim or take
	// room of twice for one attempt.
	Single any
	// Fault, when not nil, says what is wrong with the middleware's own settings. It is reported
	// before anything starts.
	Fault error
}

// Chain wraps h by middleware, the first outermost.
func Chain(h Handler, middleware ...Middleware) Handler {
	for _, m := range slices.Backward(middleware) {
		h = m.Wrap(h)
	}
	return h
}
