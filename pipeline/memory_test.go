package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// crate is the payload of the tests about the engine: the n-th of its key.
type crate struct {
	Key string
	N   int
}

func (c crate) id() string { return fmt.Sprintf("%s%d", c.Key, c.N) }

var crates = event.NewTopic("crates", event.KeyBy(func(c crate) string { return c.Key }), event.IDBy(crate.id))

type crateHandler = func(context.Context, event.Event[crate]) error

// loading is a stage of crates named "load".
func loading(handle crateHandler, opts ...stage.Option) *stage.Stage {
	return stage.Handle(crates, "load", handle, opts...)
}

func pass(context.Context, event.Event[crate]) error { return nil }

// takes is a handler that needs so long, and is never interrupted.
func takes(d time.Duration) crateHandler {
	return func(context.Context, event.Event[crate]) error { time.Sleep(d); return nil }
}

// yields is a handler that returns err.
func yields(err error) crateHandler {
	return func(context.Context, event.Event[crate]) error { return err }
}

// waits is a handler that blocks until its context ends.
func waits(ctx context.Context, _ event.Event[crate]) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

var errDamaged = errors.New("the crate is damaged")

// yard is a pipeline whose history is recorded, and a publisher of crates.
type yard struct {
	*pipelinetest.Run
	t   *testing.T
	p   *pipeline.Pipeline
	rec *pipelinetest.Recorder
	pub event.Publisher[crate]
}

// newYard builds a pipeline that does not run. It observes it, unless cfg has an observer of its own.
func newYard(t *testing.T, cfg pipeline.Config, stages ...*stage.Stage) *yard {
	t.Helper()
	y := &yard{t: t, rec: pipelinetest.NewRecorder()}
	cfg.Logger = slog.New(slog.DiscardHandler)
	if cfg.Observer.Settled == nil {
		cfg.Observer = y.rec.Observer()
	}
	y.p = pipeline.New(cfg)
	y.p.Add(stages...)
	y.pub = pipeline.NewPublisher(y.p, crates)
	return y
}

// runYard builds one and runs it until the test ends.
func runYard(t *testing.T, cfg pipeline.Config, stages ...*stage.Stage) *yard {
	t.Helper()
	y := newYard(t, cfg, stages...)
	y.start()
	return y
}

func (y *yard) start() { y.t.Helper(); y.Run = pipelinetest.Start(y.t, y.p) }

func (y *yard) put(key string, ns ...int) {
	y.t.Helper()
	for _, n := range ns {
		if err := y.pub.Publish(context.Background(), crate{key, n}); err != nil {
			y.t.Fatalf("Publish %s%d = %v, want nil", key, n, err)
		}
	}
}

// stageOf returns a stage's figures.
func (y *yard) stageOf(name string) stage.Snapshot {
	s, _ := y.p.Snapshot().Stage(name)
	return s
}

// began lists the identities of the attempts that began at a stage, in order.
func (y *yard) began(stage string) []string { return y.rec.Started(stage).IDs() }

// ended lists the identities that settled so at a stage, in order.
func (y *yard) ended(stage string, o stage.Outcome) []string {
	return y.rec.Settled(stage).Filter(func(e pipelinetest.Entry) bool { return e.Outcome == o }).IDs()
}

func (y *yard) wantIDs(what string, got []string, want ...string) {
	y.t.Helper()
	if !slices.Equal(got, want) {
		y.t.Errorf("%s %v, want %v", what, got, want)
	}
}

// letterOf is a dead letter as a store would hold it.
func letterOf(c crate) deadletter.Letter {
	payload, _ := json.Marshal(c)
	return deadletter.Letter{
		ID: "letter-" + c.id(), GivenID: c.id(), Topic: "crates", Stage: "load", Key: c.Key, TopicKey: c.Key, Ordered: true,
		Seq: uint64(c.N), Payload: payload, Codec: "json",
	}
}

