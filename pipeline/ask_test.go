package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

func TestAskResolvesWithWhatBecameOfTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		w := runPlant(t, fullChain(deadletter.Park),
			stage.Map(jobs, "double", parts, func(_ context.Context, e event.Event[job]) (job, error) {
				if calls++; calls < 3 {
					return job{}, errFlop
				}
				return job{e.Payload.Key, 2 * e.Payload.N}, nil
			}),
			stage.Handle(jobs, "fail", func(context.Context, event.Event[job]) error { return stage.Permanent(errFlop) }),
			stage.Handle(jobs, "skip", func(context.Context, event.Event[job]) error { return stage.Skip("no need") }),
			stage.Handle(parts, "ship", noWork))
		r, err := pipeline.Ask(t.Context(), w.pub, job{"a", 21})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-r.Done():
			t.Error("the receipt resolved while an attempt was to come")
		default:
		}
		answers, err := r.Wait(t.Context())
		if err != nil || len(answers) != 3 {
			t.Fatalf("Wait = %v, %v, want three answers", answers, err)
		}
		for i, want := range []stage.Outcome{stage.OutcomeDone, stage.OutcomeDeadLettered, stage.OutcomeDropped} {
			if answers[i].Outcome != want {
				t.Errorf("%s ended as %v, want %v", answers[i].Stage, answers[i].Outcome, want)
			}
		}
		if got, err := pipeline.Output[job](answers, "double"); err != nil || got.N != 42 {
			t.Errorf("Output = %v, %v, want 42", got, err)
		}
		if _, err := pipeline.Output[string](answers, "double"); !errors.Is(err, pipeline.ErrNoOutput) {
			t.Errorf("Output of another type = %v, want ErrNoOutput", err)
		}
		if _, err := pipeline.Output[job](answers, "fail"); !errors.Is(err, errFlop) || !errors.Is(answers[1].Err, errFlop) {
			t.Errorf("Output of a failure = %v, want it", err)
		}
		for _, name := range []string{"skip", "nowhere"} {
			if _, err := pipeline.Output[job](answers, name); !errors.Is(err, pipeline.ErrNoOutput) {
				t.Errorf("Output of %s = %v, want ErrNoOutput", name, err)
			}
		}
		w.Settle()
	})
}

func TestAskOfAnExpandHasAllItsOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, stage.Expand(jobs, "split", parts, func(_ context.Context, e event.Event[job]) ([]job, error) {
			return []job{{"x", 1}, {"y", 2}}, nil
		}), stage.Handle(parts, "ship", noWork))
		r, err := pipeline.Ask(t.Context(), w.pub, job{"a", 1})
		if err != nil {
			t.Fatal(err)
		}
		answers, err := r.Wait(t.Context())
		if err != nil || len(answers[0].Output) != 2 || answers[0].Output[1] != (job{"y", 2}) {
			t.Errorf("answers %+v, %v, want both parts", answers, err)
		}
		w.Settle()
	})
}

// TestO8_WaitingForOnesOwnKeyInItsHandlerIsAnError: and for anything else that could never come.
func TestO8_WaitingForOnesOwnKeyInItsHandlerIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(pipeline.Config{})
		pub, other := pipeline.NewPublisher(p, jobs), pipeline.NewPublisher(p, parts)
		waits := map[string]error{}
		p.Add(
			stage.Handle(jobs, "work", func(ctx context.Context, e event.Event[job]) error {
				switch e.Payload.N {
				case 1: // its own key
					r, err := pipeline.Ask(ctx, pub, job{e.Key, 100})
					if err != nil {
						return err
					}
					_, waits["own"] = r.Wait(ctx)
				case 2: // a stage whose handler waits for this one
					r, err := pipeline.Ask(ctx, other, job{"part", 1})
					if err != nil {
						return err
					}
					_, waits["out"] = r.Wait(ctx)
				case 100: // not over before it is waited for
					<-time.After(time.Second)
				}
				return nil
			}),
			stage.Handle(parts, "ship", func(ctx context.Context, e event.Event[job]) error {
				<-time.After(time.Second) // until it is waited for
				r, err := pipeline.Ask(ctx, pub, job{"back", 100})
				if err != nil {
					return err
				}
				_, waits["back"] = r.Wait(ctx)
				return nil
			}),
		)
		ctx, stop := context.WithCancel(t.Context())
		run := make(chan error)
		go func() { run <- p.Run(ctx) }()
		for n := 1; n <= 2; n++ {
			if err := pub.Publish(t.Context(), job{"a", n}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		stop()
		if err := <-run; err != nil {
			t.Errorf("Run = %v", err)
		}
		if !errors.Is(waits["own"], pipeline.ErrCycle) || !errors.Is(waits["back"], pipeline.ErrCycle) || waits["out"] != nil {
			t.Errorf("waits ended with %v, want ErrCycle for its own and for the way back, nil for the way out", waits)
		}
	})
}

