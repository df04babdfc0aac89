package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
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

// parts is a topic that the stages of these tests publish to.
var parts = event.NewTopic("parts", event.KeyBy(func(j job) string { return j.Key }), event.IDBy(job.id))

func TestO8_AnEventPublishedToItsOwnKeyQueuesBehind(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w *plant
				w = runPlant(t, nil, work(func(ctx context.Context, e event.Event[job]) error {
					if e.Payload.N < 50 {
						if err := w.pub.Publish(ctx, job{e.Key, e.Payload.N + 1}); err != nil {
							return err
						}
					}
					time.Sleep(time.Millisecond)
					return nil
				}, stage.Workers(workers)))
				w.put("a", 1)
				w.put("b", 1)
				w.rest()
				pipelinetest.ExpectOrder(t, w.rec, "work", "a", jobIDs("a", 50)...)
				pipelinetest.ExpectOrder(t, w.rec, "work", "b", jobIDs("b", 50)...)
			})
		})
	}
}

func TestO8_PublishingToOnesOwnFullStageIsAnErrorNotADeadlock(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w *plant
				refused := make(chan error, 1000)
				w = runPlant(t, nil, work(func(ctx context.Context, e event.Event[job]) error {
					for i := range 3 {
						if e.Payload.N > 1000 {
							break
						}
						if err := w.pub.Publish(ctx, job{e.Key, 10*e.Payload.N + i}); err != nil {
							refused <- err
						}
					}
					return nil
				}, stage.Workers(workers), stage.Buffer(2)))
				w.put("a", 1)
				w.rest()
				close(refused)
				if len(refused) == 0 {
					t.Error("no publish was refused, so nothing was proven")
				}
				for err := range refused {
					if !errors.Is(err, pipeline.ErrCycle) || !errors.Is(err, pipeline.ErrFull) || !strings.Contains(err.Error(), "work → work") {
						t.Fatalf("Publish = %v, want an ErrCycle that names work → work", err)
					}
				}
			})
		})
	}
}

// TestO8_StagesThatFillEachOther has two stages publish to each other's topic from their handlers, which the
// description cannot show.
func TestO8_StagesThatFillEachOther(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var there, back event.Publisher[job]
				refused := make(chan error, 100_000)
				pass := func(to *event.Publisher[job]) jobHandler {
					return func(ctx context.Context, e event.Event[job]) error {
						time.Sleep(time.Millisecond)
						if e.Payload.N == 0 {
							return nil
						}
						for range 2 { // each event becomes two: the stages must fill
							if err := (*to).Publish(ctx, job{e.Key, e.Payload.N - 1}); err != nil {
								refused <- err
							}
						}
						return nil
					}
				}
				opts := []stage.Option{stage.Workers(workers), stage.Buffer(2)}
				w := runPlant(t, nil, work(pass(&there), opts...), stage.Handle(parts, "parts", pass(&back), opts...))
				there, back = pipeline.NewPublisher(w.p, parts), w.pub
				for i := range 12 {
					w.put(fmt.Sprintf("k%d.", i), 8)
				}
				w.rest()
				close(refused)
				if len(refused) == 0 {
					t.Error("no publish was refused, so nothing was proven")
				}
				for err := range refused {
					if !errors.Is(err, pipeline.ErrCycle) {
						t.Fatalf("Publish = %v, want an ErrCycle", err)
					}
					if s := err.Error(); !strings.Contains(s, "work → parts → work") && !strings.Contains(s, "parts → work → parts") {
						t.Fatalf("Publish = %v, want the cycle named", err)
					}
				}
			})
		})
	}
}

func TestO8_ADeclaredCycleOfStagesThatWaitIsRefused(t *testing.T) {
	pass := func(_ context.Context, e event.Event[job]) (job, error) { return e.Payload, nil }
	build := func(back ...stage.Option) error {
		p := pipeline.New(pipeline.Config{})
		p.Add(stage.Map(jobs, "there", parts, pass, back...), stage.Map(parts, "back", jobs, pass))
		return p.Check()
	}
	if err := build(); err == nil || !strings.Contains(err.Error(), "there → back → there") {
		t.Errorf("Check = %v, want the cycle there → back → there", err)
	}
	if err := build(stage.WithOverflow(stage.Reject)); err != nil {
		t.Errorf("Check with a stage that rejects = %v, want nil", err)
	}
}

// split is an Expand stage named "work" that emits the parts 10n … 10n+4 of job n.
func split(flop func(job) error, opts ...stage.Option) *stage.Stage {
	return stage.Expand(jobs, "work", parts, func(_ context.Context, e event.Event[job]) ([]job, error) {
		var out []job
		for i := range 5 {
			out = append(out, job{e.Key, 10*e.Payload.N + i})
		}
		return out, flop(e.Payload)
	}, opts...)
}