// redrivable stands for the dead-letter middleware: the engine only asks whether there is one.
var redrivable = stage.Middleware{Name: "redrivable", Redrives: true, Wrap: func(next stage.Handler) stage.Handler { return next }}

// TestM1_TheBoundIsReachedAndRespected fills a stage with events in every state: it takes as many as its
// buffer and its workers hold, and not one more.
func TestM1_TheBoundIsReachedAndRespected(t *testing.T) {
	states := map[string]crateHandler{
		"running and queued": waits,
		"parked":             yields(stage.RetryAfter(time.Hour, errDamaged)),
		"postponed":          yields(stage.Postpone(time.Hour, errDamaged)),
		"held":               yields(stage.Hold(errDamaged)),
	}
	for state, handle := range states {
		for _, order := range []stage.Order{stage.PerKey, stage.Serial, stage.Unordered} {
			for _, size := range []struct{ workers, buffer int }{{1, 1}, {1, 2}, {3, 7}, {8, 64}} {
				name := fmt.Sprintf("%s, %v, %d workers, buffer %d", state, order, size.workers, size.buffer)
				t.Run(name, func(t *testing.T) {
					pipelinetest.Bubble(t, func(t *testing.T) {
						y := runYard(t, pipeline.Config{Grace: time.Second}, loading(handle, stage.WithOrder(order), stage.Workers(size.workers),
							stage.Buffer(size.buffer), stage.WithOverflow(stage.Reject)))
						limit := size.buffer + size.workers
						accepted := 0
						for n := range 2 * limit {
							err := y.pub.Publish(t.Context(), crate{[]string{"a", "b", "c"}[n%3], n})
							synctest.Wait()
							if err == nil {
								accepted++
							} else if !errors.Is(err, pipeline.ErrFull) {
								t.Fatalf("Publish of event %d = %v, want nil or %v", n+1, err, pipeline.ErrFull)
							}
							s := y.stageOf("load")
							if all := s.Queued + s.Running + s.Parked + s.Held; all > s.Capacity || all != accepted {
								t.Fatalf("%d queued, %d running, %d parked, %d held of a capacity of %d, after %d were accepted",
									s.Queued, s.Running, s.Parked, s.Held, s.Capacity, accepted)
							}
						}
						// While every worker is at an event nobody files what comes, and only the channel, half of
						// the buffer, has room.
						least := limit
						if state == "running and queued" {
							least = (size.buffer+1)/2 + size.workers
						}
						if order == stage.Serial && state == "running and queued" {
							least = (size.buffer+1)/2 + 1
						}
						if accepted > limit || accepted < least {
							t.Errorf("%d were accepted, want at least %d and at most %d", accepted, least, limit)
						}
						var left *pipeline.UnfinishedError
						if err := y.Stop(); !errors.As(err, &left) || len(left.Events) != accepted {
							t.Errorf("Run = %v, want %d unfinished events", err, accepted)
						}
					})
				})
			}
		}
	}
}

// TestM1_HoldsUnderRandomTraffic looks at the figures at every event of a run in which everything goes
// on at once: retries, holds and releases, redrives, pauses, and workers that come and go.
func TestM1_HoldsUnderRandomTraffic(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) { randomTraffic(t, seed) })
		})
	}
}

