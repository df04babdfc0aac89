package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

const (
	soakKeys       = 400
	soakPublishers = 4
	soakBurst      = 8
	soakPause      = 5 * time.Millisecond // between two bursts of a publisher, on average
	// soakOutage is how long a method fails at most. It begins to fail every two seconds: were it to fail until it was
	// called, a stage that waits for its next try for longer than that would never meet it well.
	soakOutage = 200 * time.Millisecond
)

// purchase is the n-th of its key.
type purchase struct{ Key, N int }

// ledger is what the handlers of a stage saw of each key. Nothing guards it but the order of the key (O3).
type ledger [soakKeys]struct{ last int }

// soak is a pipeline under a load that does not end.
type soak struct {
	t       *testing.T
	p       *pipeline.Pipeline
	pub     event.Publisher[purchase]
	letters deadletter.Store
	outage  outage

	ctx     context.Context
	cancel  context.CancelFunc
	runs    chan error
	helpers sync.WaitGroup

	sent                   [soakKeys]int // of each key; its publisher's own until helpers has ended
	check, charge, batched ledger
	tally                  int // of the serial stage, which needs no lock

	parkedLast sync.Map // what was parked last, by stage

	sums, drains, redriven, pauses, resizes, outages int
	wrong                                            atomic.Int64
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	w := &soak{t: t, runs: make(chan error, 1), outage: outage{lasts: soakOutage}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.letters = &brokenLetters{deadletter.NewMemory(deadletter.MemoryConfig{MaxPerSequence: 50}), &w.outage}
	ids := &brokenClaims{idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 1 << 14, Retention: 5 * time.Second}), &w.outage}

	key := event.KeyBy(func(o purchase) string { return fmt.Sprint(o.Key) })
	id := event.IDBy(func(o purchase) string { return fmt.Sprintf("%d/%d", o.Key, o.N) })
	orders, checked := event.NewTopic("orders", key, id), event.NewTopic("checked", key, id)

	faults := pipelinetest.Faults{Seed: 1}
	under := func(p deadletter.Policy) stage.Option {
		return stage.Use(
			middleware.DeadLetter(w.letters, middleware.WithPolicy(p), middleware.MaxRedrives(0), middleware.WithLogger(quiet)),
			middleware.Idempotent(ids, middleware.Lease(time.Second), middleware.WithLogger(quiet)), // a release that fails costs its key the lease
			middleware.Retry(middleware.Exponential{Attempts: 2, Initial: 2 * time.Millisecond, Max: 20 * time.Millisecond}),
			middleware.Timeout(time.Minute), middleware.Recover(),
			faults.Fail(0.05), faults.Panic(0.01), faults.Slow(0.01, 3*time.Millisecond), faults.Duplicate(0.02),
		)
	}
	w.p = pipeline.New(pipeline.Config{Logger: quiet, Grace: time.Minute, Observer: pipeline.Observer{Parked: w.parked}})
	w.p.Add(
		stage.Map(orders, "check", checked, func(_ context.Context, e event.Event[purchase]) (purchase, error) {
			return e.Payload, w.see(&w.check, e.Payload)
		}, under(deadletter.Park), stage.Buffer(256)),
		stage.Handle(checked, "charge", func(_ context.Context, e event.Event[purchase]) error {
			return w.see(&w.charge, e.Payload)
		}, under(deadletter.Park), stage.Workers(4), stage.Buffer(64)),
		stage.Batch(checked, "batch", stage.Limits{Size: 16, Wait: time.Millisecond}, w.batch, under(deadletter.Park), stage.Buffer(128)),
		stage.Handle(checked, "tally", func(context.Context, event.Event[purchase]) error {
			w.tally++
			return nil
		}, under(deadletter.Continue), stage.WithOrder(stage.Serial), stage.Buffer(128)),
		stage.Handle(orders, "loose", func(context.Context, event.Event[purchase]) error { return nil },
			under(deadletter.Continue), stage.WithOrder(stage.Unordered), stage.WithOverflow(stage.DropOldest), stage.Buffer(16), stage.Workers(2)),
	)
	w.pub = pipeline.NewPublisher(w.p, orders)
	return w
}

// parked remembers what a stage waits for, to say so when it waits for ever.
func (w *soak) parked(d *stage.Delivery, v stage.Verdict) {
	w.parkedLast.Store(d.Stage, fmt.Sprintf("at %v %s, attempt %d, redrive %+v, for %v: %s",
		time.Now().Format(time.TimeOnly), d.ID(), d.Attempt, d.Redrive, v.Delay, stage.ErrorText(v.Cause)))
}

// see is a handler that knows what came before.
func (w *soak) see(l *ledger, o purchase) error {
	if last := &l[o.Key].last; o.N == *last+1 {
		*last = o.N
	} else if o.N != *last && w.wrong.Add(1) < 10 {
		w.t.Errorf("key %d: handled %d after %d", o.Key, o.N, *last)
	}
	if rand.IntN(2000) == 0 { //nolint:gosec // no secret
		runtime.Goexit()
	}
	return nil
}

