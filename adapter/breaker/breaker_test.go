package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/runnel-go/runnel/adapter/breaker"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

type order struct {
	Customer string
	N        int
}

var orders = event.NewTopic("orders", event.KeyBy(func(o order) string { return o.Customer }))

var errDown = errors.New("no answer")

// shop is a pipeline whose one stage, "charge", depends on a service that is up or down.
type shop struct {
	*pipelinetest.Run
	t       *testing.T
	p       *pipeline.Pipeline
	pub     event.Publisher[order]
	letters *deadletter.Memory

	mu    sync.Mutex
	down  bool
	calls []order
}

func open(t *testing.T, b *breaker.Breaker, opts ...stage.Option) *shop {
	t.Helper()
	s := &shop{t: t, p: pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)}), letters: deadletter.NewMemory()}
	s.p.Use(middleware.DeadLetter(s.letters), middleware.Retry(middleware.Constant{Attempts: 5, Delay: time.Second}))
	s.p.Add(stage.Handle(orders, "charge", s.charge, append(opts, stage.Use(b.Middleware(), middleware.Recover()))...))
	s.pub = pipeline.NewPublisher(s.p, orders)
	if err := s.p.Check(); err != nil {
		t.Fatal(err)
	}
	s.Run = pipelinetest.Start(t, s.p)
	return s
}

func (s *shop) charge(_ context.Context, e event.Event[order]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, e.Payload)
	if s.down {
		return errDown
	}
	return nil
}

func (s *shop) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *shop) made() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func (s *shop) send(customer string, ns ...int) {
	s.t.Helper()
	for _, n := range ns {
		if err := s.pub.Publish(s.t.Context(), order{customer, n}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *shop) figures() stage.Snapshot {
	n, _ := s.p.Snapshot().Stage("charge")
	return n
}

// TestAnOutageBurnsNoAttempts: a service is down for an hour, and 100 keys want it.
func TestAnOutageBurnsNoAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, breaker.New("service", breaker.Config{Failures: 3, Cooldown: time.Minute}), stage.Workers(4))
		s.set(true)
		began := time.Now()
		for i := range 100 {
			s.send(fmt.Sprint("customer", i), 1, 2)
		}
		time.Sleep(time.Hour)
		calls := s.made()
		// Those that opened it, one for each worker that was at it, and one probe each minute.
		if calls < 50 || calls > 3+4+60 {
			t.Errorf("%d calls in an hour of outage, want about one a minute", calls)
		}
		if n := s.figures(); n.Running != 0 || n.DeadLettered > 12 || n.Parked < 80 {
			t.Errorf("%d running, %d parked, %d letters: want the rest waiting, untried", n.Running, n.Parked, n.DeadLettered)
		}
		s.set(false)
		s.Settle()
		n := s.figures()
		if n.Done+n.DeadLettered+n.Diverted != 200 || n.Done < 170 {
			t.Errorf("%d done, %d letters, %d diverted, of 200", n.Done, n.DeadLettered, n.Diverted)
		}
		if over := time.Since(began) - time.Hour; over > 10*time.Minute {
			t.Errorf("it took %v after the outage to come to rest", over)
		}
		seen := map[string]int{}
		for _, c := range s.calls {
			if c.N < seen[c.Customer] {
				t.Errorf("%s %d was called after %d", c.Customer, c.N, seen[c.Customer])
			}
			seen[c.Customer] = c.N
		}
	})
}

func TestACallIsMadeOnlyWhenItMayClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		b := breaker.New("service", breaker.Config{Failures: 2, Cooldown: time.Minute, OnChange: func(name string, from, to breaker.State) {
			changes = append(changes, fmt.Sprint(name, " ", from, "→", to))
		}})
		s := open(t, b)
		s.set(true)
		s.send("ann", 1)
		time.Sleep(2 * time.Second) // an attempt, and another after a second
		if s.made() != 2 || b.State() != breaker.Open {
			t.Fatalf("%d calls, %v; want 2 and open", s.made(), b.State())
		}
		time.Sleep(57 * time.Second)
		if s.made() != 2 || s.figures().Parked != 1 {
			t.Errorf("%d calls within the cooldown and %d parked, want 2 and 1", s.made(), s.figures().Parked)
		}
		s.set(false)
		time.Sleep(10 * time.Second)
		if s.made() != 3 || b.State() != breaker.Closed {
			t.Errorf("%d calls, %v; want the probe, and closed", s.made(), b.State())
		}
		if n := s.figures(); n.Done != 1 || n.Retries != 2 {
			t.Errorf("%d done, %d failed attempts counted, want 1 and the 2 that were made", n.Done, n.Retries)
		}
		want := []string{"service closed→open", "service open→half-open", "service half-open→closed"}
		if !slices.Equal(changes, want) {
			t.Errorf("changes %q, want %q", changes, want)
		}
	})
}

// verdict runs one attempt through a breaker.
func verdict(b *breaker.Breaker, ctx context.Context, handle func() error) error {
	h := stage.Chain(func(context.Context, *stage.Delivery) error { return handle() }, b.Middleware())
	return h(ctx, stage.NewDelivery("charge", event.Event[order]{}))
}