func randomTraffic(t *testing.T, seed uint64) {
	var looked atomic.Int64
	var p *pipeline.Pipeline
	look := func() {
		looked.Add(1)
		if err := p.Snapshot().Sum(false); err != nil {
			t.Error(err)
		}
		s, _ := p.Snapshot().Stage("load")
		if all := s.Queued + s.Running + s.Parked + s.Held; all > s.Capacity {
			t.Errorf("%d queued, %d running, %d parked, %d held: above the capacity of %d", s.Queued, s.Running, s.Parked, s.Held, s.Capacity)
		}
	}
	orders := []stage.Order{stage.PerKey, stage.Unordered, stage.Serial}
	overflows := []stage.Overflow{stage.Block, stage.Reject, stage.DropOldest, stage.DropNewest}
	y := newYard(t, pipeline.Config{
		Grace: time.Hour, Linger: time.Hour,
		Observer: pipeline.Observer{
			Accepted: func(*event.Meta) { look() },
			Started:  func(*stage.Delivery) { look() },
			Parked:   func(*stage.Delivery, stage.Verdict) { look() },
			Held:     func(*stage.Delivery, error) { look() },
			Settled:  func(*stage.Delivery, stage.Outcome, error) { look() },
		},
	}, loading(randomHandler(seed), stage.WithOrder(orders[seed%3]), stage.Workers(2), stage.Buffer(5), stage.WithOverflow(overflows[seed%4])))
	p = y.p
	y.p.Use(redrivable)
	y.start()
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := range 100 {
				_ = y.pub.Publish(t.Context(), crate{string(rune('a' + rnd.IntN(4))), n + i<<16})
				time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
			}
		})
	}
	for i := range 2 {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(10+i)))
			for n := range 50 {
				_ = p.Redrive(t.Context(), letterOf(crate{string(rune('a' + rnd.IntN(4))), n}), deadletter.Claim{})
				time.Sleep(time.Duration(rnd.IntN(10)) * time.Millisecond)
			}
		})
	}
	published := make(chan struct{})
	go func() { group.Wait(); close(published) }()
	rnd := rand.New(rand.NewPCG(seed, 99))
	for over := false; !over; {
		select {
		case <-published:
			over = true
		case <-time.After(3 * time.Millisecond):
		}
		_, _ = p.Release("load", string(rune('a'+rnd.IntN(4))))
		_, _ = p.Release("load", "")
		switch rnd.IntN(4) {
		case 0:
			_ = p.SetWorkers("load", 1+rnd.IntN(4))
		case 1:
			_ = p.Pause("load")
		default:
			_ = p.Resume("load")
		}
		look()
	}
	_ = p.Resume("load")
	for range 1000 {
		for _, key := range []string{"a", "b", "c", "d", ""} {
			_, _ = p.Release("load", key)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := y.Stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if looked.Load() < 200 {
		t.Errorf("looked %d times only", looked.Load())
	}
}

// randomHandler does what a handler may do, each attempt by chance.
func randomHandler(seed uint64) crateHandler {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 1000))
	return func(context.Context, event.Event[crate]) error {
		mu.Lock()
		what, d := rnd.IntN(12), time.Duration(rnd.IntN(5))*time.Millisecond
		mu.Unlock()
		switch what {
		case 0:
			return stage.RetryAfter(d, errDamaged)
		case 1:
			return stage.Postpone(d, errDamaged)
		case 2:
			return stage.Hold(errDamaged)
		case 3:
			return stage.Skip("for fun")
		case 4:
			return errDamaged
		case 5:
			panic("for fun")
		case 6:
			runtime.Goexit()
		case 7, 8:
			time.Sleep(d)
		}
		return nil
	}
}

// TestM1_HoldsWhileWorkersAreTakenAway: the capacity that a snapshot tells is the one that holds, also
// while a stage still has what a larger number of workers let in.
func TestM1_HoldsWhileWorkersAreTakenAway(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(takes(time.Second), stage.WithOrder(stage.Unordered), stage.Workers(8), stage.Buffer(2), stage.WithOverflow(stage.Reject)))
		for n := range 9 {
			y.put("a", n)
			synctest.Wait()
		}
		if err := y.p.SetWorkers("load", 1); err != nil {
			t.Fatal(err)
		}
		if err := y.pub.Publish(t.Context(), crate{"a", 9}); !errors.Is(err, pipeline.ErrFull) {
			t.Errorf("Publish above the bound, where there was room before = %v, want %v", err, pipeline.ErrFull)
		}
		for range 20 {
			s := y.stageOf("load")
			if err := s.Sum(false); err != nil {
				t.Fatalf("%v (%+v)", err, s)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got, want := y.stageOf("load").Capacity, 2+1+8; got > want {
			t.Errorf("the capacity is %d at rest, want at most %d", got, want)
		}
	})
}