func TestAskResolvesWhenAShutdownHandsTheEventBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPlantIn(t, pipeline.Config{Grace: time.Second}, nil, work(noWork))
		w.run()
		r, err := pipeline.Ask(t.Context(), w.pub, job{"a", 1}, event.After(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait until its context ended = %v", err)
		}
		_ = w.Stop()
		answers, err := r.Wait(t.Context())
		if err != nil || answers[0].Outcome != stage.OutcomeReturned {
			t.Errorf("answers %+v, %v, want returned", answers, err)
		}
	})
}

func TestAskInline(t *testing.T) {
	w := newPlantIn(t, pipeline.Config{Inline: true}, []stage.Middleware{middleware.Recover()},
		stage.Map(jobs, "double", parts, func(_ context.Context, e event.Event[job]) (job, error) {
			return job{e.Payload.Key, 2 * e.Payload.N}, nil
		}), stage.Handle(parts, "ship", noWork))
	r, err := pipeline.Ask(t.Context(), w.pub, job{"a", 21})
	if err != nil {
		t.Fatal(err)
	}
	answers, err := r.Wait(t.Context())
	if got, oerr := pipeline.Output[job](answers, "double"); err != nil || oerr != nil || got.N != 42 {
		t.Errorf("%v, %v, %v, want 42", got, err, oerr)
	}
}

type fakePublisher struct{}

func (fakePublisher) Publish(context.Context, job, ...event.PublishOption) error { return nil }

func TestAskOfAFakeIsAnError(t *testing.T) {
	if _, err := pipeline.Ask[job](t.Context(), fakePublisher{}, job{}); err == nil {
		t.Error("Ask with a publisher that cannot answer = nil")
	}
}

func TestAHeldEventIsSkippedByHand(t *testing.T) {
	for _, order := range []stage.Order{stage.PerKey, stage.Serial, stage.Unordered} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := map[string]int{}
				w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
					calls[e.Payload.id()]++
					if e.Payload.N == 1 {
						return stage.Hold(errFlop)
					}
					return nil
				}, stage.WithOrder(order), stage.Workers(1)))
				w.put("a", 1, 2, 3)
				w.Settle()
				key := map[stage.Order]string{stage.PerKey: "a", stage.Serial: "a", stage.Unordered: ""}[order]
				if order == stage.PerKey {
					if n, err := w.p.Skip("work", "other"); n != 0 || err != nil {
						t.Errorf("Skip of a key that is not held = %d, %v", n, err)
					}
				}
				if s := w.figures(); s.Held != 1 {
					t.Fatalf("%d held, want 1", s.Held)
				}
				n, err := w.p.Skip("work", key)
				w.rest()
				if n != 1 || err != nil {
					t.Errorf("Skip = %d, %v, want 1", n, err)
				}
				s := w.figures()
				if s.Held != 0 || s.Dropped != 1 || s.Done != 2 || s.Reasons[stage.ReasonReleased] != 1 || calls["a1"] != 1 {
					t.Errorf("%d held, %d dropped %v, %d done, %d calls; want the held one dropped untried", s.Held, s.Dropped, s.Reasons, s.Done, calls["a1"])
				}
			})
		})
	}
	w := newPlant(t, nil, work(noWork))
	if _, err := w.p.Skip("nowhere", "a"); err == nil {
		t.Error("Skip at no stage = nil, want an error")
	}
}

// TestT2_AskWaitsForRetriesToo: in an inline pipeline the answers are there when Ask returns.
func TestT2_AskWaitsForRetriesToo(t *testing.T) {
	calls := 0
	w := newPlantIn(t, pipeline.Config{Inline: true}, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 3, Delay: 30 * time.Millisecond})},
		work(func(context.Context, event.Event[job]) error {
			if calls++; calls < 3 {
				return errFlop
			}
			return nil
		}))
	r, err := pipeline.Ask(t.Context(), w.pub, job{"a", 1})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.Done():
	default:
		t.Errorf("the answers are not there when Ask returned; %d calls", calls)
	}
}

func TestT2_AskReturnsTheHandlersError(t *testing.T) {
	w := newPlantIn(t, pipeline.Config{Inline: true}, nil,
		work(func(context.Context, event.Event[job]) error { return errFlop }))
	_, err := pipeline.Ask(t.Context(), w.pub, job{"a", 1})
	if !errors.Is(err, errFlop) {
		t.Errorf("Ask = %v", err)
	}
}
