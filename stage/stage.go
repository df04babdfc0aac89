package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runnel-go/runnel/event"
)

// Stage is a description: which topic, which handler, which order. It is made by Handle, Map, Expand
// and To, does nothing by itself, and may be added to any number of pipelines.
type Stage struct {
	name  string
	kind  string
	topic string
	emits string // the topic it publishes to, if any
	set   settings
	typed typed
}

// typed is the part of a description that knows the payload's type.
type typed interface {
	faults(s *Stage) []error
	checkCodec(label string) error
	topicOf() any  // the *event.Topic it reads, compared with ==
	outputOf() any // the *event.Topic it emits to, or nil
	newIntake(h *Host) Intake
	run(s *Stage, h *Host, chain []Middleware, intake, output Intake) Runtime
}

// Handle describes a stage that calls handle for each event of the topic.
func Handle[T any](topic *event.Topic[T], name string, handle func(context.Context, event.Event[T]) error, opts ...Option) *Stage {
	p := &plain[T]{topic: topic}
	if handle != nil {
		p.process = func(ctx context.Context, r *runner[T]) error { return handle(ctx, r.it.event) }
	}
	return describe("handle", name, topic, p, opts)
}

// To describes a stage that sends each event on the caller's own channel, waiting while it is full. The
// channel is never closed by the stage.
func To[T any](topic *event.Topic[T], name string, ch chan<- event.Event[T], opts ...Option) *Stage {
	p := &plain[T]{topic: topic}
	if ch != nil {
		p.process = func(ctx context.Context, r *runner[T]) error {
			select {
			case ch <- r.it.event:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return describe("to", name, topic, p, opts)
}

// Map describes a stage that turns each event of topic into one of the topic to. What the handler
// returns is published when its attempt has succeeded; a failed attempt publishes nothing.
func Map[T, U any](topic *event.Topic[T], name string, to *event.Topic[U], handle func(context.Context, event.Event[T]) (U, error), opts ...Option) *Stage {
	p := &plain[T]{topic: topic}
	if handle != nil {
		p.process = func(ctx context.Context, r *runner[T]) error {
			v, err := handle(ctx, r.it.event)
			if err == nil {
				box := r.box.(*outbox[T, U])
				box.out = append(box.out, v)
			}
			return err
		}
	}
	return describe("map", name, topic, &emitting[T, U]{plain: p, to: to, one: handle}, opts)
}

// Expand describes a stage that turns each event of topic into any number of events of the topic to,
// published in their order when the attempt has succeeded; a failed attempt publishes nothing.
func Expand[T, U any](topic *event.Topic[T], name string, to *event.Topic[U], handle func(context.Context, event.Event[T]) ([]U, error), opts ...Option) *Stage {
	p := &plain[T]{topic: topic}
	if handle != nil {
		p.process = func(ctx context.Context, r *runner[T]) error {
			vs, err := handle(ctx, r.it.event)
			if err == nil {
				box := r.box.(*outbox[T, U])
				box.out = append(box.out, vs...)
			}
			return err
		}
	}
	return describe("expand", name, topic, &emitting[T, U]{plain: p, to: to}, opts)
}

func describe[T any](kind, name string, topic *event.Topic[T], t typed, opts []Option) *Stage {
	s := &Stage{name: name, kind: kind, typed: t}
	if topic != nil {
		s.topic = topic.Name()
	}
	if e, ok := t.(interface{ outputName() string }); ok {
		s.emits = e.outputName()
	}
	s.set = settings{workers: DefaultWorkers, buffer: DefaultBuffer}
	explicit := settings{}
	for _, o := range opts {
		if o != nil {
			o.applyStage(&s.set)
			o.applyStage(&explicit)
		}
	}
	if s.set.order == 0 {
		s.set.order = Unordered
		if s.set.key != nil || topic != nil && topic.Keyed() {
			s.set.order = PerKey
		}
	}
	if s.set.order == Serial && explicit.workers == 0 {
		s.set.workers = 1
	}
	return s
}

// Name returns the stage's name.
func (s *Stage) Name() string { return s.name }

// Topic returns the name of the topic whose events the stage handles.
func (s *Stage) Topic() string { return s.topic }

// Emits returns the name of the topic that Map and Expand publish to; empty for the others.
func (s *Stage) Emits() string { return s.emits }

// Waits reports whether a publish waits for room in the stage.
func (s *Stage) Waits() bool { return s.set.overflow == Block }

// TopicValue returns the *event.Topic that the stage handles, and OutputValue the one it publishes to or
// nil, so that two topics of one name can be told apart.
func (s *Stage) TopicValue() any { return s.typed.topicOf() }

// OutputValue is described at TopicValue.
func (s *Stage) OutputValue() any { return s.typed.outputOf() }

// Check returns every fault of the description, given the pipeline's middleware, which stands outside
// of the stage's own. Each names the field and the mend.
func (s *Stage) Check(outer []Middleware) []error {
	var faults []error
	add := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("stage: %s: "+format, append([]any{s.label()}, args...)...))
	}
	if s.name == "" {
		add("the name is empty; give it a name")
	}
	if s.set.workers < 1 || s.set.workers > MaxWorkers {
		add("Workers(%d); give it from 1 to %d", s.set.workers, MaxWorkers)
	}
	if s.set.buffer < 1 || s.set.buffer > MaxBuffer {
		add("Buffer(%d); give it from 1 to %d", s.set.buffer, MaxBuffer)
	}
	if s.set.order > Unordered {
		add("WithOrder(%d); use PerKey, Serial or Unordered", s.set.order)
	}
	if s.set.overflow > DropNewest {
		add("WithOverflow(%d); use Block, Reject, DropOldest or DropNewest", s.set.overflow)
	}
	if s.set.drain > Return {
		add("OnDrain(%d); use WaitUntilDue, TryOnce, GiveUp or Return", s.set.drain)
	}
	if s.set.maxPerKey < 0 || s.set.maxPerKey > 0 && s.set.order != PerKey {
		add("MaxPerKey(%d) on a stage that is %v; use a positive number, with PerKey", s.set.maxPerKey, s.set.order)
	}
	if s.set.maxPerKey > 0 && s.set.overflow == DropOldest {
		add("MaxPerKey with DropOldest; use another overflow mode: the oldest event of a key may be running")
	}
	if s.set.level != nil && (s.set.levels < 2 || s.set.levels > maxLevels) {
		add("Priority(%d); give it from 2 to %d levels", s.set.levels, maxLevels)
	}
	if s.set.level != nil && (s.set.order == Serial || s.set.overflow == DropOldest) {
		add("Priority on a stage that is %v, with the overflow mode %v; it goes neither with Serial, where all have one order, nor with DropOldest", s.set.order, s.set.overflow)
	}
	faults = append(faults, s.typed.faults(s)...)
	chain := s.chain(outer)
	if len(faults) == 0 && slices.ContainsFunc(chain, func(m Middleware) bool { return m.NeedsCodec }) {
		if err := s.typed.checkCodec(s.label()); err != nil {
			faults = append(faults, err)
		}
	}
	if i := slices.IndexFunc(chain, func(m Middleware) bool { return m.Commits }); i >= 0 && s.set.batch != nil {
		add("Batch with middleware %s that lends a transaction, which a batch's handler does not get; use Handle, or leave the transaction out", chain[i].Name)
	}
	return append(faults, checkChain(s.label(), chain)...)
}

// NewIntake makes the intake of the stage's topic, for a pipeline that has none yet.
func (s *Stage) NewIntake(h *Host) Intake { return s.typed.newIntake(h) }

// Build makes the stage ready to work in a pipeline: intake is its topic's, output that of the topic it
// publishes to, or nil. The description must have no faults.
func (s *Stage) Build(h *Host, outer []Middleware, intake, output Intake) Runtime {
	return s.typed.run(s, h, s.chain(outer), intake, output)
}

func (s *Stage) label() string {
	if s.name == "" {
		return "a stage of topic " + s.topic
	}
	return s.name
}

// chain returns the stage's middleware, outermost first.
func (s *Stage) chain(outer []Middleware) []Middleware {
	all := make([]Middleware, 0, len(outer)+len(s.set.use)+1)
	return append(append(all, outer...), s.set.use...)
}

// plain is a typed part that emits nothing.
type plain[T any] struct {
	topic   *event.Topic[T]
	process func(context.Context, *runner[T]) error
}

func (p *plain[T]) topicOf() any { return p.topic }

func (p *plain[T]) outputOf() any { return nil }

func (p *plain[T]) newIntake(h *Host) Intake { return newIntake(p.topic, h) }

func (p *plain[T]) run(s *Stage, h *Host, chain []Middleware, intake, _ Intake) Runtime {
	return newRunning(s, h, p, chain, intake.(*Door[T]), nil)
}

func (p *plain[T]) faults(s *Stage) []error {
	var faults []error
	if p.topic == nil {
		return append(faults, fmt.Errorf("stage: %s: the topic is nil; give it one made by event.NewTopic", s.label()))
	}
	if err := p.topic.Check(); err != nil {
		faults = append(faults, err)
	}
	if p.process == nil {
		faults = append(faults, fmt.Errorf("stage: %s: the handler is nil; give it one", s.label()))
	}
	if key, ok := s.set.key.(func(T) string); s.set.key != nil && (!ok || key == nil) {
		var want func(T) string
		faults = append(faults, fmt.Errorf("stage: %s: KeyBy has a %T; give it a %T", s.label(), s.set.key, want))
	}
	if level, ok := s.set.level.(func(event.Event[T]) int); s.set.level != nil && (!ok || level == nil) {
		var want func(event.Event[T]) int
		faults = append(faults, fmt.Errorf("stage: %s: Priority has a %T; give it a %T", s.label(), s.set.level, want))
	}
	if s.set.order == PerKey && s.set.key == nil && !p.topic.Keyed() {
		faults = append(faults, fmt.Errorf("stage: %s: PerKey, but topic %s has no key; give the topic event.KeyBy or the stage stage.KeyBy", s.label(), s.topic))
	}
	return faults
}

// checkCodec reports a payload type that the topic's codec cannot carry.
func (p *plain[T]) checkCodec(label string) error {
	var zero T
	if _, name, err := encode(p.topic.Codec(), zero); err != nil {
		return fmt.Errorf("stage: %s: codec %s cannot carry %T for dead letters: %w; give topic %s event.WithCodec", label, name, zero, err, p.topic.Name())
	}
	return nil
}

// errNilOutput is the fault of a Map or Expand without a topic to publish to.
var errNilOutput = errors.New("the topic to publish to is nil; give it one made by event.NewTopic")