// TestM2_AMillionKeysLeaveNothing: once they are handled there is no lane, no goroutine but the workers, and
// no memory to speak of.
func TestM2_AMillionKeysLeaveNothing(t *testing.T) {
	n := 1_000_000
	if underRace || testing.Short() {
		n = 100_000
	}
	y := runYard(t, pipeline.Config{Observer: pipeline.Observer{Settled: func(*stage.Delivery, stage.Outcome, error) {}}},
		loading(pass, stage.Workers(4)))
	rest := func() { // the last lane goes just after its event has settled
		for s, looks := y.stageOf("load"), 0; s.Resident() > 0 || s.Lanes > 0 && looks < 1_000_000; s = y.stageOf("load") {
			looks++
			runtime.Gosched()
		}
	}
	y.put("warm", 1)
	rest()
	goroutines, heap := runtime.NumGoroutine(), liveHeap()
	for i := range n {
		y.put("customer-"+strconv.Itoa(i), i)
	}
	rest()
	if s := y.stageOf("load"); s.Lanes != 0 || s.Running+s.Parked+s.Held != 0 || s.Done != uint64(n)+1 {
		t.Errorf("after %d keys: %+v", n, s)
	}
	for i := 0; runtime.NumGoroutine() > goroutines && i < 1_000_000; i++ { // a timer that has just gone off is one too
		runtime.Gosched()
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines after %d keys, before there were %d", now, n, goroutines)
	}
	if more := liveHeap() - heap; more > 1<<20 {
		t.Errorf("%d KiB more are held after %d keys, want none", more>>10, n)
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestM2_RemovalLosesNothing sends the next event of a key at the instant at which the last one ends and
// its lane goes away. State per key has no lock: the race detector sees an overlap.
func TestM2_RemovalLosesNothing(t *testing.T) {
	const keys, each = 8, 3000
	type state struct {
		last int
		done chan int
	}
	all := map[string]*state{}
	for k := range keys {
		all[fmt.Sprint(k)] = &state{done: make(chan int, 1)}
	}
	y := runYard(t, pipeline.Config{}, loading(func(_ context.Context, e event.Event[crate]) error {
		s := all[e.Key]
		if e.Payload.N != s.last+1 {
			t.Errorf("key %s: event %d after %d", e.Key, e.Payload.N, s.last)
		}
		s.last = e.Payload.N
		s.done <- s.last
		return nil
	}, stage.Workers(4), stage.Buffer(16)))
	var group sync.WaitGroup
	for key, s := range all {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(key[0])))
			for n := range each {
				if err := y.pub.Publish(context.Background(), crate{key, n + 1}); err != nil {
					t.Error(err)
					return
				}
				<-s.done
				for range rnd.IntN(30) { // so that the next one comes a little before, at, or after the removal
					runtime.Gosched()
				}
			}
		})
	}
	group.Wait()
	if err := y.Stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if err := y.rec.CheckRest(); err != nil {
		t.Error(err)
	}
	if s := y.stageOf("load"); s.Done != keys*each || s.Lanes != 0 {
		t.Errorf("%d done, %d lanes, want %d and none", s.Done, s.Lanes, keys*each)
	}
}

