package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// ends writes down what a source is told of each of its events.
type ends struct {
	mu   sync.Mutex
	told map[int][]error
}

// in is the n-th parcel of key, for a source.
func (e *ends) in(key string, n int, opts ...event.PublishOption) event.Incoming[parcel] {
	return event.Incoming[parcel]{Payload: parcel{key, n}, Options: opts, Settled: func(err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.told == nil {
			e.told = map[int][]error{}
		}
		e.told[n] = append(e.told[n], err)
	}}
}

func (e *ends) of(n int) []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told[n])
}

// source brings in the given events.
func source(in ...event.Incoming[parcel]) event.Source[parcel] {
	return event.FromReceive(func(ctx context.Context, emit event.Emit[parcel]) error {
		for _, i := range in {
			if err := emit(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestL1_EveryAcceptedEventGetsAnAttempt(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		var m mishaps
		d := startDepot(t, letterConfig{workers: workers, followers: policy, handle: m.handle, timeout: 20 * time.Millisecond, options: []stage.Option{stage.Buffer(5)}})
		var all sync.WaitGroup
		for p := range 4 {
			all.Go(func() {
				for n := range 100 {
					d.publish(fmt.Sprint("key-", (n+p)%9), 100*p+n)
				}
			})
		}
		all.Wait()
		d.settle()
		m.mended.Store(true)
		d.drainDry() // what was diverted gets its attempt now
		d.close()
		tried := map[uint64]bool{}
		for _, c := range d.calls {
			tried[c.meta.Seq] = true
		}
		if len(tried) != 400 {
			t.Errorf("%d of 400 accepted events were tried", len(tried))
		}
	})
}

func TestL1_ASourceIsToldOfEachEndOnce(t *testing.T) {
	eachPolicy(t, storing, func(t *testing.T, workers int, policy deadletter.Policy) {
		var e ends
		d := newDepot(t, letterConfig{
			workers: workers, followers: policy, ids: idempotency.NewMemory(),
			retry: middleware.Constant{Attempts: 2, Delay: time.Minute},
			handle: func(_ context.Context, c *call) error {
				switch {
				case c.n == 2 || c.n == 3 && c.attempt == 1:
					return errBroken
				case c.n == 4:
					return stage.Skip("not for us")
				case c.n == 7:
					crash(2)
				}
				return nil
			},
			moreStages: []*stage.Stage{stage.Handle(parcels, "slow", func(context.Context, event.Event[parcel]) error {
				time.Sleep(time.Hour)
				return nil
			}, stage.Workers(20), stage.WithOrder(stage.Unordered))},
		})
		pipeline.From(d.p, parcels, source(
			e.in("done", 1, event.WithID("1")), e.in("dead-lettered", 2), e.in("retried", 3), e.in("dropped", 4),
			e.in("dead-lettered", 5), e.in("duplicate", 6, event.WithID("1")), e.in("goexit", 7)))
		d.start()
		time.Sleep(30 * time.Minute)
		if len(e.told) != 0 {
			t.Errorf("the source was told %v before every stage had settled", e.told)
		}
		d.settle()
		for n := 1; n <= 7; n++ {
			if got := e.of(n); len(got) != 1 || got[0] != nil {
				t.Errorf("of %d the source was told %v, want nil once: it is done or safe", n, got)
			}
		}
		d.close()
	})
}

func TestL1_ASourceIsToldOfWhatIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ends
		d := newDepot(t, letterConfig{
			followers: deadletter.Block, config: pipeline.Config{Grace: time.Minute},
			handle: func(_ context.Context, c *call) error {
				if c.n == 1 {
					return errBroken
				}
				return nil
			},
			moreStages: []*stage.Stage{stage.Handle(parcels, "second", func(ctx context.Context, e event.Event[parcel]) error {
				if e.Payload.N == 3 {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}, stage.Workers(1))},
		})
		pipeline.From(d.p, parcels, source(e.in("held", 1), e.in("held", 2), e.in("running", 3), e.in("done", 4)))
		d.start()
		time.Sleep(time.Second)
		err := d.shut()
		if got := len(unfinished(err)); got != 4 { // 1 and 2 at work; 3 and 4, behind it, at second
			t.Errorf("%d events are handed back, want 4: %v", got, err)
		}
		for n := 1; n <= 4; n++ {
			if got := e.of(n); len(got) != 1 || !errors.Is(got[0], pipeline.ErrShutdown) {
				t.Errorf("of %d the source was told %v, want the shutdown, once", n, got)
			}
		}
	})
}

func TestL1_ASourceIsToldOfAFailureThatNobodyHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ends
		p := pipeline.New(pipeline.Config{Logger: quiet, StopAfterSources: true})
		p.Add(stage.Handle(parcels, "work", func(_ context.Context, ev event.Event[parcel]) error {
			if ev.Payload.N == 1 {
				return errBroken
			}
			return nil
		}), stage.Handle(parcels, "other", func(context.Context, event.Event[parcel]) error { return nil }))
		pipeline.From(p, parcels, source(e.in("a", 1), e.in("a", 2)))
		if err := p.Run(t.Context()); err != nil {
			t.Errorf("Run = %v, want nil: every event has settled", err)
		}
		if got := e.of(1); len(got) != 1 || !errors.Is(got[0], errBroken) {
			t.Errorf("of 1 the source was told %v, want the failure, once", got)
		}
		if got := e.of(2); len(got) != 1 || got[0] != nil {
			t.Errorf("of 2 the source was told %v, want nil, once", got)
		}
	})
}

