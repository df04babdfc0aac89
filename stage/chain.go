package stage

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Canonical is the order in which middleware of these names stands, outermost first.
const Canonical = "trace → log → deadletter → deadline, filter, sample → idempotent → retry → throttle, ratelimit, breaker → timeout → recover → handler"

// checkChain reports middleware that is incomplete, mis-set, or in an order that cannot work.
func checkChain(label string, chain []Middleware) []error {
	var faults []error
	for i, m := range chain {
		switch {
		case m.Name == "":
			faults = append(faults, fmt.Errorf("stage: %s: middleware %d has no Name; give it one", label, i+1))
		case m.Wrap == nil:
			faults = append(faults, fmt.Errorf("stage: %s: middleware %s has no Wrap; give it one", label, m.Name))
		}
		if m.Fault != nil {
			faults = append(faults, fmt.Errorf("stage: %s: %w", label, m.Fault))
		}
		for j, other := range chain {
			if j < i && m.Single != nil && reflect.ValueOf(m.Single).Comparable() && m.Single == other.Single {
				faults = append(faults, fmt.Errorf("stage: %s: middleware %s stands twice in the chain, and would wait for itself; leave one out", label, m.Name))
			}
			if j < i && slices.Contains(m.Outside, other.Name) || j > i && slices.Contains(m.Inside, other.Name) {
				faults = append(faults, misplaced(label, chain, m.Name, other.Name, j < i))
			}
		}
	}
	return faults
}

func misplaced(label string, chain []Middleware, name, other string, outside bool) error {
	where := "inside"
	if outside {
		where = "outside"
	}
	return fmt.Errorf("stage: %s: middleware %s must stand %s of %s, but the chain is %s; the canonical order is %s; "+
		"what p.Use adds stands outside of all that stage.Use adds: if one is of each, give both to the stage",
		label, name, where, other, chainText(chain), Canonical)
}

// chainText prints a chain, outermost first.
func chainText(chain []Middleware) string {
	names := make([]string, 0, len(chain)+1)
	for _, m := range chain {
		names = append(names, m.Name)
	}
	return strings.Join(append(names, "handler"), " → ")
}

// emitPlace is where in a chain what a handler emitted is published: right outside of the middleware that
// commits what the handler wrote, or else right inside of that which decides whether an attempt is repeated, and of a
// trace, which goes on with it, and outside of everything that can still fail the attempt.
func emitPlace(chain []Middleware) (place int, afterCommit bool) {
	for i, m := range chain {
		if m.Commits {
			return i, true
		}
		switch m.Name {
		case "trace", "retry", "idempotent", "deadletter":
			place = i + 1
		}
	}
	return place, false
}

// withEmit is the chain with what publishes to a topic in its place.
func withEmit(chain []Middleware, topic string, wrap func(afterCommit bool) func(Handler) Handler) []Middleware {
	place, afterCommit := emitPlace(chain)
	emit := Middleware{Name: "emit", Wrap: wrap(afterCommit), Promise: "publishes to " + topic + " when the attempt has succeeded"}
	if afterCommit {
		emit.Promise = "publishes to " + topic + " when the attempt is committed"
	}
	return slices.Insert(slices.Clone(chain), place, emit)
}
