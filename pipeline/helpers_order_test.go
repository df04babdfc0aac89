package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// job is the payload of the tests about order and retry: the n-th of its key.
type job struct {
	Key string
	N   int
}

func (j job) id() string { return fmt.Sprintf("%s%d", j.Key, j.N) }

var jobs = event.NewTopic("jobs", event.KeyBy(func(j job) string { return j.Key }), event.IDBy(job.id))

var errFlop = errors.New("the job flopped")

type jobHandler = func(context.Context, event.Event[job]) error

// plant is a pipeline whose history is recorded.
type plant struct {
	*pipelinetest.Run
	t   *testing.T
	p   *pipeline.Pipeline
	rec *pipelinetest.Recorder
	pub event.Publisher[job]
}

// newPlant builds a pipeline that does not run.
func newPlant(t *testing.T, use []stage.Middleware, stages ...*stage.Stage) *plant {
	t.Helper()
	rec := pipelinetest.NewRecorder()
	w := newPlantIn(t, pipeline.Config{Observer: rec.Observer()}, use, stages...)
	w.rec = rec
	return w
}

// newPlantIn builds one whose history nobody records, unless cfg says so.
func newPlantIn(t *testing.T, cfg pipeline.Config, use []stage.Middleware, stages ...*stage.Stage) *plant {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler) // the failures are on purpose
	w := &plant{t: t, p: pipeline.New(cfg)}
	w.p.Use(use...)
	w.p.Add(stages...)
	if err := w.p.Check(); err != nil {
		t.Fatal(err)
	}
	w.pub = pipeline.NewPublisher(w.p, jobs)
	return w
}

// run runs it until the test ends.
func (w *plant) run() { w.Run = pipelinetest.Start(w.t, w.p) }

// runPlant builds a pipeline and runs it until the test ends.
func runPlant(t *testing.T, use []stage.Middleware, stages ...*stage.Stage) *plant {
	t.Helper()
	w := newPlant(t, use, stages...)
	w.run()
	return w
}

// work is a stage of jobs named "work".
func work(handle jobHandler, opts ...stage.Option) *stage.Stage {
	return stage.Handle(jobs, "work", handle, opts...)
}

// put publishes the jobs ns of a key.
func (w *plant) put(key string, ns ...int) {
	w.t.Helper()
	for _, n := range ns {
		if err := w.pub.Publish(context.Background(), job{key, n}); err != nil {
			w.t.Fatalf("Publish(%s%d) = %v, want nil", key, n, err)
		}
	}
}

// rest waits until all is at rest and proves from the history that order was kept and nothing lost.
func (w *plant) rest() {
	w.t.Helper()
	w.Settle()
	if err := w.rec.CheckRest(); err != nil {
		w.t.Error(err)
	}
}

// figures are those of the stage "work".
func (w *plant) figures() stage.Snapshot {
	s, _ := w.p.Snapshot().Stage("work")
	return s
}

// startedAfter returns how long after began the first attempt at an event began, or false.
func (w *plant) startedAfter(id string, began time.Time) (time.Duration, bool) {
	for _, e := range w.rec.Started("work") {
		if e.ID == id {
			return e.At.Sub(began), true
		}
	}
	return 0, false
}

// wantAtOnce fails the test unless the job began when nothing but the goroutines' own pace held it up.
func (w *plant) wantAtOnce(id string, began time.Time) {
	w.t.Helper()
	if after, ok := w.startedAfter(id, began); !ok || after > 0 {
		w.t.Errorf("%s began after %v (%v), want at once", id, after, ok)
	}
}

// jobIDs are the identities of the jobs 1 … n of a key.
func jobIDs(key string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = job{key, i + 1}.id()
	}
	return ids
}

// oneTo is 1, 2, … n.
func oneTo(n int) []int {
	ns := make([]int, n)
	for i := range ns {
		ns[i] = i + 1
	}
	return ns
}

// script says what the attempts at a job do: sleep, fail, panic, end the goroutine.
type script struct {
	name string
	play func(n, attempt int) error
}

// slowJob is longer than the time that scripted jobs are given.
const (
	jobTimeout = 10 * time.Millisecond
	slowJob    = 2 * jobTimeout
)