// twoStages is a pipeline whose stage open always has room and whose stage tight has room for few.
func twoStages(t *testing.T, tight stage.Overflow) (*pipeline.Pipeline, event.Publisher[parcel]) {
	t.Helper()
	p := pipeline.New(pipeline.Config{Logger: quiet})
	handle := func(context.Context, event.Event[parcel]) error { return nil }
	p.Add(stage.Handle(parcels, "open", handle), stage.Handle(parcels, "tight", handle, stage.Buffer(1), stage.WithOverflow(tight)))
	return p, pipeline.NewPublisher(p, parcels)
}

// acceptedBy is how many events each stage has accepted.
func acceptedBy(p *pipeline.Pipeline) string {
	n := p.Snapshot()
	return fmt.Sprint(n.Stages[0].Accepted, n.Stages[1].Accepted)
}

func TestL2_AFullStageThatRejectsLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, pub := twoStages(t, stage.Reject)
		if err := pub.Publish(t.Context(), parcel{"a", 1}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := pub.Publish(t.Context(), parcel{"a", 2}); !errors.Is(err, pipeline.ErrFull) {
				t.Errorf("Publish = %v, want ErrFull", err)
			}
		}
		if got := acceptedBy(p); got != "1 1" {
			t.Errorf("the stages accepted %s events, want 1 1", got)
		}
		if n, err := p.Drain(t.Context(), 0); n != 2 || err != nil {
			t.Errorf("Drain = %d, %v; want 2", n, err)
		}
		if err := pub.Publish(t.Context(), parcel{"a", 3}); err != nil {
			t.Errorf("Publish with room again = %v", err)
		}
	})
}

func TestL2_ACancelledPublishLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, pub := twoStages(t, stage.Block)
		ended, cancel := context.WithCancelCause(t.Context())
		cancel(errBroken)
		for range 100 { // not by chance
			if err := pub.Publish(ended, parcel{"a", 1}); !errors.Is(err, errBroken) {
				t.Errorf("Publish with an ended context = %v, want its cause", err)
			}
		}
		if got := acceptedBy(p); got != "0 0" {
			t.Errorf("the stages accepted %s events, want none", got)
		}
		if err := pub.Publish(t.Context(), parcel{"a", 1}); err != nil {
			t.Fatal(err)
		}
		ctx, cancelWait := context.WithTimeoutCause(t.Context(), time.Minute, errBroken)
		defer cancelWait()
		began := time.Now()
		if err := pub.Publish(ctx, parcel{"a", 2}); !errors.Is(err, errBroken) || time.Since(began) != time.Minute {
			t.Errorf("Publish to a full stage = %v after %v, want the context's cause after 1m", err, time.Since(began))
		}
		if got := acceptedBy(p); got != "1 1" {
			t.Errorf("the stages accepted %s events, want 1 1", got)
		}
	})
}

