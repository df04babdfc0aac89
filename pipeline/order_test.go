package pipeline_test

import (
	"context"
	"fmt"
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

// TestO1_O2_AKeyKeepsItsOrderWhateverItsHandlersDo proves both from the recorded history.
func TestO1_O2_AKeyKeepsItsOrderWhateverItsHandlersDo(t *testing.T) {
	const n = 24
	eachScript(t, func(t *testing.T, workers int, sc script) {
		for _, policy := range []deadletter.Policy{deadletter.Continue, deadletter.Park} {
			state := states(someKeys)
			w := runPlant(t, fullChain(policy), work(func(_ context.Context, e event.Event[job]) error {
				return state[e.Key].play(t, e.Payload, sc)
			}, stage.Workers(workers), stage.Buffer(16)))
			publishAll(t, w.pub, someKeys, n)
			w.rest()
			pipelinetest.ExpectSettled(t, w.rec, "work", n*len(someKeys))
			for _, key := range someKeys {
				if done := state[key].done; !ascending(done) {
					t.Errorf("key %s was done in the order %v", key, done)
				}
			}
		}
	})
}

// TestO3_StateOfAKeyNeedsNoLock is for the race detector. Nothing is recorded, since the recorder's lock
// would give the handlers the order that the engine has to give them.
func TestO3_StateOfAKeyNeedsNoLock(t *testing.T) {
	const n = 24
	eachScript(t, func(t *testing.T, workers int, sc script) {
		state := states(someKeys)
		w := newPlantIn(t, pipeline.Config{}, fullChain(deadletter.Continue), work(func(_ context.Context, e event.Event[job]) error {
			return state[e.Key].play(t, e.Payload, sc)
		}, stage.Workers(workers), stage.Buffer(16)))
		w.run()
		publishAll(t, w.pub, someKeys, n)
		w.Settle()
		for _, key := range someKeys {
			if done := state[key].done; !ascending(done) {
				t.Errorf("key %s was done in the order %v", key, done)
			}
		}
	})
}

func TestO1_ARedrivenLetterDoesNotOverlapLiveEvents(t *testing.T) {
	for _, workers := range []int{1, 2, 8, 16} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state := states(someKeys)
				letters := deadletter.NewMemory()
				chain := []stage.Middleware{
					middleware.DeadLetter(letters, middleware.WithPolicy(deadletter.Continue)),
					middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Millisecond}),
				}
				w := runPlant(t, chain, work(func(_ context.Context, e event.Event[job]) error {
					time.Sleep(time.Millisecond)
					return state[e.Key].play(t, e.Payload, script{play: firstAttempts(3, func() error { return errFlop })})
				}, stage.Workers(workers)))
				published := make(chan struct{})
				go func() {
					defer close(published)
					publishAll(t, w.pub, someKeys, 30)
				}()
				redriven := 0
				drain := func() {
					report, err := deadletter.Drain(t.Context(), letters, w.p, deadletter.DrainOptions{Parallel: 4})
					if err != nil {
						t.Errorf("Drain = %v, want nil", err)
					}
					redriven += report.Succeeded
				}
				for range 20 {
					drain()
					time.Sleep(2 * time.Millisecond)
				}
				<-published
				w.Settle()
				drain()
				w.rest()
				if want := len(someKeys) * 10; redriven != want {
					t.Errorf("%d letters were redriven, want %d", redriven, want)
				}
			})
		})
	}
}

func TestO2_TheNextOfAKeyWaitsForTheRetriesOfTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 4, Delay: time.Hour})},
			work(func(_ context.Context, e event.Event[job]) error {
				if e.Payload.N == 1 && time.Since(e.Time) < 3*time.Hour {
					return errFlop
				}
				return nil
			}, stage.Workers(8)))
		began := time.Now()
		w.put("a", 1, 2, 3)
		w.rest()
		pipelinetest.ExpectOrder(t, w.rec, "work", "a", jobIDs("a", 3)...)
		if after, _ := w.startedAfter("a2", began); after != 3*time.Hour {
			t.Errorf("a2 began after %v, want 3h", after)
		}
	})
}

// TestO2_EveryStageOfATopicSeesOneOrder lets publishers of one key race: whatever order comes out, it is
// the accept order, the same everywhere.
func TestO2_EveryStageOfATopicSeesOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fine := func(context.Context, event.Event[job]) error { return nil }
		w := runPlant(t, nil, work(fine, stage.Buffer(4)), stage.Handle(jobs, "beside", fine, stage.Buffer(16)))
		publishAll(t, w.pub, []string{"a", "a", "a"}, 50)
		w.rest()
		for _, s := range []string{"work", "beside"} {
			for i, e := range w.rec.Settled(s) {
				if e.Seq != uint64(i+1) {
					t.Fatalf("%s settled %v in place %d", s, e, i+1)
				}
			}
		}
	})
}

