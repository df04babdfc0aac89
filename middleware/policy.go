package middleware

import (
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Policy says how long Retry waits after each failed attempt, and when it gives up. Exponential, Constant and
// Schedule are ready made; BackOff makes one of any backoff.BackOff.
//
// A policy that has a method Check() error is asked by Retry, and a fault is reported before anything
// starts.
type Policy interface {
	// NewBackOff returns the waits of one event: NextBackOff is called once after each failed
	// attempt, never at once from two goroutines, and ends the attempts by returning backoff.Stop.
	// It is called when an event fails for the first time.
	NewBackOff() backoff.BackOff
}

// The defaults of the policies.
const (
	DefaultAttempts = 5
	DefaultInitial  = 100 * time.Millisecond
	DefaultMax      = time.Minute
	DefaultFactor   = 2.0
	DefaultJitter   = 0.2
	DefaultDelay    = time.Second // of Constant
)

// Exponential waits longer after each failure. The zero value is fit for production: 5 attempts, after
// 100 ms, 200 ms, 400 ms and 800 ms, each varied by a fifth.
type Exponential struct {
	// Attempts is how often the handler is called before Retry gives up, the first time included.
	// Default 5.
	Attempts int
	// Initial is the wait after the first failure. Default 100 ms, or Max if that is less.
	Initial time.Duration
	// Max bounds every wait, jitter included. Default 1 minute, or Initial if that is more.
	Max time.Duration
	// Factor is what each wait is longer by than the one before; at least 1. Default 2.
	Factor float64
	// Jitter varies each wait by up to this part of it, both ways, so that what failed together is
	// not retried together. At most 1; below 0 for none. Default 0.2.
	Jitter float64
}

// NewBackOff implements Policy.
func (e Exponential) NewBackOff() backoff.BackOff {
	e = e.withDefaults()
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(e.Initial), backoff.WithMaxInterval(e.Max),
		backoff.WithMultiplier(e.Factor), backoff.WithRandomizationFactor(max(e.Jitter, 0)),
		backoff.WithMaxElapsedTime(0)) // its own default would give up after 15 minutes
	return &limited{next: b, left: e.Attempts - 1, most: e.Max}
}

func (e Exponential) withDefaults() Exponential {
	e.Attempts = orDefault(e.Attempts, DefaultAttempts)
	e.Initial = orDefault(e.Initial, min(DefaultInitial, orDefault(e.Max, DefaultInitial)))
	e.Max = orDefault(e.Max, max(DefaultMax, e.Initial))
	e.Factor = orDefault(e.Factor, DefaultFactor)
	e.Jitter = orDefault(e.Jitter, DefaultJitter)
	return e
}

// Check reports settings that make no sense.
func (e Exponential) Check() error {
	e = e.withDefaults()
	return errors.Join(
		checkAttempts("Exponential", e.Attempts),
		check(e.Initial > 0, "Exponential.Initial is %v; make it positive, or 0 for %v", e.Initial, DefaultInitial),
		check(e.Max >= e.Initial, "Exponential.Max %v is below Initial %v; raise it, or leave it 0", e.Max, e.Initial),
		check(e.Factor >= 1 && e.Factor <= 1000, "Exponential.Factor is %v; make it 1 to 1000, or 0 for %v", e.Factor, DefaultFactor),
		check(e.Jitter <= 1, "Exponential.Jitter is %v; make it at most 1, or below 0 for none", e.Jitter),
	)
}

// Constant waits the same time after each failure.
type Constant struct {
	// Attempts is how often the handler is called, the first time included. Default 5.
	Attempts int
	// Delay is the wait. Default 1 second.
	Delay time.Duration
}

// NewBackOff implements Policy.
func (c Constant) NewBackOff() backoff.BackOff {
	delay := orDefault(c.Delay, DefaultDelay)
	return &limited{next: backoff.NewConstantBackOff(delay), left: orDefault(c.Attempts, DefaultAttempts) - 1, most: delay}
}

// Check reports settings that make no sense.
func (c Constant) Check() error {
	return errors.Join(
		checkAttempts("Constant", c.Attempts),
		check(c.Delay >= 0, "Constant.Delay is %v; make it positive, or 0 for %v", c.Delay, DefaultDelay),
	)
}

// Schedule waits as listed: the first delay after the first failure, and so on. There is one attempt more
// than there are delays.
type Schedule struct{ Delays []time.Duration }

// NewBackOff implements Policy.
func (s Schedule) NewBackOff() backoff.BackOff { return &listed{delays: s.Delays} }

// Check reports settings that make no sense.
func (s Schedule) Check() error {
	err := check(len(s.Delays) > 0, "Schedule.Delays is empty; list the waits, or use Constant{Attempts: 1}")
	for i, d := range s.Delays {
		err = errors.Join(err, check(d >= 0, "Schedule.Delays[%d] is %v; make it positive", i, d))
	}
	return err
}

// BackOff makes a policy of any backoff.BackOff; fresh is called for each event that fails, since such a value
// has a state and cannot be shared. The attempts end when it says backoff.Stop: a plain
// backoff.ExponentialBackOff does so after 15 minutes, a struct literal of it never waits properly, and
// backoff.WithMaxRetries(b, n) allows n+1 attempts. Waits are held to between 1 ms and 30 days, so
// nothing it returns makes a hot loop.
func BackOff(fresh func() backoff.BackOff) Policy { return factory(fresh) }

type factory func() backoff.BackOff

func (f factory) NewBackOff() backoff.BackOff { return f() }

func (f factory) Check() error {
	return check(f != nil, "BackOff(nil); give it a function that makes a backoff.BackOff")
}

// limited ends the waits after a number of them, and caps each after its jitter.
type limited struct {
	next backoff.BackOff
	left int
	most time.Duration
}

func (l *limited) NextBackOff() time.Duration {
	if l.left <= 0 {
		return backoff.Stop
	}
	l.left--
	return min(l.next.NextBackOff(), l.most)
}

func (l *limited) Reset() { l.next.Reset() }

type listed struct {
	delays []time.Duration
	next   int
}

func (l *listed) NextBackOff() time.Duration {
	if l.next >= len(l.delays) {
		return backoff.Stop
	}
	l.next++
	return l.delays[l.next-1]
}

func (l *listed) Reset() { l.next = 0 }

func checkAttempts(policy string, n int) error {
	return check(n >= 0, "%s.Attempts is %d; make it positive, or 0 for %d", policy, n, DefaultAttempts)
}

func orDefault[T int | time.Duration | float64](v, standard T) T {
	if v == 0 {
		return standard
	}
	return v
}

// check returns the fault unless ok.
func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("middleware: "+format, args...)
}
