package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// assembly is what a checked description becomes.
type assembly struct {
	intakes  map[string]stage.Intake // by topic
	topics   map[string]any          // the *event.Topic of each
	runtimes []stage.Runtime
	byName   map[string]stage.Runtime
}

// assemble checks the description and builds the stages, once.
func (p *Pipeline) assemble() (*assembly, error) {
	if p == nil {
		return nil, errors.New("pipeline: the pipeline is nil; make one with New")
	}
	if a := p.assembled.Load(); a != nil {
		return a, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.tried {
		p.tried = true
		p.frozen = errors.New("pipeline: its description ended the goroutine that checked it") // stands then
		p.frozen = p.freeze()
	}
	return p.assembled.Load(), p.frozen
}

// freeze checks the description and builds the stages. Functions of the user run here, so a panic of theirs is a fault.
func (p *Pipeline) freeze() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("pipeline: its description: %w", &stage.PanicError{Value: v})
		}
	}()
	if p.host == nil {
		return errors.New("pipeline: it was not made by New")
	}
	if err := p.check(); err != nil {
		return err
	}
	p.assembled.Store(p.build())
	return nil
}

// check returns every fault at once.
func (p *Pipeline) check() error {
	faults := slices.Clone(p.faults)
	if len(p.stages) == 0 {
		faults = append(faults, errors.New("pipeline: it has no stages; Add one"))
	}
	g := graph{topics: map[string]any{}, stages: map[string]bool{}}
	for i, s := range p.stages {
		if s == nil {
			faults = append(faults, fmt.Errorf("pipeline: stage %d is nil; leave it out", i+1))
			continue
		}
		faults = append(faults, s.Check(p.outer)...)
		faults = append(faults, g.add(s)...)
	}
	for _, f := range p.feeds {
		faults = append(faults, g.same(f.topic, f.value)...)
		faults = append(faults, g.handled(f.topic, "a source brings in")...)
	}
	for _, s := range g.list {
		if s.Emits() != "" {
			faults = append(faults, g.handled(s.Emits(), s.Name()+" publishes to")...)
		}
	}
	if cycle := g.cycle(); cycle != nil {
		faults = append(faults, fmt.Errorf("pipeline: the stages %s wait for each other when they are full; give one of them stage.WithOverflow(stage.Reject)", strings.Join(cycle, " → ")))
	}
	return errors.Join(faults...)
}

// graph is the stages and topics as they hang together.
type graph struct {
	list   []*stage.Stage
	topics map[string]any
	stages map[string]bool
}

func (g *graph) add(s *stage.Stage) []error {
	var faults []error
	if g.stages[s.Name()] && s.Name() != "" {
		faults = append(faults, fmt.Errorf("pipeline: two stages are named %s; give each its own name", s.Name()))
	}
	g.stages[s.Name()] = true
	g.list = append(g.list, s)
	faults = append(faults, g.same(s.Topic(), s.TopicValue())...)
	if s.Emits() != "" {
		faults = append(faults, g.same(s.Emits(), s.OutputValue())...)
	}
	return faults
}

// same reports two topics of one name.
func (g *graph) same(name string, value any) []error {
	if known, ok := g.topics[name]; ok && known != value {
		return []error{fmt.Errorf("pipeline: two topics are named %s (%T and %T); declare it once", name, known, value)}
	}
	g.topics[name] = value
	return nil
}

func (g *graph) handled(topic, who string) []error {
	if slices.ContainsFunc(g.list, func(s *stage.Stage) bool { return s.Topic() == topic }) {
		return nil
	}
	return []error{fmt.Errorf("pipeline: %s topic %s, but no stage handles it; add one", who, topic)}
}

// cycle returns stages that publish to each other in a circle in which each waits for the next, or nil.
func (g *graph) cycle() []string {
	var visit func(s *stage.Stage, path []string) []string
	visit = func(s *stage.Stage, path []string) []string {
		if i := slices.Index(path, s.Name()); i >= 0 {
			return append(slices.Clone(path[i:]), s.Name())
		}
		for _, next := range g.list {
			if s.Emits() != "" && next.Topic() == s.Emits() && next.Waits() {
				if c := visit(next, append(path, s.Name())); c != nil {
					return c
				}
			}
		}
		return nil
	}
	for _, s := range g.list {
		if c := visit(s, nil); c != nil {
			return c
		}
	}
	return nil
}

// build makes the intakes and the stages of a description without faults.
func (p *Pipeline) build() *assembly {
	a := &assembly{intakes: map[string]stage.Intake{}, topics: map[string]any{}, byName: map[string]stage.Runtime{}}
	for _, s := range p.stages {
		if a.intakes[s.Topic()] == nil {
			a.intakes[s.Topic()], a.topics[s.Topic()] = s.NewIntake(p.host), s.TopicValue()
		}
	}
	for _, s := range p.stages {
		r := s.Build(p.host, p.outer, a.intakes[s.Topic()], a.intakes[s.Emits()])
		a.runtimes = append(a.runtimes, r)
		a.byName[s.Name()] = r
	}
	return a
}

// doorOf returns the intake of a topic.
func doorOf[T any](p *Pipeline, topic *event.Topic[T]) (*stage.Door[T], error) {
	if topic == nil {
		return nil, errors.New("pipeline: the publisher's topic is nil; give it one made by event.NewTopic")
	}
	a, err := p.assemble()
	if err != nil {
		return nil, err
	}
	door, ok := a.intakes[topic.Name()].(*stage.Door[T])
	switch {
	case a.intakes[topic.Name()] == nil:
		return nil, fmt.Errorf("pipeline: publish to %s: %w", topic.Name(), ErrNoStage)
	case !ok || door.Topic() != topic:
		return nil, fmt.Errorf("pipeline: publish to %s: the stages handle another topic of that name (%T); declare it once", topic.Name(), a.topics[topic.Name()])
	}
	return door, nil
}