// turn is a Map stage named "work" that emits the part 10n of job n.
func turn(flop func(job) error, opts ...stage.Option) *stage.Stage {
	return stage.Map(jobs, "work", parts, func(_ context.Context, e event.Event[job]) (job, error) {
		return job{e.Key, 10 * e.Payload.N}, flop(e.Payload)
	}, opts...)
}

// gather is a stage of parts.
func gather(opts ...stage.Option) *stage.Stage {
	return stage.Handle(parts, "gather", func(context.Context, event.Event[job]) error { return nil }, opts...)
}

// wantParts are the identities of the parts, so many each, of the jobs 1 … n of a key.
func wantParts(key string, n, each int) (ids []string) {
	for j := range n {
		for i := range each {
			ids = append(ids, job{key, 10*(j+1) + i}.id())
		}
	}
	return ids
}

func TestO9_WhatIsEmittedKeepsItsOrder(t *testing.T) {
	retry, recovers := middleware.Retry(middleware.Constant{Delay: 3 * time.Millisecond}), middleware.Recover()
	for _, c := range []struct {
		name  string
		work  func(func(job) error, ...stage.Option) *stage.Stage
		each  int // parts of a job
		chain []stage.Middleware
	}{
		{"expand", split, 5, []stage.Middleware{retry, recovers}},
		{"map", turn, 1, []stage.Middleware{retry, recovers}},
		{"map, nothing inside", turn, 1, []stage.Middleware{retry}},
	} {
		for _, workers := range []int{1, 2, 8, 16} {
			t.Run(fmt.Sprintf("%s/%d workers", c.name, workers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tries := states(someKeys)
					sc := script{play: firstAttempts(2, func() error { return errFlop })}
					w := runPlant(t, c.chain, c.work(func(j job) error { return tries[j.Key].play(t, j, sc) },
						stage.Workers(workers), stage.Buffer(8)), gather(stage.Workers(workers), stage.Buffer(4)))
					publishAll(t, w.pub, someKeys, 9)
					w.rest()
					for _, key := range someKeys {
						pipelinetest.ExpectOrder(t, w.rec, "gather", key, wantParts(key, 9, c.each)...)
					}
				})
			})
		}
	}
}

func TestO9_AFailedAttemptEmitsNothing(t *testing.T) {
	flops := map[string]func() error{
		"fails":              func() error { return errFlop },
		"panics":             func() error { panic("flop") },
		"ends its goroutine": func() error { runtime.Goexit(); return nil },
		"is permanent":       func() error { return stage.Permanent(errFlop) },
		"skips":              func() error { return stage.Skip("not this one") },
		"takes too long":     func() error { time.Sleep(slowJob); return nil },
	}
	for name, flop := range flops {
		fails := func(job) error { return flop() }
		run := func(kind string, chain []stage.Middleware, work *stage.Stage) {
			t.Run(name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := runPlant(t, chain, work, gather())
					w.put("a", 1)
					w.rest()
					if n, _ := w.p.Snapshot().Stage("gather"); n.Accepted != 0 {
						t.Errorf("%d parts were emitted, want none", n.Accepted)
					}
					if w.figures().Attempts == 0 {
						t.Error("there was no attempt, so nothing was proven")
					}
				})
			})
		}
		run("expand", fullChain(""), split(fails))
		run("map", fullChain(""), turn(fails))
		if name != "takes too long" { // for that there has to be a Timeout
			run("map alone", nil, turn(fails))
		}
	}
}

// TestO9_AnEmissionThatFailsDoesNotRepeatTheHandler fills the stage downstream, which rejects: the retries go
// on where the emissions stopped.
func TestO9_AnEmissionThatFailsDoesNotRepeatTheHandler(t *testing.T) {
	for name, c := range map[string]struct {
		work func(func(job) error, ...stage.Option) *stage.Stage
		each int
		jobs int
	}{
		"expand": {split, 5, 1},
		"map":    {turn, 1, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Delay: time.Second, Attempts: 100})},
					c.work(func(job) error { calls++; return nil }),
					gather(stage.Buffer(2), stage.Workers(1), stage.WithOverflow(stage.Reject)))
				if err := w.p.Pause("gather"); err != nil {
					t.Fatal(err)
				}
				publishAll(t, w.pub, []string{"a"}, c.jobs)
				time.Sleep(10*time.Second + time.Second/2) // between two retries
				if s := w.figures(); s.Parked != 1 || s.Retries < 5 {
					t.Errorf("%d parked, %d retries; want 1 and at least 5: nothing was proven", s.Parked, s.Retries)
				}
				if err := w.p.Resume("gather"); err != nil {
					t.Fatal(err)
				}
				w.rest()
				if calls != c.jobs {
					t.Errorf("the handler was called %d times for %d jobs, want once for each", calls, c.jobs)
				}
				pipelinetest.ExpectOrder(t, w.rec, "gather", "a", wantParts("a", c.jobs, c.each)...)
			})
		})
	}
}

