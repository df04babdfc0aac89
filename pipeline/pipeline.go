package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// Pipeline is a set of stages at work. Make one with New, describe it with Use, Add and From, then either
// Run it, or Drain it by hand, or make it inline. Its methods are safe for concurrent use.
type Pipeline struct {
	cfg  Config
	host *stage.Host

	step     chan struct{} // holds a token: whoever steps, or starts to run, takes it
	quiet    chan struct{} // tells the drain to look whether all is at rest
	stopping chan struct{} // closed when a shutdown begins
	forced   chan struct{} // closed when a shutdown is to wait no longer
	ended    chan struct{} // closed when all is over
	running  atomic.Bool
	stalled  stalled

	sealing sync.RWMutex // held for reading while a letter enters its stage
	sealed  bool         // no letter may any more; guarded by sealing

	assembled atomic.Pointer[assembly]

	mu      sync.Mutex // guards all below
	outer   []stage.Middleware
	stages  []*stage.Stage
	feeds   []feed
	faults  []error
	frozen  error // what assembling said, once it was tried
	tried   bool
	started bool
	halted  error // why Run ends, unless its context does
	result  error
	fifo    []stage.Runtime // which stage took an event, in order, while nothing runs
	stop    sync.Once
	force   sync.Once
}

// feed is a source, its type hidden.
type feed struct {
	topic   string
	value   any // the *event.Topic
	receive func(context.Context) error
}

// New makes an empty pipeline.
func New(cfg Config) *Pipeline {
	p := &Pipeline{
		cfg:  cfg.withDefaults(),
		step: make(chan struct{}, 1), quiet: make(chan struct{}, 1),
		stopping: make(chan struct{}), forced: make(chan struct{}), ended: make(chan struct{}),
	}
	p.step <- struct{}{}
	p.host = &stage.Host{
		Logger: p.cfg.Logger, Observer: p.cfg.Observer, OnUnhandled: p.cfg.OnUnhandled,
		Halted: p.halt, Quiet: p.lookAgain, Queued: p.queued,
	}
	if p.cfg.Inline {
		p.host.Follow = p.follow
	}
	return p
}

// Use adds middleware around every stage, the first outermost. It stands outside of the stages' own.
func (p *Pipeline) Use(m ...stage.Middleware) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.late("Use") {
		return
	}
	p.outer = append(p.outer, m...)
}

// Add adds stages. They are checked together, and any fault reported, when the pipeline is first used.
func (p *Pipeline) Add(stages ...*stage.Stage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.late("Add") {
		return
	}
	p.stages = append(p.stages, stages...)
}

// From makes the pipeline bring in events of the topic from a source while it runs.
func From[T any](p *Pipeline, topic *event.Topic[T], source event.Source[T]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.late("From") {
		return
	}
	if topic == nil || source == nil {
		p.faults = append(p.faults, errors.New("pipeline: From: the topic or the source is nil; give it both"))
		return
	}
	p.feeds = append(p.feeds, feed{topic: topic.Name(), value: topic, receive: func(ctx context.Context) error {
		door, err := doorOf(p, topic)
		if err != nil {
			return err
		}
		return source.Receive(ctx, func(ctx context.Context, in event.Incoming[T]) error {
			return door.Accept(ctx, in, nil)
		})
	}})
}

// late reports a description that comes after the pipeline was put to use. It is logged, and Run returns
// it as well if it is still to come.
func (p *Pipeline) late(what string) bool {
	if !p.tried {
		return false
	}
	err := fmt.Errorf("pipeline: %s after the pipeline was put to use; describe it before the first Publish, Drain or Run", what)
	p.faults = append(p.faults, err)
	p.cfg.Logger.Error("runnel: a description came too late", "error", err)
	return true
}

// Plan says what each stage promises, in the order in which they were added.
func (p *Pipeline) Plan() Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	var plan Plan
	for _, s := range p.stages {
		if s != nil {
			plan = append(plan, s.Plan(p.outer))
		}
	}
	return plan
}

// Check returns every fault of the description, joined, or nil. The first use of the pipeline checks it
// too.
func (p *Pipeline) Check() error {
	_, err := p.assemble()
	return err
}

// Release lets the held events of a key go on at a stage, from a first attempt. It returns how many keys
// (or keyless events) were held.
func (p *Pipeline) Release(stage, key string) (int, error) {
	r, err := p.runtime(stage)
	if err != nil {
		return 0, err
	}
	return r.Release(key), nil
}

// Skip drops the held events at the head of a key's lanes at a stage, counted as dropped under the reason
// stage.ReasonReleased, and lets what is behind them go on. It returns how many there were. In a paused stage it
// takes effect when the stage is resumed.
func (p *Pipeline) Skip(stage, key string) (int, error) {
	r, err := p.runtime(stage)
	if err != nil {
		return 0, err
	}
	return r.Skip(key), nil
}

// Pause makes a stage start no event, until Resume; those that run go on. Its publishers wait once it is
// full.
func (p *Pipeline) Pause(stage string) error { return p.pause(stage, true) }

// Resume ends a Pause.
func (p *Pipeline) Resume(stage string) error { return p.pause(stage, false) }

func (p *Pipeline) pause(stage string, on bool) error {
	r, err := p.runtime(stage)
	if err == nil {
		r.Pause(on)
	}
	return err
}

// SetWorkers changes how many events a stage handles at once, from 1 to stage.MaxWorkers. A surplus worker leaves when
// its handler has returned. The order that the stage keeps is not touched. Fewer than the Size of a stage.Batch never
// fill one: it waits for its time then.
func (p *Pipeline) SetWorkers(name string, n int) error {
	r, err := p.runtime(name)
	if err != nil {
		return err
	}
	if n < 1 || n > stage.MaxWorkers {
		return fmt.Errorf("pipeline: SetWorkers(%q, %d): give it from 1 to %d, or Pause the stage", name, n, stage.MaxWorkers)
	}
	r.Resize(n)
	return nil
}

func (p *Pipeline) runtime(name string) (stage.Runtime, error) {
	a, err := p.assemble()
	if err != nil {
		return nil, err
	}
	r, ok := a.byName[name]
	if !ok {
		return nil, fmt.Errorf("pipeline: there is no stage %q", name)
	}
	return r, nil
}

// halt is called when a stage stops itself.
func (p *Pipeline) halt(name string, err error) {
	p.mu.Lock()
	if p.halted == nil {
		p.halted = fmt.Errorf("pipeline: stage %s halted: %w", name, err)
	}
	p.mu.Unlock()
	p.beginStop()
	p.lookAgain()
}

func (p *Pipeline) lookAgain() {
	select {
	case p.quiet <- struct{}{}:
	default:
	}
}

func (p *Pipeline) beginStop() { p.stop.Do(func() { close(p.stopping) }) }
