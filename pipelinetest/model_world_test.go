package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// task is the payload: the n-th that was made.
type task struct {
	N   int
	Key string
}

// yield is what a task led to: the i-th that one call of its handler gave.
type yield struct {
	N, Call, I int
	Key        string
}

func (y yield) id() string { return fmt.Sprintf("%d.%d.%d", y.N, y.Call, y.I) }

// call is one call of a handler.
type call struct {
	yields int
	failed bool
	own    bool // of a batch: it was answered for, and did not fail with the whole
}

// world is a pipeline, those who use it, and what they saw.
type world struct {
	setting
	tape *tape
	p    *pipeline.Pipeline
	rec  *pipelinetest.Recorder
	pub  event.Publisher[task]

	letters deadletter.Store
	outage  outage

	runs    chan struct{} // closed when Run has returned
	runErr  error
	grace   time.Duration
	queues  []chan func()
	helpers sync.WaitGroup

	mu       sync.Mutex // guards all below
	scripts  map[int][]act
	calls    map[int][]call
	made     int
	accepted map[string]int // publishes that returned nil, by identity
	stopping time.Time      // when the first shutdown began
	paused   bool           // now, or at some time since then
	edited   bool           // an operator had a hand in the letters
	inBatch  map[string]int // events of each lane in a batch that runs
	faults   []error
}

var modelTaskKeys = []string{"a", "b", "c", "a\x00", "a"}

func newWorld(t *testing.T, p *tape) *world {
	t.Helper()
	w := &world{
		setting: p.setting(), tape: p, rec: pipelinetest.NewRecorder(), runs: make(chan struct{}),
		scripts: map[int][]act{}, calls: map[int][]call{}, accepted: map[string]int{}, inBatch: map[string]int{},
	}
	w.grace = []time.Duration{pipeline.DefaultGrace, 50 * time.Millisecond}[p.pick(2)]
	w.letters = w.rec.Letters(&brokenLetters{deadletter.NewMemory(w.limits), &w.outage})
	topicOpts := []event.TopicOption[task]{
		event.KeyBy(func(v task) string { return v.Key }),
		event.IDBy(func(v task) string { return fmt.Sprint(v.N) }),
	}
	if w.noKeys {
		topicOpts = append(topicOpts, event.AllowNoKey[task]())
	}
	tasks := event.NewTopic("tasks", topicOpts...)
	yields := event.NewTopic("yields", event.KeyBy(func(y yield) string { return y.Key + "." }), event.IDBy(yield.id))

	observer := w.rec.Observer()
	if w.blind {
		observer = pipeline.Observer{}
	}
	w.p = pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler), Observer: observer, Grace: w.grace})
	opts := []stage.Option{
		stage.WithOrder(w.order), stage.Workers(w.workers), stage.Buffer(w.buffer),
		stage.WithOverflow(w.overflow), stage.OnDrain(w.onDrain), stage.Use(w.chain()...),
	}
	if w.maxPerKey > 0 {
		opts = append(opts, stage.MaxPerKey(w.maxPerKey))
	}
	switch {
	case w.batch > 0:
		limits := stage.Limits{Size: w.batch, Wait: time.Duration(1+p.pick(3)) * 3 * time.Millisecond}
		w.p.Add(stage.Batch(tasks, "first", limits, w.handleBatch, opts...))
	case w.emits:
		w.p.Add(stage.Expand(tasks, "first", yields, w.expand, opts...))
		w.p.Add(stage.Handle(yields, "sink", func(context.Context, event.Event[yield]) error { return nil },
			stage.Workers(2), stage.Buffer(1+p.pick(4))))
	default:
		w.p.Add(stage.Handle(tasks, "first", func(ctx context.Context, e event.Event[task]) error {
			_, err := w.expand(ctx, e)
			return err
		}, opts...))
	}
	if w.twins {
		w.p.Add(stage.Handle(tasks, "twin", func(context.Context, event.Event[task]) error { return nil },
			stage.Workers(1+p.pick(3)), stage.Buffer(1+p.pick(4))))
	}
	w.pub = pipeline.NewPublisher(w.p, tasks)
	if err := w.p.Check(); err != nil {
		w.fault("Check = %v", err)
	}
	return w
}

const modelTimeout = 30 * time.Millisecond

func (w *world) chain() []stage.Middleware {
	chain := []stage.Middleware{middleware.DeadLetter(w.letters, middleware.WithPolicy(w.policy),
		middleware.MaxRedrives(w.redrives), middleware.WithLogger(slog.New(slog.DiscardHandler)))}
	if w.once {
		chain = append(chain, middleware.Idempotent(&brokenClaims{idempotency.NewMemory(), &w.outage},
			middleware.WithLogger(slog.New(slog.DiscardHandler))))
	}
	chain = append(chain, middleware.Retry(middleware.Constant{Attempts: w.attempts, Delay: 20 * time.Millisecond}), w.rec.Middleware())
	if w.timeout {
		chain = append(chain, middleware.Timeout(modelTimeout))
	}
	return append(chain, middleware.Recover())
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Errorf(format, args...))
}

