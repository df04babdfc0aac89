package stage

import (
	"fmt"
	"strings"

	"github.com/runnel-go/runnel/stage/internal/lane"
)

// Plan says in words what a stage promises.
type Plan struct {
	Stage    string
	Topic    string
	Kind     string // "handle", "map", "expand", "to", "batch"
	Order    Order
	Key      string // whose key: "the topic's", "the stage's own", or empty
	Workers  int
	Buffer   int
	Capacity int
	// MaxPerKey is 0 where one key may fill the stage.
	MaxPerKey int
	Overflow  Overflow
	OnDrain   DrainPolicy
	Emits     string // the topic that it publishes to
	Batch     string // how large a batch is; empty where events are handled one by one
	Levels    int    // of Priority; 0 where all events are alike
	// Middleware is the chain, outermost first; Promises what each of them says of itself.
	Middleware []string
	Promises   []string
}

// Plan describes the stage, given the pipeline's middleware.
func (s *Stage) Plan(outer []Middleware) Plan {
	p := Plan{
		Stage: s.name, Topic: s.topic, Kind: s.kind, Order: s.set.order, Workers: s.set.workers,
		Buffer: s.set.buffer, Capacity: s.set.buffer + 2*s.set.workers, MaxPerKey: s.set.maxPerKey,
		Levels: s.set.levels, Overflow: s.set.overflow, OnDrain: s.set.drain, Emits: s.emits,
	}
	if s.set.batch != nil {
		p.Batch = s.set.batch.String()
	}
	if p.Order == PerKey {
		p.Key = "the topic's"
		if s.set.key != nil {
			p.Key = "the stage's own"
		}
	}
	chain := s.chain(outer)
	if s.emits != "" {
		chain = withEmit(chain, s.emits, func(bool) func(Handler) Handler { return nil })
	}
	for _, m := range chain {
		p.Middleware = append(p.Middleware, m.Name)
		if m.Promise != "" {
			p.Promises = append(p.Promises, m.Name+": "+m.Promise)
		}
	}
	return p
}

// String prints the plan over several lines.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s → %s", p.Topic, p.Stage)
	if p.Emits != "" {
		fmt.Fprintf(&b, " → %s", p.Emits)
	}
	fmt.Fprintf(&b, "  (%s)\n", p.Kind)
	fmt.Fprintf(&b, "  order       %s\n", p.orderText())
	if p.Batch != "" {
		fmt.Fprintf(&b, "  batches     %s\n", p.Batch)
		b.WriteString("              a run of each key, in its order; when one fails as a whole, each event is tried by itself\n")
	}
	if p.Levels > 0 {
		fmt.Fprintf(&b, "  priority    %d levels, never inside a key: a higher one goes first, but at most %d times in a row for each that waits\n", p.Levels, lane.LevelShare)
	}
	fmt.Fprintf(&b, "  delayed     %s\n", p.delayText())
	fmt.Fprintf(&b, "  room        %d waiting, %d at work; at most %d in all; when full: %v\n", p.Buffer, p.Workers, p.Capacity, p.Overflow)
	if p.MaxPerKey > 0 {
		fmt.Fprintf(&b, "              at most %d of one key\n", p.MaxPerKey)
	}
	fmt.Fprintf(&b, "  middleware  %s\n", strings.Join(append(p.Middleware[:len(p.Middleware):len(p.Middleware)], "handler"), " → "))
	for _, promise := range p.Promises {
		fmt.Fprintf(&b, "              %s\n", promise)
	}
	fmt.Fprintf(&b, "  on drain    parked events: %v\n", p.OnDrain)
	return b.String()
}

// delayText says what an event does to others that was put off by event.At or event.After.
func (p Plan) delayText() string {
	switch p.Order {
	case PerKey:
		return "an event that is put off keeps its place, and its key waits behind it, unless it is event.Unordered"
	case Serial:
		return "an event that is put off keeps its place, and all wait behind it, unless it is event.Unordered"
	default:
		return "an event that is put off holds up no other"
	}
}

func (p Plan) orderText() string {
	switch p.Order {
	case PerKey:
		return "per key (" + p.Key + "): events of one key one at a time, in accept order, across retries; other keys go on"
	case Serial:
		return "serial: all events one at a time, in accept order, across retries"
	default:
		return "unordered: only the attempts of one event never overlap"
	}
}
