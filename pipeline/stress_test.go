package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// TestO1_O2_D1_WhateverComesTogether runs small pipelines that are put together by chance, in which everything goes on
// at once: handlers fail in every way, events are put off, letters are redriven and their drains cancelled, held
// events are released and skipped, the stage is paused and workers come and go. Every other one is shut down in the
// midst of that, the others when they have come to rest. No two calls of a key overlap, a key keeps its order, the
// figures add up at any time, and every receipt resolves.
func TestO1_O2_D1_WhateverComesTogether(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newLottery(t, seed).play() })
		})
	}
}

// The size of a lottery.
const (
	lotKeys = 5
	lotJobs = 15 // of each key
)

// lottery is one such pipeline, what it draws its lots from, and what is known of its jobs.
type lottery struct {
	*plant
	letters *deadletter.Memory
	policy  deadletter.Policy

	publishers, meddlers sync.WaitGroup
	meddling             context.Context
	calm                 context.CancelFunc // ends the meddling

	mu       sync.Mutex // guards what follows
	lots     *rand.Rand
	busy     map[string]bool // keys with a call at work
	last     map[string]int  // of each key the highest job that was done
	mended   bool            // handlers succeed from now on
	receipts []*pipeline.Receipt
}

// draw returns a number from 0 to n-1.
func (l *lottery) draw(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lots.IntN(n)
}

// millis returns a time of less than n milliseconds.
func (l *lottery) millis(n int) time.Duration { return time.Duration(l.draw(n)) * time.Millisecond }

func (l *lottery) coin() bool { return l.draw(2) == 0 }

func newLottery(t *testing.T, seed uint64) *lottery {
	l := &lottery{
		letters: deadletter.NewMemory(), lots: rand.New(rand.NewPCG(seed, 1)),
		busy: map[string]bool{}, last: map[string]int{},
	}
	l.meddling, l.calm = context.WithCancel(context.Background())
	l.policy = []deadletter.Policy{deadletter.Park, deadletter.Continue, deadletter.Block}[l.draw(3)]
	rec := pipelinetest.NewRecorder()
	l.plant = newPlantIn(t, pipeline.Config{Grace: 20 * time.Second, Observer: rec.Observer()}, l.chain(), l.stages(l.options())...)
	l.rec = rec
	return l
}

func (l *lottery) chain() []stage.Middleware {
	chain := []stage.Middleware{middleware.DeadLetter(l.letters, middleware.WithPolicy(l.policy))}
	if l.coin() {
		chain = append(chain, middleware.Idempotent(idempotency.NewMemory()))
	}
	if l.draw(3) > 0 {
		chain = append(chain, middleware.Retry(middleware.Constant{Delay: 50 * time.Millisecond, Attempts: 3}))
	}
	if l.coin() {
		chain = append(chain, middleware.Recover())
	}
	return chain
}

func (l *lottery) options() []stage.Option {
	overflow := stage.Overflow(l.draw(4))
	opts := []stage.Option{stage.Workers(4 + l.draw(3)), stage.Buffer(4 + l.draw(30)), stage.OnDrain(stage.DrainPolicy(l.draw(4)))}
	if l.coin() {
		opts = append(opts, stage.Priority(3, func(e event.Event[job]) int { return (e.Payload.N + int(e.Key[0])) % 3 }))
		overflow %= stage.DropOldest // which has no levels
	}
	if l.draw(3) == 0 && overflow != stage.DropOldest {
		opts = append(opts, stage.MaxPerKey(1+l.draw(4)))
	}
	return append(opts, stage.WithOverflow(overflow))
}

// stages are one of jobs, of any kind, and perhaps a small one of what it emits.
func (l *lottery) stages(opts []stage.Option) []*stage.Stage {
	switch l.draw(3) {
	case 0:
		return []*stage.Stage{stage.Batch(jobs, "work", stage.Limits{Size: 1 + l.draw(4), Wait: time.Millisecond + l.millis(20)}, l.batch, opts...)}
	case 1:
		slow := func(context.Context, event.Event[job]) error { time.Sleep(5 * time.Millisecond); return nil }
		return []*stage.Stage{
			stage.Expand(jobs, "work", parts, func(ctx context.Context, e event.Event[job]) ([]job, error) {
				return []job{e.Payload, {e.Key, 100 + e.Payload.N}}, l.handle(ctx, e)
			}, opts...),
			stage.Handle(parts, "gather", slow, stage.Buffer(2), stage.Workers(2)),
		}
	}
	return []*stage.Stage{work(l.handle, opts...)}
}

// handle crashes now and then, after an attempt.
func (l *lottery) handle(ctx context.Context, e event.Event[job]) error {
	err := l.attempt(ctx, e)
	l.crash()
	return err
}

func (l *lottery) crash() {
	if how := l.draw(20); how < 3 && !l.isMended() {
		crash(how)
	}
}

// batch answers for each job, and leaves those behind a failed one of their key untried. It crashes before any is done:
// all are tried again by themselves.
func (l *lottery) batch(ctx context.Context, all []event.Event[job]) error {
	l.crash()
	errs, failed := make(stage.BatchErrors, len(all)), map[string]bool{}
	for i, e := range all {
		if errs[i] = errFlop; !failed[e.Key] {
			errs[i] = l.attempt(ctx, e)
		}
		failed[e.Key] = errs[i] != nil
	}
	return errs
}