// run runs the program and returns what went wrong.
func (w *world) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer close(w.runs)
		w.runErr = w.p.Run(ctx)
	}()
	synctest.Wait()
	for range 3 {
		q := make(chan func(), 1000)
		w.queues = append(w.queues, q)
		w.helpers.Go(func() {
			for f := range q {
				f()
			}
		})
	}
	if w.warm > cold {
		w.warmUp()
	}
	for ops := 0; w.tape.more() && ops < 120; ops++ {
		w.operate()
		if err := w.p.Snapshot().Sum(false); err != nil {
			w.fault("after operation %d: %v", ops, err)
		}
	}
	left := w.end(cancel)
	w.judge(left)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) > 0 {
		w.faults = append(w.faults, fmt.Errorf("history:\n%vRun = %w", w.rec.History(), w.runErr))
	}
	return errors.Join(w.faults...)
}

// warmUp has the pipeline handle events that take little time, or none, never so many at once that one is refused.
func (w *world) warmUp() {
	var script []act
	rest := synctest.Wait
	if w.warm == brisk {
		rest = func() { time.Sleep(time.Millisecond) }
		script = []act{{what: actSlow, takes: 3 * time.Microsecond}}
	}
	for n := range 1500 {
		if n%((w.buffer+1)/2) == 0 || w.maxPerKey > 0 || w.twins {
			rest()
		}
		_ = w.send(context.Background(), w.newTask("warm", script), false)
	}
	rest()
}

// operate does the next thing.
func (w *world) operate() {
	p := w.tape
	switch p.pick(20) {
	case 0, 1, 2, 3, 4, 5:
		w.publish()
	case 6:
		time.Sleep(time.Duration(p.pick(8)) * 7 * time.Millisecond)
	case 7:
		synctest.Wait()
		w.quiet()
	case 8, 9:
		w.drain()
	case 10:
		w.pause(p.flip())
	case 11:
		if err := w.p.SetWorkers("first", max(1+p.pick(16), w.batch)); err != nil {
			w.fault("SetWorkers = %v", err)
		}
	case 12:
		w.letGo()
	case 13, 14:
		w.outage.begin(p.pick(len(outageMethods)), 1+p.pick(3), p.pick(4))
	case 15:
		time.Sleep(time.Second)
	case 16, 17:
		w.byHand()
	case 18:
		w.chainReaction()
	case 19:
		w.publish()
	}
}

// pause pauses or resumes the stage.
func (w *world) pause(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = on || w.paused && !w.stopping.IsZero()
	if on {
		_ = w.p.Pause("first")
	} else {
		_ = w.p.Resume("first")
	}
}

// publish gives one of the publishers some work: new tasks, or one that was there before.
func (w *world) publish() {
	p := w.tape
	q, key := w.queues[p.pick(len(w.queues))], modelTaskKeys[p.pick(len(modelTaskKeys))]
	if w.noKeys && p.flip() {
		key = ""
	}
	wait := []time.Duration{time.Hour, 0, 10 * time.Millisecond, time.Hour}[p.pick(4)]
	for range 1 + p.pick(4) {
		var v task
		if n, made := p.pick(256), w.madeSoFar(); n >= 240 && made > 0 { // an event comes twice
			v = task{1 + n%made, key}
		} else {
			v = w.newTask(key, p.script())
		}
		opts := p.delay()
		q <- func() {
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			defer cancel()
			_ = w.send(ctx, v, wait < time.Hour, opts...)
		}
	}
}

func (w *world) madeSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made
}

func (w *world) newTask(key string, script []act) task {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made++
	w.scripts[w.made] = script
	return task{w.made, key}
}

// send publishes and judges the answer.
func (w *world) send(ctx context.Context, v task, hurried bool, opts ...event.PublishOption) error {
	err := w.pub.Publish(ctx, v, opts...)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.accepted[fmt.Sprint(v.N)]++
	case errors.Is(err, stage.ErrCycle), errors.Is(err, stage.ErrFull) && w.overflow == stage.Reject:
	case hurried && errors.Is(err, context.DeadlineExceeded):
	case errors.Is(err, stage.ErrClosed) && (!w.stopping.IsZero() || w.policy == deadletter.HaltStage):
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)): // a handler's own end
	default:
		w.faults = append(w.faults, fmt.Errorf("Publish = %w", err))
	}
	return err
}

// drain starts a maintenance job, which may be cancelled.
func (w *world) drain() {
	p := w.tape
	o := deadletter.DrainOptions{Limit: p.pick(4), Parallel: 1 + p.pick(3), Who: "model"}
	if p.rare(4) {
		key := modelTaskKeys[p.pick(len(modelTaskKeys))]
		o.Filter.Key = &key
	}
	if p.rare(4) {
		o.Rate = 100
	}
	ctx, cancel := context.WithCancel(context.Background())
	if p.rare(3) {
		stop := time.AfterFunc(time.Duration(p.pick(8))*3*time.Millisecond, cancel)
		defer func() { _ = stop }()
	}
	touched := map[string]int{}
	o.Progress = func(n deadletter.Progress) {
		if n.Letter != "" {
			if touched[n.Letter]++; touched[n.Letter] > 1 {
				w.fault("X7: one drain touched letter %s twice", n.Letter)
			}
		}
	}
	w.helpers.Go(func() {
		defer cancel()
		r, err := deadletter.Drain(ctx, w.letters, w.p, o)
		if sum := r.Succeeded + r.Failed + r.Skipped + r.Blocked + r.Interrupted + r.Untouched; sum != r.Selected {
			w.fault("X1: %d letters were selected, %d are accounted for: %v (%v)", r.Selected, sum, r, err)
		}
	})
}