// scripts are the faults that the tests of order are multiplied by. Jobs that are a multiple of three go
// wrong.
var scripts = []script{
	{"nothing goes wrong", func(int, int) error { return nil }},
	{"handlers take their time", func(n, _ int) error { time.Sleep(time.Duration(n%4) * time.Millisecond); return nil }},
	{"attempts fail", firstAttempts(2, func() error { return errFlop })},
	{"attempts panic", firstAttempts(1, func() error { panic("flop") })},
	{"attempts end their goroutine", firstAttempts(1, func() error { runtime.Goexit(); return nil })},
	{"attempts take too long", firstAttempts(1, func() error { time.Sleep(slowJob); return context.DeadlineExceeded })},
	{"attempts are put off", firstAttempts(1, func() error { return stage.Postpone(3*time.Millisecond, errFlop) })},
	{"jobs are skipped", firstAttempts(9, func() error { return stage.Skip("multiple of three") })},
	{"jobs become dead letters", firstAttempts(9, func() error { return stage.Permanent(errFlop) })},
	{"jobs use up their attempts", firstAttempts(9, func() error { return errFlop })},
}

func init() { // the last one is made of the others
	others := scripts
	scripts = append(scripts, script{"everything goes wrong", func(n, attempt int) error {
		return others[(n/3+attempt)%len(others)].play(n, attempt)
	}})
}

func firstAttempts(times int, act func() error) func(n, attempt int) error {
	return func(n, attempt int) error {
		if n%3 == 0 && attempt <= times {
			return act()
		}
		return nil
	}
}

// keyState is what the handlers of one key share. It has no lock: the order of the key is its lock.
type keyState struct {
	busy  bool
	tries []int // by number; no map, whose check for concurrent writes would end the whole test
	done  []int
}

// states makes one for each key.
func states(keys []string) map[string]*keyState {
	all := make(map[string]*keyState, len(keys))
	for _, k := range keys {
		all[k] = &keyState{tries: make([]int, 128)}
	}
	return all
}

// play runs one attempt at a job by the script.
func (s *keyState) play(t *testing.T, j job, sc script) error {
	if s.busy {
		t.Errorf("%s began while another job of its key was running", j.id())
	}
	s.busy = true
	defer func() { s.busy = false }()
	s.tries[j.N]++
	err := sc.play(j.N, s.tries[j.N])
	if err == nil {
		s.done = append(s.done, j.N)
	}
	return err
}

// fullChain is the canonical chain with three attempts, for scripts.
func fullChain(policy deadletter.Policy) []stage.Middleware {
	return middleware.Standard(middleware.StandardConfig{
		Letters: deadletter.NewMemory(), Followers: policy,
		Retry:   middleware.Constant{Attempts: 3, Delay: 7 * time.Millisecond},
		Timeout: jobTimeout,
	})
}

// publishAll publishes the jobs 1 … n of every key, by three publishers at once, each with keys of its own, so
// that the order of a key is known.
func publishAll(t *testing.T, pub event.Publisher[job], keys []string, n int) {
	t.Helper()
	const publishers = 3
	done := make(chan error, publishers)
	for i := range publishers {
		go func() {
			var errs []error
			for n := range n {
				for k := i; k < len(keys); k += publishers {
					errs = append(errs, pub.Publish(context.Background(), job{keys[k], n + 1}))
				}
			}
			done <- errors.Join(errs...)
		}()
	}
	for range publishers {
		if err := <-done; err != nil {
			t.Errorf("Publish = %v, want nil", err)
		}
	}
}

var someKeys = []string{"a", "b", "c", "d", "e", "f", "g"}

// eachScript runs f in a bubble for each number of workers and each script.
func eachScript(t *testing.T, f func(t *testing.T, workers int, sc script)) {
	t.Helper()
	for _, workers := range []int{1, 2, 8, 16} {
		for _, sc := range scripts {
			t.Run(fmt.Sprintf("%d workers, %s", workers, sc.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { f(t, workers, sc) })
			})
		}
	}
}

// ascending reports whether ns only grow.
func ascending(ns []int) bool {
	return slices.IsSorted(ns) && len(slices.Compact(slices.Clone(ns))) == len(ns)
}