func TestWhatCountsAsFailure(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(stage.ErrShutdown)
	only := func(err error) bool { return errors.Is(err, errDown) }
	for name, c := range map[string]struct {
		ctx      context.Context
		failure  func(error) bool
		err      error
		failures uint32
		success  uint32
	}{
		"nil":                  {err: nil, success: 1},
		"an error":             {err: errDown, failures: 1},
		"a retry of one's own": {err: stage.RetryAfter(1, errDown), failures: 1},
		"a skip":               {err: stage.Skip("old"), success: 1},
		"permanent":            {err: stage.Permanent(errDown)},
		"postponed":            {err: stage.Postpone(1, errDown)},
		"held":                 {err: stage.Hold(errDown)},
		"a shutdown":           {ctx: ended, err: context.Canceled},
		"its own choice":       {failure: only, err: stage.Permanent(errDown), failures: 1},
		"its own choice, no":   {failure: only, err: errors.New("bad request"), success: 1},
		"its own, permanent":   {failure: only, err: stage.Permanent(errors.New("bad request")), success: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := breaker.New("service", breaker.Config{Failure: c.failure})
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			if got := verdict(b, c.ctx, func() error { return c.err }); got != c.err { //nolint:errorlint // as it is
				t.Errorf("the verdict became %v", got)
			}
			if n := b.Counts(); n.TotalFailures != c.failures || n.TotalSuccesses != c.success {
				t.Errorf("counted %+v, want %d failures and %d successes", n, c.failures, c.success)
			}
		})
	}
}

// TestACrashIsAFailureAndFreesTheProbe: a probe that panics or ends its goroutine opens the breaker again,
// instead of leaving it half-open for ever.
func TestACrashIsAFailureAndFreesTheProbe(t *testing.T) {
	for name, crash := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		synctest.Test(t, func(t *testing.T) {
			b := breaker.New("service", breaker.Config{Failures: 1, Cooldown: time.Minute})
			_ = verdict(b, t.Context(), func() error { return errDown })
			time.Sleep(time.Minute + 1)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() { _ = recover() }()
				_ = verdict(b, t.Context(), func() error { crash(); return nil })
			}()
			<-ended
			if b.State() != breaker.Open {
				t.Errorf("after a %s it is %v, want open", name, b.State())
			}
			time.Sleep(time.Minute + 1)
			if err := verdict(b, t.Context(), func() error { return nil }); err != nil || b.State() != breaker.Closed {
				t.Errorf("the next probe: %v, %v; want closed", err, b.State())
			}
		})
	}
}

func TestWhileOneProbesTheOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New("service", breaker.Config{Failures: 1, Cooldown: time.Minute})
		_ = verdict(b, t.Context(), func() error { return errDown })
		time.Sleep(time.Minute + 1)
		_ = verdict(b, t.Context(), func() error {
			d := stage.NewDelivery("charge", event.Event[order]{})
			h := stage.Chain(func(context.Context, *stage.Delivery) error { t.Error("called beside the probe"); return nil }, b.Middleware())
			var last time.Duration
			for range 30 {
				v := stage.VerdictOf(h(t.Context(), d))
				if v.Kind != stage.KindPostpone || !errors.Is(v.Cause, breaker.ErrOpen) || v.Delay < time.Millisecond || v.Delay > time.Minute {
					t.Fatalf("verdict %+v, want postponed for at most the cooldown", v)
				}
				last = v.Delay
			}
			if last < 10*time.Second {
				t.Errorf("after 30 tries the wait is %v, want longer and longer", last)
			}
			return nil
		})
	})
}

func TestATripOfOnesOwn(t *testing.T) {
	b := breaker.New("service", breaker.Config{Trip: func(c gobreaker.Counts) bool { return c.TotalFailures >= 2 }})
	for _, err := range []error{errDown, nil, errDown} {
		_ = verdict(b, t.Context(), func() error { return err })
	}
	if b.State() != breaker.Open {
		t.Errorf("it is %v, want open", b.State())
	}
}

func TestADrainUnderTryOncePassesBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, breaker.New("service", breaker.Config{Failures: 1, Cooldown: time.Hour}), stage.OnDrain(stage.TryOnce))
		s.set(true)
		s.send("ann", 1)
		synctest.Wait() // else both are let through before the first has failed
		s.send("bob", 1)
		synctest.Wait()
		if s.made() != 1 {
			t.Fatalf("%d calls before the drain, want 1", s.made())
		}
		s.set(false)
		if err := s.Stop(); err != nil || s.made() != 3 {
			t.Errorf("Run = %v after %d calls, want both tried once more", err, s.made())
		}
	})
}

func TestWrongSettingsAreFaults(t *testing.T) {
	for _, c := range []breaker.Config{{Failures: -1}, {Probes: -1}, {Cooldown: -1}, {Interval: -1}} {
		if m := breaker.New("service", c).Middleware(); m.Fault == nil {
			t.Errorf("%+v: no fault", c)
		}
	}
	if m := breaker.New("service", breaker.Config{}).Middleware(); m.Fault != nil {
		t.Error(m.Fault)
	}
}

func TestAHugeCooldownIsNoBusyLoop(t *testing.T) {
	for _, cd := range []time.Duration{math.MaxInt64, math.MaxInt64 / 100 * 95, 200 * 365 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			b := breaker.New("x", breaker.Config{Failures: 1, Cooldown: cd})
			s := open(t, b)
			s.down = true
			if err := s.pub.Publish(t.Context(), order{"a", 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			before, _ := s.p.Snapshot().Stage("charge")
			time.Sleep(time.Second)
			synctest.Wait()
			after, _ := s.p.Snapshot().Stage("charge")
			if n := after.Attempts - before.Attempts; n > 1 {
				t.Errorf("Cooldown %v: %d runs in a second of an event that waits for the open breaker", cd, n)
			}
			_ = s.Stop()
		})
	}
}