func TestL2_AllStagesOfATopicHaveTheSameEvents(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		j := &journal{}
		p := pipeline.New(pipeline.Config{Logger: quiet})
		slow := func(context.Context, *call) error { time.Sleep(time.Millisecond); return nil }
		for i, o := range []stage.Overflow{stage.Reject, stage.Block, stage.Reject} {
			p.Add(stage.Handle(parcels, fmt.Sprint("stage-", i), recorded[parcel](j, slow),
				stage.Workers(workers), stage.Buffer(1+i), stage.WithOverflow(o), stage.Use(j.probe())))
		}
		pub := pipeline.NewPublisher(p, parcels)
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- p.Run(ctx) }()
		var mu sync.Mutex
		accepted := map[string][]int{}
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				for n := range 50 {
					wait, cancel := context.WithTimeout(t.Context(), time.Duration(n%3)*300*time.Microsecond)
					key := fmt.Sprint("key-", i) // one publisher a key: its order is known
					if err := pub.Publish(wait, parcel{key, n}); err == nil {
						mu.Lock()
						accepted[key] = append(accepted[key], n)
						mu.Unlock()
					}
					cancel()
				}
			})
		}
		all.Wait()
		stop()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		for key, want := range accepted {
			for i := range 3 {
				if got := j.done(fmt.Sprint("stage-", i), key); !slices.Equal(got, want) {
					t.Errorf("stage-%d handled %v of %s, accepted were %v", i, got, key, want)
				}
			}
		}
	})
}

func TestL2_PublishDuringShutdownIsAcceptedAndEndedOrRefused(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		for range 20 {
			d := startDepot(t, letterConfig{workers: workers, options: []stage.Option{stage.Buffer(2)}})
			var mu sync.Mutex
			accepted := map[string][]int{}
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					key := fmt.Sprint("key-", i)
					for n := 0; ; n++ {
						err := d.pub.Publish(context.Background(), parcel{key, n})
						if err != nil {
							if !errors.Is(err, pipeline.ErrClosed) {
								t.Errorf("Publish = %v, want ErrClosed", err)
							}
							return
						}
						mu.Lock()
						accepted[key] = append(accepted[key], n)
						mu.Unlock()
						if n%10 == 9 {
							time.Sleep(time.Microsecond)
						}
					}
				})
			}
			time.Sleep(5 * time.Microsecond)
			if err := d.run.Stop(); err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			all.Wait() // the record is complete when the last publish has returned
			d.close()
			for key, want := range accepted {
				if got := d.done("work", key); !slices.Equal(got, want) {
					t.Errorf("key %s: handled were %v, accepted %v", key, got, want)
				}
			}
			if err := d.pub.Publish(context.Background(), parcel{"a", 1}); !errors.Is(err, pipeline.ErrClosed) {
				t.Errorf("Publish after the end = %v, want ErrClosed", err)
			}
		}
	})
}

func TestL2_ATopicWithoutStagesIsAnError(t *testing.T) {
	p, _ := twoStages(t, stage.Block)
	pub := pipeline.NewPublisher(p, event.NewTopic[int]("nobody listens"))
	if err := pub.Publish(t.Context(), 1); !errors.Is(err, pipeline.ErrNoStage) {
		t.Errorf("Publish = %v, want ErrNoStage", err)
	}
	twin := pipeline.NewPublisher(p, event.NewTopic[int]("parcels"))
	if err := twin.Publish(t.Context(), 1); err == nil {
		t.Error("Publish to another topic of the same name = nil, want an error")
	}
}