// attempt is one call for one job.
func (l *lottery) attempt(ctx context.Context, e event.Event[job]) error {
	l.begin(e)
	defer l.end(e)
	select {
	case <-time.After(l.millis(30)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := l.mishap(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[e.Key] = max(l.last[e.Key], e.Payload.N)
	return nil
}

func (l *lottery) begin(e event.Event[job]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[e.Key] {
		l.t.Errorf("%s began beside another call of its key", e.ID())
	}
	l.busy[e.Key] = true
	if last := l.last[e.Key]; e.Payload.N < last && l.policy != deadletter.Continue {
		l.t.Errorf("%s began after job %d was done", e.ID(), last)
	}
}

func (l *lottery) end(e event.Event[job]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[e.Key] = false
}

// mishap is what goes wrong with an attempt, if anything does.
func (l *lottery) mishap() error {
	what := l.draw(12)
	if l.isMended() {
		return nil
	}
	switch what {
	case 0, 1:
		return errFlop
	case 2:
		return stage.Permanent(errFlop)
	case 3:
		return stage.RetryAfter(l.millis(200), errFlop)
	case 4:
		return stage.Postpone(l.millis(20), errFlop)
	case 5:
		return stage.Hold(errFlop)
	case 6:
		return stage.Skip("by chance")
	}
	return nil
}

func (l *lottery) isMended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mended
}

// publish has a publisher for each key.
func (l *lottery) publish() {
	for k := range lotKeys {
		l.publishers.Go(func() {
			for n := range lotJobs {
				l.publishOne(job{fmt.Sprint(k), n + 1})
				time.Sleep(l.millis(20))
			}
		})
	}
}

// publishOne may be refused: the stage is full, or the pipeline has closed.
func (l *lottery) publishOne(j job) {
	var opts []event.PublishOption
	if l.draw(12) == 0 {
		opts = append(opts, event.After(l.millis(100)))
	}
	r, err := pipeline.Ask(context.Background(), l.pub, j, opts...)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.receipts = append(l.receipts, r)
}

// meddle does what a person at the controls may do, until it is told to stop. What comes too late is an error, and
// is none of the test's.
func (l *lottery) meddle() {
	for l.meddling.Err() == nil {
		time.Sleep(time.Millisecond + l.millis(15))
		key := fmt.Sprint(l.draw(lotKeys))
		switch l.draw(9) {
		case 0:
			_ = l.p.SetWorkers("work", 1+l.draw(12))
		case 1:
			_ = l.p.Pause("work")
		case 2, 3:
			_ = l.p.Resume("work")
		case 4, 5:
			_, _ = l.p.Release("work", key)
		case 6:
			_, _ = l.p.Skip("work", key)
		default:
			l.meddlers.Go(l.redrive)
		}
		l.sum(false)
	}
}

// redrive drains the letters for a moment.
func (l *lottery) redrive() {
	ctx, cancel := context.WithTimeout(context.Background(), l.millis(60))
	defer cancel()
	_, _ = deadletter.Drain(ctx, l.letters, l.p, deadletter.DrainOptions{Parallel: 3})
}

func (l *lottery) sum(atRest bool) {
	l.t.Helper()
	if err := l.p.Snapshot().Sum(atRest); err != nil {
		l.t.Error(err)
	}
}

// mend lets everything succeed, and everything come to rest.
func (l *lottery) mend() {
	l.calm()
	l.meddlers.Wait()
	l.mu.Lock()
	l.mended = true
	l.mu.Unlock()
	l.must(l.p.Resume("work"))
	l.must(l.p.SetWorkers("work", 4))
	published := make(chan struct{})
	go func() { l.publishers.Wait(); close(published) }()
	for range 60 {
		for k := range lotKeys {
			_, _ = l.p.Release("work", fmt.Sprint(k))
		}
		time.Sleep(time.Second)
		select {
		case <-published:
			if s := l.figures(); s.Resident() == 0 && s.Redriving == 0 {
				l.sum(true)
				return
			}
		default:
		}
	}
	l.t.Errorf("it does not come to rest: %+v", l.figures())
}

// play runs the pipeline to its end.
func (l *lottery) play() {
	l.run()
	l.publish()
	l.meddlers.Go(l.meddle)
	if l.coin() {
		time.Sleep(l.millis(400))
	} else {
		time.Sleep(time.Second)
		l.mend()
	}
	if err := l.Stop(); err != nil && !errors.Is(err, pipeline.ErrUnfinished) {
		l.t.Errorf("Run = %v, want nil or what is left", err)
	}
	l.calm()
	l.meddlers.Wait()
	l.publishers.Wait()
	l.sum(true)
	if err := l.rec.Check(); err != nil {
		l.t.Errorf("the history: %v", err)
	}
	l.judgeReceipts()
	if l.t.Failed() {
		l.t.Logf("after a failure: %s\n%v", l.policy, l.p.Plan())
	}
}

func (l *lottery) judgeReceipts() {
	for _, r := range l.receipts {
		select {
		case <-r.Done():
		default:
			l.t.Fatal("a receipt does not resolve")
		}
	}
}