// TestM3_MaxPerKey: a key has as many events in the stage as it may have, the overflow mode decides about
// more, and other keys notice nothing.
func TestM3_MaxPerKey(t *testing.T) {
	const limit = 3
	yardOf := func(t *testing.T, o stage.Overflow, handle crateHandler) *yard {
		return runYard(t, pipeline.Config{}, loading(handle, stage.Workers(2), stage.Buffer(20), stage.MaxPerKey(limit), stage.WithOverflow(o)))
	}
	t.Run("block", func(t *testing.T) {
		pipelinetest.Bubble(t, func(t *testing.T) {
			y := yardOf(t, stage.Block, takes(time.Hour))
			y.put("hot", 1, 2, 3)
			blocked := make(chan time.Time, 1)
			began := time.Now()
			go func() { y.put("hot", 4); blocked <- time.Now() }()
			synctest.Wait()
			y.put("cold", 1, 2, 3)
			if s := y.stageOf("load"); s.Accepted != 6 || s.Dropped != 0 {
				t.Errorf("%d accepted, %d dropped, want 6 and none", s.Accepted, s.Dropped)
			}
			if waited := (<-blocked).Sub(began); waited != time.Hour {
				t.Errorf("the fourth event of the key waited for %v, want until one of its key had ended, an hour", waited)
			}
			y.Settle()
			y.wantIDs("done", y.rec.Of("load", "hot").Filter(settledOnly).IDs(), "hot1", "hot2", "hot3", "hot4")
		})
	})
	t.Run("reject", func(t *testing.T) {
		pipelinetest.Bubble(t, func(t *testing.T) {
			y := yardOf(t, stage.Reject, takes(time.Hour))
			y.put("hot", 1, 2, 3)
			if err := y.pub.Publish(t.Context(), crate{"hot", 4}); !errors.Is(err, pipeline.ErrFull) {
				t.Errorf("Publish = %v, want %v", err, pipeline.ErrFull)
			}
			y.put("cold", 1, 2, 3)
			y.Settle()
			y.put("hot", 5)
			y.Settle()
			y.wantIDs("done", y.rec.Of("load", "hot").Filter(settledOnly).IDs(), "hot1", "hot2", "hot3", "hot5")
		})
	})
	t.Run("drop newest", func(t *testing.T) {
		pipelinetest.Bubble(t, func(t *testing.T) {
			y := yardOf(t, stage.DropNewest, takes(time.Hour))
			y.put("hot", 1, 2, 3, 4, 5)
			y.put("cold", 1, 2, 3)
			y.Settle()
			y.wantIDs("dropped", y.ended("load", stage.OutcomeDropped), "hot4", "hot5")
			if s := y.stageOf("load"); s.Done != 6 || s.Dropped != 2 || s.Reasons["overflow"] != 2 {
				t.Errorf("figures = %+v, want 6 done and 2 dropped by overflow", s)
			}
		})
	})
	t.Run("parked events count", func(t *testing.T) {
		pipelinetest.Bubble(t, func(t *testing.T) {
			y := yardOf(t, stage.Reject, func(_ context.Context, e event.Event[crate]) error {
				if time.Since(e.Time) < time.Hour {
					return stage.RetryAfter(time.Hour, errDamaged)
				}
				return nil
			})
			y.put("hot", 1, 2, 3)
			synctest.Wait()
			if err := y.pub.Publish(t.Context(), crate{"hot", 4}); !errors.Is(err, pipeline.ErrFull) {
				t.Errorf("Publish = %v, want %v", err, pipeline.ErrFull)
			}
			y.Settle()
		})
	})
}

func settledOnly(e pipelinetest.Entry) bool { return e.What == pipelinetest.Settled }

// TestM3_AKeyAtItsLimitKeepsNobodyElseWaiting: of two publishers who wait for a full stage, the first is
// woken by the room that comes, and finds that its key is at its limit. The room is for the second.
func TestM3_AKeyAtItsLimitKeepsNobodyElseWaiting(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Grace: time.Second}, loading(func(ctx context.Context, e event.Event[crate]) error {
			if e.Key == "hot" {
				return waits(ctx, e)
			}
			time.Sleep(time.Minute)
			return nil
		}, stage.Workers(2), stage.Buffer(1), stage.MaxPerKey(2)))
		y.put("hot", 1)
		synctest.Wait()
		y.put("warm", 1)
		synctest.Wait()
		y.put("warm", 2) // fills the channel: both workers are busy
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		got := make(chan string, 3)
		for n := range 2 {
			go func() {
				if y.pub.Publish(ctx, crate{"hot", n + 2}) == nil {
					got <- "hot"
				}
			}()
			synctest.Wait()
		}
		go func() { y.put("cold", 1); got <- "cold" }()
		time.Sleep(time.Hour)
		if len(got) != 2 {
			t.Errorf("%d of the publishers who waited got in within an hour, want one of the hot key and the cold one", len(got))
		}
		cancel()
		_ = y.Stop()
	})
}