func TestO9_AnEmissionThatCanNeverBePublishedIsPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{})},
			stage.Map(jobs, "work", parts, func(context.Context, event.Event[job]) (job, error) { return job{}, nil }), gather())
		w.put("a", 1)
		w.rest()
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDeadLettered)
		if n := len(w.rec.Started("work")); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
	})
}

func TestO9_EmissionsAreLinkedToTheirCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []event.Header
		w := runPlant(t, nil, split(func(job) error { return nil }), stage.Handle(parts, "gather", func(_ context.Context, e event.Event[job]) error {
			got = append(got, e.Header)
			return nil
		}))
		if err := w.pub.Publish(t.Context(), job{"a", 1}, event.WithCorrelation("conversation")); err != nil {
			t.Fatal(err)
		}
		w.rest()
		linked := func(h event.Header) bool {
			return h[event.HeaderCorrelation] == "conversation" && h[event.HeaderCausation] == "a1"
		}
		if len(got) != 5 || slices.ContainsFunc(got, func(h event.Header) bool { return !linked(h) }) {
			t.Errorf("headers %v, want five with correlation and causation", got)
		}
	})
}

// TestWhatIsEmittedHasWhatItsContextCarries: whoever gave the handler its context, the workers, a drain or a middleware.
func TestWhatIsEmittedHasWhatItsContextCarries(t *testing.T) {
	retry := middleware.Retry(middleware.Exponential{}) // what is emitted goes out inside of it
	carries := stage.Middleware{Name: "carries", Wrap: func(next stage.Handler) stage.Handler {
		return func(ctx context.Context, d *stage.Delivery) error {
			return next(event.Carry(ctx, event.Header{"by": "a middleware"}), d)
		}
	}}
	for _, c := range []struct {
		name  string
		drain context.Context // nil: workers run the stages
		use   []stage.Middleware
		want  event.Header
	}{
		{"workers", nil, nil, nil},
		{"a drain", context.Background(), nil, nil},
		{"a drain that carries", event.Carry(context.Background(), event.Header{"by": "the drain"}), nil, event.Header{"by": "the drain"}},
		{"a middleware", nil, []stage.Middleware{carries, retry}, event.Header{"by": "a middleware"}},
		{"a drain and a middleware", event.Carry(context.Background(), event.Header{"of": "the drain"}), []stage.Middleware{carries, retry},
			event.Header{"by": "a middleware", "of": "the drain"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []event.Header
				gather := stage.Handle(parts, "gather", func(_ context.Context, e event.Event[job]) error {
					got = append(got, e.Header)
					return nil
				})
				none := func(job) error { return nil }
				if c.drain == nil {
					w := runPlant(t, nil, turn(none, stage.Use(c.use...)), gather)
					w.put("a", 1)
					w.rest()
				} else {
					w := newPlant(t, nil, turn(none, stage.Use(c.use...)), gather)
					w.put("a", 1)
					if _, err := w.p.Drain(c.drain, 0); err != nil {
						t.Fatal(err)
					}
				}
				if len(got) != 1 || !maps.Equal(got[0], c.want) {
					t.Errorf("headers %v, want one event with %v", got, c.want)
				}
			})
		})
	}
}

// TestFault18_AnEndlessErrorOfAMapInTx: a Map that publishes after the commit looks for what is in doubt, and its search
// has an end.
func TestFault18_AnEndlessErrorOfAMapInTx(t *testing.T) {
	commits := stage.Middleware{Name: "tx", Commits: true, Wrap: func(next stage.Handler) stage.Handler { return next }}
	for _, flop := range []error{endless{}, circle(), badIs{}, badUnwrap{}} {
		t.Run(fmt.Sprintf("%T", flop), func(t *testing.T) {
			w := newPlant(t, []stage.Middleware{commits}, split(func(job) error { return flop }), gather())
			w.put("a", 1)
			pipelinetest.Drain(t, w.p)
			pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeFailed)
		})
	}
}

// TestM2_AnIdleExpandKeepsNothing: what was emitted is let go of when it was published, and not when the next event comes.
func TestM2_AnIdleExpandKeepsNothing(t *testing.T) {
	type big [1 << 20]byte
	in := event.NewTopic[int]("in")
	out := event.NewTopic[*big]("out")
	var freed atomic.Int32
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Expand(in, "x", out, func(context.Context, event.Event[int]) ([]*big, error) {
		var all []*big
		for range 20 {
			v := new(big)
			runtime.AddCleanup(v, func(int) { freed.Add(1) }, 0)
			all = append(all, v)
		}
		return all, nil
	}), stage.Handle(out, "sink", func(context.Context, event.Event[*big]) error { return nil }))
	pub := pipeline.NewPublisher(p, in)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	if err := pub.Publish(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 100 && freed.Load() < 20; i++ {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if n := freed.Load(); n < 20 {
		t.Errorf("a second after all was done %d of 20 payloads of 1 MB are still reachable", 20-n)
	}
}
