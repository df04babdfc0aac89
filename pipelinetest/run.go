package pipelinetest

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/pipeline"
)

// Bubble is synctest.Test: f runs in a bubble with a clock of its own, which moves on only while every
// goroutine of the bubble waits. Make the pipeline and everything it uses inside of f.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// Run is a pipeline that runs while a test does.
type Run struct {
	t        testing.TB
	pipeline *pipeline.Pipeline
	over     chan struct{} // closed when Run has returned
	err      error         // what it returned; read it when over is closed
	awaited  bool          // the test has taken err itself
}

// Start runs p in the background and returns once its workers are there. When the test ends, p is shut
// down; then the test fails if Run returned an error that the test did not take by Stop or Wait, or if an
// event was lost. Inside of a Bubble the whole of that happens in the bubble.
func Start(t testing.TB, p *pipeline.Pipeline) *Run {
	t.Helper()
	r := &Run{t: t, pipeline: p, over: make(chan struct{})}
	go func() {
		defer close(r.over)
		// Not the test's context: it ends before cleanup, and would shut p down behind our back.
		r.err = p.Run(context.Background())
	}()
	t.Cleanup(r.cleanup)
	r.awaitWorkers()
	return r
}

// awaitWorkers waits until Run has begun, or has ended at once.
func (r *Run) awaitWorkers() {
	for i := 0; r.pipeline.Snapshot().State == "idle"; i++ {
		if i < 1000 { // in a bubble, where a timer would move the clock
			runtime.Gosched()
			continue
		}
		select {
		case <-r.over:
			return
		case <-time.After(time.Microsecond):
		}
	}
}

// Stop shuts the pipeline down gracefully and returns what its Run returned.
func (r *Run) Stop() error {
	_ = r.pipeline.Shutdown(context.Background()) // Run returns the same, and what came before
	return r.Wait()
}

// Wait waits until Run has ended by itself, and returns what it returned.
func (r *Run) Wait() error {
	<-r.over
	r.awaited = true
	return r.err
}

// cleanup ends the pipeline and checks that nothing was lost.
func (r *Run) cleanup() {
	r.t.Helper()
	expected := r.awaited
	if err := r.Stop(); err != nil && !expected {
		r.t.Errorf("pipelinetest: Run = %v, want nil; take an expected error with Stop or Wait", err)
	}
	if err := r.pipeline.Snapshot().Sum(true); err != nil {
		r.t.Errorf("pipelinetest: events are lost: %v", err)
	}
}

// settleLimit is how far Settle lets a bubble's clock run.
const settleLimit = 365 * 24 * time.Hour

// Settle waits until everything that was published is at rest: settled, held, or queued where nothing
// will take it, behind a held event or in a paused stage. It lets the time of parked events and of sleeping
// handlers pass, and up to an eighth more. It works only inside of a Bubble, and the test fails when there is
// no rest within a year.
func (r *Run) Settle() {
	r.t.Helper()
	began := time.Now()
	for {
		if !quiet() {
			r.t.Fatalf("pipelinetest: Settle works only inside of pipelinetest.Bubble; wrap the test in it")
		}
		if r.atRest() {
			break
		}
		elapsed := time.Since(began)
		if elapsed > settleLimit {
			r.t.Fatalf("pipelinetest: no rest after %v: %+v", elapsed, r.pipeline.Snapshot().Stages)
		}
		<-time.After(max(time.Millisecond, elapsed/8))
	}
	if err := r.pipeline.Snapshot().Sum(false); err != nil {
		r.t.Errorf("pipelinetest: events are lost: %v", err)
	}
}

// quiet is synctest.Wait. It reports whether there is a bubble to wait in.
func quiet() (bubbled bool) {
	defer func() {
		if v := recover(); v != nil && v != "goroutine is not in a bubble" {
			panic(v)
		}
	}()
	synctest.Wait()
	return true
}

// atRest reports whether nothing can happen by itself any more. It is asked while everything waits, so
// what is queued then is queued for good.
func (r *Run) atRest() bool {
	for _, s := range r.pipeline.Snapshot().Stages {
		if s.Running+s.Parked > 0 {
			return s.Paused || s.Halted
		}
	}
	return true
}

// Drain handles all that may run now in a pipeline that does not run, on the test's own goroutine, and
// returns how many attempts that took. The test fails if the pipeline cannot do it or an event was lost.
func Drain(t testing.TB, p *pipeline.Pipeline) int {
	t.Helper()
	n, err := p.Drain(context.Background(), 0)
	if err != nil {
		t.Fatalf("pipelinetest: Drain = %v, want nil", err)
	}
	if err := p.Snapshot().Sum(false); err != nil {
		t.Errorf("pipelinetest: events are lost: %v", err)
	}
	return n
}