func TestL2_PublishNeverPanics(t *testing.T) {
	panics := event.NewTopic("panics", event.KeyBy(func(p parcel) string { panic(p.Key) }))
	panicsID := event.NewTopic("panics too", event.KeyBy(func(p parcel) string { return p.Key }), event.IDBy(func(parcel) string { panic(errBroken) }))
	handle := func(context.Context, event.Event[parcel]) error { return nil }
	p := pipeline.New(pipeline.Config{Logger: quiet})
	p.Add(
		stage.Handle(parcels, "work", handle),
		stage.Handle(panics, "never", handle), stage.Handle(panicsID, "nor this", handle))
	var none context.Context
	for name, publish := range map[string]func() error{
		"a nil context": func() error { return pipeline.NewPublisher(p, parcels).Publish(none, parcel{"a", 1}) },
		"a nil context, inline": func() error {
			inline := pipeline.New(pipeline.Config{Inline: true, Logger: quiet})
			inline.Add(stage.Handle(parcels, "work", handle))
			return pipeline.NewPublisher(inline, parcels).Publish(none, parcel{"a", 1})
		},
		"a nil topic":                func() error { return pipeline.NewPublisher[parcel](p, nil).Publish(t.Context(), parcel{}) },
		"an empty key":               func() error { return pipeline.NewPublisher(p, parcels).Publish(t.Context(), parcel{}) },
		"a key function that panics": func() error { return pipeline.NewPublisher(p, panics).Publish(t.Context(), parcel{}) },
		"an identity function too":   func() error { return pipeline.NewPublisher(p, panicsID).Publish(t.Context(), parcel{"a", 1}) },
		"a pipeline with faults": func() error {
			return pipeline.NewPublisher(pipeline.New(pipeline.Config{}), parcels).Publish(t.Context(), parcel{"a", 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := publish(); err == nil {
				t.Error("Publish = nil, want an error")
			}
		})
	}
	if err := pipeline.NewPublisher(p, parcels).Publish(t.Context(), parcel{"a", 1}, nil); err != nil {
		t.Errorf("Publish with a nil option = %v, want nil", err)
	}
	if n := p.Snapshot().Stages[0].Accepted; n != 1 {
		t.Errorf("%d events were accepted, want the last one only", n)
	}
}

// TestL2_PublishNeverPanicsWhateverTheDescriptionIs: a fault is found at the first publish, and stands.
func TestL2_PublishNeverPanicsWhateverTheDescriptionIs(t *testing.T) {
	work := func(opts ...stage.Option) *stage.Stage {
		return stage.Handle(parcels, "work", func(context.Context, event.Event[parcel]) error { return nil }, opts...)
	}
	breaks := stage.Middleware{Name: "breaks", Wrap: func(stage.Handler) stage.Handler { panic(errBroken) }}
	for name, s := range map[string]*stage.Stage{
		"a stage of nothing":   {},
		"a middleware panics":  work(stage.Use(breaks)),
		"a buffer without end": work(stage.Buffer(math.MaxInt)),
		"workers without end":  work(stage.Workers(math.MaxInt)),
		"a buffer below 0":     work(stage.Buffer(math.MinInt)),
		"workers below 0":      work(stage.Workers(math.MinInt)),
		"a key's room below 0": work(stage.MaxPerKey(math.MinInt)),
	} {
		t.Run(name, func(t *testing.T) {
			p := pipeline.New(pipeline.Config{Logger: quiet})
			p.Add(s)
			pub := pipeline.NewPublisher(p, parcels)
			for range 2 {
				if err := pub.Publish(t.Context(), parcel{"a", 1}); err == nil {
					t.Error("Publish = nil, want the fault")
				}
				if err := p.Check(); err == nil {
					t.Error("Check = nil, want the fault")
				}
			}
		})
	}
	unmade := new(pipeline.Pipeline)
	unmade.Add(work())
	for name, p := range map[string]*pipeline.Pipeline{"not made by New": unmade, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			if err := pipeline.NewPublisher(p, parcels).Publish(t.Context(), parcel{"a", 1}); err == nil {
				t.Error("Publish = nil, want the fault")
			}
		})
	}
}