// TestM4_Block waits as long as the publisher's context lasts, and takes waiting publishers one by one.
func TestM4_Block(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(takes(time.Minute), stage.Workers(1), stage.Buffer(1)))
		y.put("a", 0)
		synctest.Wait()
		y.put("a", 1)
		began := time.Now()
		var mu sync.Mutex
		var waited []time.Duration
		for n := range 5 {
			go func() {
				y.put("a", n+2)
				mu.Lock()
				defer mu.Unlock()
				waited = append(waited, time.Since(began))
			}()
		}
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		var want []time.Duration
		for n := range 5 {
			want = append(want, time.Duration(n+1)*time.Minute)
		}
		if !slices.Equal(waited, want) {
			t.Errorf("the publishers waited for %v, want %v: one is let in whenever an event ends", waited, want)
		}
		if s := y.stageOf("load"); s.Done != 7 {
			t.Errorf("%d done, want 7", s.Done)
		}
	})
}

// TestM4_AllWhoWaitGetInAsFarAsThereIsRoom has as many places free as publishers wait, and then a handler that blocks:
// nothing but the publishers themselves lets the others in.
func TestM4_AllWhoWaitGetInAsFarAsThereIsRoom(t *testing.T) {
	for _, free := range []int{1, 20, 100} {
		pipelinetest.Bubble(t, func(t *testing.T) {
			const buffer = 1024
			gate := make(chan struct{}, free)
			y := runYard(t, pipeline.Config{}, loading(func(context.Context, event.Event[crate]) error { <-gate; return nil },
				stage.WithOrder(stage.Serial), stage.Buffer(buffer)))
			for n := range buffer + 1 {
				y.put("a", n)
				synctest.Wait()
			}
			var in atomic.Int32
			for n := range free + 1 {
				go func() {
					y.put("b", n)
					in.Add(1)
				}()
			}
			synctest.Wait()
			if n := in.Load(); n != 0 {
				t.Fatalf("%d got into a full stage", n)
			}
			for range free {
				gate <- struct{}{}
			}
			time.Sleep(time.Second)
			if n := int(in.Load()); n != free {
				t.Errorf("%d of %d got in, for whom there is room", n, free)
			}
			close(gate)
			y.Settle()
			if n := int(in.Load()); n != free+1 {
				t.Errorf("%d of %d got in at last", n, free+1)
			}
		})
	}
}

func TestM4_Reject(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(takes(time.Minute), stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.Reject)))
		refused := 0
		for n := range 6 {
			switch err := y.pub.Publish(t.Context(), crate{"a", n}); {
			case errors.Is(err, pipeline.ErrFull):
				refused++
			case err != nil:
				t.Error(err)
			}
			synctest.Wait()
		}
		y.Settle()
		y.wantIDs("done", y.ended("load", stage.OutcomeDone), "a0", "a1")
		if s := y.stageOf("load"); refused != 4 || s.Accepted != 2 {
			t.Errorf("%d refused, %d accepted, want 4 and 2: what is refused leaves no trace", refused, s.Accepted)
		}
	})
}

