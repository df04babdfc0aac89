package breaker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/runnel-go/runnel/stage"
)

// ErrOpen is why an event waits.
var ErrOpen = errors.New("breaker: open")

// The defaults of a Config.
const (
	DefaultFailures = 5
	DefaultCooldown = 30 * time.Second
)

// State is closed, half-open or open.
type State = gobreaker.State

// The states.
const (
	Closed   = gobreaker.StateClosed   // attempts are made
	HalfOpen = gobreaker.StateHalfOpen // it has cooled down, and a few attempts show whether it may close
	Open     = gobreaker.StateOpen     // none is made
)

// Config says when a Breaker opens and closes. The zero value is fit for production.
type Config struct {
	// Failures is how many failures in a row open the breaker. Default 5.
	Failures int
	// Trip decides in the place of Failures, if it is set. It is called under the breaker's lock.
	Trip func(gobreaker.Counts) bool
	// Interval is how often a closed breaker begins to count anew, for Trip. Default never.
	Interval time.Duration
	// Cooldown is how long an open breaker makes no attempt. Default 30 seconds.
	Cooldown time.Duration
	// Probes is how many attempts in a row must succeed, after that, to close it; no more are made
	// at once. Default 1.
	Probes int
	// Failure reports whether an error says that what is depended on is in trouble. Errors for which it is
	// false count as success. The default is every failure but a permanent one, which counts for nothing: it
	// is about the event. A panic, and an attempt that ended its goroutine, are always failures.
	Failure func(error) bool
	// OnChange, unless nil, is called after the state has changed, on a worker.
	OnChange func(name string, from, to State)
}

// Breaker is one circuit breaker, shared by every stage that is given its Middleware.
type Breaker struct {
	name    string
	cfg     Config
	fault   error
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]

	mu      sync.Mutex // guards all below; never held around a call of the circuit
	opened  time.Time
	changes [][2]State // to be told
}

// New makes a closed breaker. The name of what it protects is for errors and OnChange.
func New(name string, cfg Config) *Breaker {
	b := &Breaker{name: name, cfg: cfg, fault: cfg.check(name)}
	if b.cfg.Failures <= 0 {
		b.cfg.Failures = DefaultFailures
	}
	if b.cfg.Cooldown <= 0 {
		b.cfg.Cooldown = DefaultCooldown
	}
	if b.cfg.Probes <= 0 {
		b.cfg.Probes = 1
	}
	if b.cfg.Trip == nil {
		b.cfg.Trip = func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= b.cfg.Failures }
	}
	b.circuit = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: name, MaxRequests: uint32(b.cfg.Probes), Interval: b.cfg.Interval, Timeout: b.cfg.Cooldown,
		ReadyToTrip: b.cfg.Trip, OnStateChange: b.note,
		IsExcluded: func(err error) bool { return errors.Is(err, errNothing) },
	})
	return b
}

func (c Config) check(name string) error {
	var faults []error
	for what, n := range map[string]int64{
		"Failures": int64(c.Failures), "Probes": int64(c.Probes), "Cooldown": int64(c.Cooldown), "Interval": int64(c.Interval),
	} {
		if n < 0 {
			faults = append(faults, fmt.Errorf("breaker: %s: Config.%s is negative; make it positive, or leave it out", name, what))
		}
	}
	return errors.Join(faults...)
}

// State is where the breaker stands now.
func (b *Breaker) State() State {
	defer b.tell()
	return b.circuit.State()
}

// Counts is what it has counted since its state changed, or since the Interval began.
func (b *Breaker) Counts() gobreaker.Counts { return b.circuit.Counts() }

// Middleware has the breaker decide about the attempts of a stage. It stands inside of Retry, so that waiting
// is no attempt, and outside of Timeout and Recover, so that timeouts and panics are failures to it.
//
// While the pipeline drains under TryOnce or GiveUp, parked events pass by the breaker, as those policies
// say.
func (b *Breaker) Middleware() stage.Middleware {
	return stage.Middleware{
		Name:    "breaker",
		Outside: []string{"timeout", "recover"},
		Inside:  []string{"deadletter", "idempotent", "retry"},
		Promise: fmt.Sprintf("while %s is in trouble, no attempt is made for %v at a time, and events wait without a worker", b.name, b.cfg.Cooldown),
		Fault:   b.fault,
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error { return b.run(ctx, d, next) }
		},
	}
}

// errNothing and errCrashed are results that the circuit is told: one that counts for nothing, and that of
// an attempt that did not return.
var (
	errNothing = errors.New("breaker: neither success nor failure")
	errCrashed = errors.New("breaker: the attempt did not return")
)

func (b *Breaker) run(ctx context.Context, d *stage.Delivery, next stage.Handler) error {
	if d.Final {
		return next(ctx, d)
	}
	defer b.tell()
	done, refused := b.circuit.Allow()
	if refused != nil {
		return stage.Postpone(b.wait(d, refused), fmt.Errorf("%w: %s", ErrOpen, b.name))
	}
	result := errCrashed // also where the handler ends its goroutine: a probe that is never done would keep it half-open
	defer func() { done(result) }()
	err := next(ctx, d)
	result = b.result(ctx, err)
	return err
}

// result is what an attempt says about what it depended on.
func (b *Breaker) result(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if stage.Interrupted(ctx) {
		return errNothing
	}
	v := stage.VerdictOf(err)
	switch v.Kind {
	case stage.KindSkip, stage.KindDone:
		return nil
	case stage.KindFailed, stage.KindRetry:
		if b.cfg.Failure == nil || b.cfg.Failure(v.Cause) {
			return err
		}
		return nil
	case stage.KindPermanent:
		if b.cfg.Failure == nil {
			return errNothing
		}
		if b.cfg.Failure(v.Cause) {
			return err
		}
		return nil
	default:
		return errNothing
	}
}

// wait is how long an event waits: until the breaker has cooled down, and not in step with all the others; or,
// while others probe, ever longer, until one has shown how it stands.
func (b *Breaker) wait(d *stage.Delivery, refused error) time.Duration {
	const least = 10 * time.Millisecond
	if errors.Is(refused, gobreaker.ErrTooManyRequests) {
		tries, _ := d.Kept(b).(int)
		d.Keep(b, tries+1)
		longest := max(least, b.cfg.Cooldown)
		wait := min(least<<min(tries, 20), longest)
		return wait/2 + rand.N(wait/2)
	}
	d.Keep(b, nil)
	b.mu.Lock()
	left := time.Until(b.opened.Add(b.cfg.Cooldown))
	b.mu.Unlock()
	late := time.Millisecond + rand.N(b.cfg.Cooldown/10+1)
	return min(max(left, 0), math.MaxInt64-late) + late
}

// note is called by the circuit, under its lock.
func (b *Breaker) note(_ string, from, to State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to == Open {
		b.opened = time.Now()
	}
	if b.cfg.OnChange != nil {
		b.changes = append(b.changes, [2]State{from, to})
	}
}

// tell tells the changes that were noted, with no lock held.
func (b *Breaker) tell() {
	if b.cfg.OnChange == nil {
		return
	}
	b.mu.Lock()
	changes := b.changes
	b.changes = nil
	b.mu.Unlock()
	for _, c := range changes {
		b.cfg.OnChange(b.name, c[0], c[1])
	}
}