// batch is the handler of a batch, which holds a run of each key; it fails whole, or answers for each event. A run
// of which the first was not settled comes again, so it may begin with what was handled before, but leaves none out.
func (w *soak) batch(_ context.Context, all []event.Event[purchase]) error {
	if rand.IntN(50) == 0 { //nolint:gosec // no secret
		return errBoom
	}
	run, failed := map[int]int{}, map[int]bool{}
	answers := make(stage.BatchErrors, len(all))
	for i, e := range all {
		o := e.Payload
		if before := run[o.Key]; before != 0 && o.N != before+1 && w.wrong.Add(1) < 10 {
			w.t.Errorf("B1: key %d: %d comes behind %d in a batch", o.Key, o.N, before)
		}
		run[o.Key] = o.N
		switch last := &w.batched[o.Key].last; {
		case failed[o.Key]: // the rest of a run is left alone
		case rand.IntN(50) == 0: //nolint:gosec // no secret
			answers[i], failed[o.Key] = errBoom, true
		case o.N == *last+1:
			*last = o.N
		case o.N > *last && w.wrong.Add(1) < 10:
			w.t.Errorf("key %d: handled %d in a batch after %d", o.Key, o.N, *last)
		}
	}
	return answers
}

func (w *soak) start() {
	go func() { w.runs <- w.p.Run(context.Background()) }()
	for i := range soakPublishers {
		w.helpers.Go(func() { w.publish(i) })
	}
	w.helpers.Go(w.maintain)
	w.helpers.Go(w.meddle)
}

// pause waits some d, or less when the traffic ends, and reports whether it goes on.
func (w *soak) pause(d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // no secret
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// publish sends the orders of every fourth key. What was not accepted is sent again.
func (w *soak) publish(own int) {
	for w.pause(soakPause) {
		for range soakBurst {
			key := own + soakPublishers*rand.IntN(soakKeys/soakPublishers) //nolint:gosec // no secret
			ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
			err := w.pub.Publish(ctx, purchase{key, w.sent[key] + 1})
			cancel()
			switch {
			case err == nil:
				w.sent[key]++
			case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
				w.t.Errorf("Publish = %v", err)
				return
			}
		}
	}
}

// maintain redrives, now and then with a limit or an end that comes too early. It takes one stage at a time: where a
// stage waits for room among its letters, the redrives of the stages before it wait for that stage.
func (w *soak) maintain() {
	stages := w.p.Stages()
	for w.pause(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(w.ctx, time.Duration(1+rand.IntN(4000))*time.Millisecond) //nolint:gosec // no secret
		r, _ := deadletter.Drain(ctx, w.letters, w.p, deadletter.DrainOptions{
			Filter:   deadletter.Filter{Stage: stages[rand.IntN(len(stages))]}, //nolint:gosec // no secret
			Parallel: 1 + rand.IntN(4), Limit: rand.IntN(200),                  //nolint:gosec // no secret
		})
		cancel()
		w.drains++
		w.redriven += r.Succeeded + r.Failed
	}
}

// meddle pauses stages, changes their workers, and has stores fail.
func (w *soak) meddle() {
	stages := w.p.Stages()
	for w.pause(50 * time.Millisecond) {
		name := stages[rand.IntN(len(stages))] //nolint:gosec // no secret
		switch rand.IntN(3) {                  //nolint:gosec // no secret
		case 0:
			w.pauses++
			_ = w.p.Pause(name)
			w.pause(20 * time.Millisecond)
			_ = w.p.Resume(name)
		case 1:
			if name != "tally" {
				w.resizes++
				_ = w.p.SetWorkers(name, 16+rand.IntN(16)) //nolint:gosec // no secret
			}
		case 2:
			w.outages++
			w.outage.begin(rand.IntN(len(outageMethods)), 1+rand.IntN(5), rand.IntN(3)) //nolint:gosec // no secret
		}
	}
}

// redriveAll redrives until there is nothing left, and nothing comes after: last stages first.
func (w *soak) redriveAll() {
	stages := w.p.Stages()
	slices.Reverse(stages)
	limit := time.Now().Add(2 * time.Minute)
	for time.Now().Before(limit) {
		for _, name := range stages {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, _ = deadletter.Drain(ctx, w.letters, w.p, deadletter.DrainOptions{Filter: deadletter.Filter{Stage: name}, Parallel: 8})
			cancel()
		}
		left := 0
		for range w.letters.List(context.Background(), deadletter.Filter{}) {
			left++
		}
		for _, s := range w.p.Snapshot().Stages {
			left += s.Resident() + s.Redriving
		}
		if left == 0 {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	w.t.Errorf("after two minutes there are letters left, or events: %+v", w.p.Snapshot())
}

// judge looks at the end: each purchase was handled at each stage that keeps an order.
func (w *soak) judge() {
	if err := w.p.Snapshot().Sum(true); err != nil {
		w.t.Errorf("D1: %v", err)
	}
	for key, sent := range w.sent {
		if a, b, c := w.check[key].last, w.charge[key].last, w.batched[key].last; a != sent || b != sent || c != sent {
			w.t.Errorf("key %d: %d were accepted; checked %d, charged %d, handled in batches %d", key, sent, a, b, c)
		}
	}
}

func (w *soak) summary() string {
	s, _ := w.p.Snapshot().Stage("charge")
	l, _ := w.p.Snapshot().Stage("loose")
	sent := 0
	for _, n := range w.sent {
		sent += n
	}
	return fmt.Sprintf("%d events were published, %d letters of a stage, %d redrives in %d drains, %d pauses, %d changes of workers, %d outages, %d dropped, %d sums",
		sent, s.DeadLettered+s.Diverted, w.redriven, w.drains, w.pauses, w.resizes, w.outages, l.Dropped, w.sums)
}