// TestM4_DropOldest drops what has waited longest in the channel, not what runs and not what is new.
func TestM4_DropOldest(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(takes(time.Minute), stage.Workers(1), stage.Buffer(2), stage.WithOverflow(stage.DropOldest)))
		y.put("a", 0)
		synctest.Wait()
		y.put("a", 1)
		synctest.Wait()
		y.put("a", 2, 3, 4, 5)
		y.Settle()
		done, dropped := y.ended("load", stage.OutcomeDone), y.ended("load", stage.OutcomeDropped)
		if len(done)+len(dropped) != 6 || done[len(done)-1] != "a5" || done[0] != "a0" || !slices.IsSorted(done) || !slices.IsSorted(dropped) {
			t.Errorf("done %v, dropped %v; want the oldest that waited dropped, and the newest done", done, dropped)
		}
		s := y.stageOf("load")
		if int(s.Dropped) != len(dropped) || s.Reasons["overflow"] != s.Dropped || s.Accepted != 6 {
			t.Errorf("figures = %+v, want %d dropped by overflow of 6 accepted", s, len(dropped))
		}
		if err := y.rec.CheckRest(); err != nil {
			t.Error(err)
		}
	})
}

func TestM4_DropNewest(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(takes(time.Minute), stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.DropNewest)))
		y.put("a", 0)
		synctest.Wait()
		y.put("a", 1, 2, 3, 4)
		y.Settle()
		y.wantIDs("done", y.ended("load", stage.OutcomeDone), "a0", "a1")
		y.wantIDs("dropped", y.ended("load", stage.OutcomeDropped), "a2", "a3", "a4")
		if s := y.stageOf("load"); s.Dropped != 3 || s.Reasons["overflow"] != 3 {
			t.Errorf("figures = %+v, want 3 dropped by overflow", s)
		}
	})
}

// TestM4_OverflowIsTheStagesOwn: of two stages of a topic, one drops what the other keeps, and all get the
// same order.
func TestM4_OverflowIsTheStagesOwn(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{},
			stage.Handle(crates, "slow", takes(time.Minute), stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.DropNewest)),
			stage.Handle(crates, "fast", pass))
		y.put("a", 0)
		synctest.Wait()
		y.put("a", 1, 2, 3)
		y.Settle()
		y.wantIDs("done by slow", y.ended("slow", stage.OutcomeDone), "a0", "a1")
		y.wantIDs("done by fast", y.ended("fast", stage.OutcomeDone), "a0", "a1", "a2", "a3")
	})
}

// TestPublishAllocatesNothing from the publisher to the end of the handler, whatever order the stage keeps, and with a key
// and levels of its own.
func TestPublishAllocatesNothing(t *testing.T) {
	const batch = 2000
	for name, opts := range map[string][]stage.Option{
		"per key":      {stage.WithOrder(stage.PerKey)},
		"serial":       {stage.WithOrder(stage.Serial)},
		"unordered":    {stage.WithOrder(stage.Unordered)},
		"its own key":  {stage.KeyBy(func(c crate) string { return c.Key })},
		"levels":       {stage.Priority(2, func(e event.Event[crate]) int { return e.Payload.N % 2 })},
		"both of them": {stage.KeyBy(func(c crate) string { return c.Key }), stage.Priority(2, func(e event.Event[crate]) int { return e.Payload.N % 2 })},
	} {
		t.Run(name, func(t *testing.T) {
			// An identity made of a payload may allocate; this topic has none.
			topic := event.NewTopic("numbers", event.KeyBy(func(c crate) string { return c.Key }))
			var done atomic.Int64
			p := pipeline.New(pipeline.Config{})
			p.Add(stage.Handle(topic, "load", func(context.Context, event.Event[crate]) error { done.Add(1); return nil },
				append(opts, stage.Workers(4))...))
			pipelinetest.Start(t, p)
			pub := pipeline.NewPublisher(p, topic)
			keys := []string{"a", "b", "c", "d", "e"}
			n := testing.AllocsPerRun(20, func() {
				target := done.Load() + batch
				for i := range batch {
					if err := pub.Publish(context.Background(), crate{keys[i%len(keys)], i}); err != nil {
						t.Error(err)
					}
				}
				for done.Load() < target {
					runtime.Gosched()
				}
			})
			if per := n / batch; per >= 0.05 { // the queues of busy lanes grow and are let go
				t.Errorf("%v allocations an event, want none", per)
			}
		})
	}
}