func TestO4_ParkedKeyFreesItsWorker(t *testing.T) {
	for name, fate := range map[string]error{
		"parked":   stage.RetryAfter(time.Hour, errFlop),
		"put off":  stage.Postpone(time.Hour, errFlop),
		"held":     stage.Hold(errFlop),
		"repeated": nil, // by Retry
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				flopped := false
				w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Delay: time.Hour})},
					work(func(_ context.Context, e event.Event[job]) error {
						if e.Key != "a" || flopped {
							return nil
						}
						flopped = true
						if fate == nil {
							return errFlop
						}
						return fate
					}, stage.Workers(1)))
				began := time.Now()
				w.put("a", 1, 2)
				w.put("b", 1)
				w.Settle()
				w.wantAtOnce("b1", began)
				if name == "held" {
					if n, err := w.p.Release("work", "a"); n != 1 || err != nil {
						t.Errorf("Release = %d, %v, want 1, nil", n, err)
					}
				}
				w.rest()
				pipelinetest.ExpectOrder(t, w.rec, "work", "a", "a1", "a2")
			})
		})
	}
}

func TestO4_EveryWorkerIsThereHoweverManyKeysWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers, waiting = 4, 500
		w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
			if e.Key[0] == 'w' && time.Since(e.Time) < time.Hour {
				return stage.RetryAfter(time.Hour, errFlop)
			}
			time.Sleep(time.Minute)
			return nil
		}, stage.Workers(workers), stage.Buffer(4*waiting)))
		for i := range waiting {
			w.put(fmt.Sprintf("waits%d.", i), 1, 2)
		}
		began := time.Now()
		for i := range workers {
			w.put(fmt.Sprintf("free%d.", i), 1)
		}
		time.Sleep(time.Minute)
		for i := range workers {
			w.wantAtOnce(fmt.Sprintf("free%d.1", i), began)
		}
		w.rest()
	})
}

func TestO6_KeysThatLookAlikeShareNothing(t *testing.T) {
	alike := []string{
		"ann", "Ann", "ann ", " ann", "ann\x00", "ann\n", "an", "annn", "\xff", "\xff\xfe", "ä", "a\u0308", "\u200bann", "0", "00",
	}
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
			if e.Key == "ann" && time.Since(e.Time) < time.Hour {
				return stage.RetryAfter(time.Hour, errFlop)
			}
			return nil
		}, stage.Workers(1)))
		began := time.Now()
		for _, key := range alike {
			w.put(key, 1, 2)
		}
		w.rest()
		for _, key := range alike[1:] {
			w.wantAtOnce(job{key, 2}.id(), began)
		}
	})
}

func TestO6_ManyKeysShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 20_000
		w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
			if e.Payload.N%2 == 0 && time.Since(e.Time) < time.Hour {
				return stage.RetryAfter(time.Hour, errFlop)
			}
			return nil
		}, stage.Buffer(2*keys)))
		began := time.Now()
		for i := range keys {
			w.put(fmt.Sprintf("k%d.", i), i)
		}
		w.rest()
		late := w.rec.Started("work").Filter(func(e pipelinetest.Entry) bool {
			return e.Attempt == 1 && e.At.After(began)
		})
		if len(late) > 0 {
			t.Errorf("%d keys waited for others, such as %v", len(late), late[0])
		}
	})
}

func TestO7_UnorderedKeepsNoOrderButThatOfAttempts(t *testing.T) {
	eachScript(t, func(t *testing.T, workers int, sc script) {
		w := runPlant(t, fullChain(""), work(func(_ context.Context, e event.Event[job]) error {
			time.Sleep(time.Millisecond)
			return sc.play(e.Payload.N, 9) // what goes wrong every time
		}, stage.WithOrder(stage.Unordered), stage.Workers(workers)))
		began := time.Now()
		w.put("a", oneTo(30)...)
		w.rest()
		for _, e := range w.rec.Started("work") {
			if e.Ordered || e.Lane != "" {
				t.Fatalf("%v, want no lane", e)
			}
		}
		if _, ok := w.startedAfter("a1", began); !ok {
			t.Error("a1 never began")
		}
	})
}

func TestO7_UnorderedEventsOfAKeyRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, work(func(context.Context, event.Event[job]) error {
			time.Sleep(time.Hour)
			return nil
		}, stage.WithOrder(stage.Unordered), stage.Workers(4)))
		began := time.Now()
		w.put("a", 1, 2, 3, 4)
		w.rest()
		for _, id := range jobIDs("a", 4) {
			w.wantAtOnce(id, began)
		}
	})
}

func TestO7_SerialIsOneLane(t *testing.T) {
	eachScript(t, func(t *testing.T, workers int, sc script) {
		state := states([]string{""})
		w := runPlant(t, fullChain(deadletter.Continue), work(func(_ context.Context, e event.Event[job]) error {
			// Every job is another to the script: its place in the topic is its number.
			return state[""].play(t, job{"", int(e.Seq)}, sc)
		}, stage.WithOrder(stage.Serial), stage.Workers(workers)))
		publishAll(t, w.pub, someKeys, 12)
		w.rest()
		if done := state[""].done; !ascending(done) {
			t.Errorf("done in the order %v", done)
		}
	})
}

func TestO7_ASerialStageWaitsForAParkedEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flopped := false
		w := runPlant(t, nil, work(func(context.Context, event.Event[job]) error {
			if !flopped {
				flopped = true
				return stage.RetryAfter(time.Hour, errFlop)
			}
			return nil
		}, stage.WithOrder(stage.Serial)))
		began := time.Now()
		w.put("a", 1)
		w.put("b", 1)
		w.rest()
		if after, _ := w.startedAfter("b1", began); after != time.Hour {
			t.Errorf("b1 began after %v, want 1h", after)
		}
		if n := w.figures().Workers; n != 1 {
			t.Errorf("a serial stage has %d workers, want 1", n)
		}
	})
}
