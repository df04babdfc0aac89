package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/runnel-go/runnel/stage"
)

// ErrLimited is why an event waits.
var ErrLimited = errors.New("ratelimit: the rate is used up")

// Rate is how many attempts may begin in a time.
type Rate struct {
	// Events is how many attempts may begin in each Per, evenly spread. Required.
	Events int
	// Per is the time. Default 1 second.
	Per time.Duration
	// Burst is how many may begin at once after a pause. Default 1.
	Burst int
}

func (r Rate) withDefaults() Rate {
	if r.Per == 0 {
		r.Per = time.Second
	}
	if r.Burst == 0 {
		r.Burst = 1
	}
	return r
}

func (r Rate) check() error {
	var faults []error
	if r.Events < 1 {
		faults = append(faults, fmt.Errorf("ratelimit: Rate.Events is %d; make it at least 1, with a longer Per for slower rates", r.Events))
	}
	if r.Per < 0 {
		faults = append(faults, fmt.Errorf("ratelimit: Rate.Per is %v; make it positive, or 0 for a second", r.Per))
	}
	if r.Burst < 0 {
		faults = append(faults, fmt.Errorf("ratelimit: Rate.Burst is %d; make it positive, or 0 for 1", r.Burst))
	}
	return errors.Join(faults...)
}

func (r Rate) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(r.Events)/r.Per.Seconds()), r.Burst)
}

// Option sets what a rate is counted by: PerKey, By.
type Option interface{ apply(*limit) error }

type option func(*limit) error

func (f option) apply(l *limit) error { return f(l) }

// PerKey counts the rate for each key of the stage alone. Events without a key share one.
func PerKey() Option {
	return By(func(d *stage.Delivery) string {
		if d.Ordered {
			return d.Lane
		}
		return d.Key
	})
}

// By counts the rate for each name alone: a tenant, say. Name is called for each attempt, on the worker. What is
// kept of a name is forgotten as soon as it could begin a full burst again.
func By(name func(d *stage.Delivery) string) Option {
	return option(func(l *limit) error {
		l.name = name
		if name == nil {
			return errors.New("ratelimit: By(nil); give it a function")
		}
		return nil
	})
}

// New makes the middleware. Each stage that it is given to has a limit of its own: to one stage by stage.Use, inside
// of the pipeline's chain. It stands inside of Retry, so that waiting is no attempt. Timeout and Recover may stand on
// either side of it, since no event waits in it. Redriven dead letters are limited like live events.
//
// An event that has to wait is given its time. Where its stage is paused then, or all workers are busy, it begins when it
// can: after a pause more may begin at once than the rate says.
//
// While the pipeline drains under TryOnce or GiveUp, parked events are let through at once, as those policies
// say. It does not allocate while there is room in the rate.
func New(r Rate, opts ...Option) stage.Middleware {
	l := &limit{rate: r.withDefaults()}
	faults := []error{r.check()}
	for _, o := range opts {
		if o == nil {
			faults = append(faults, errors.New("ratelimit: a nil option; leave it out"))
			continue
		}
		faults = append(faults, o.apply(l))
	}
	return stage.Middleware{
		Name:    "ratelimit",
		Inside:  []string{"deadletter", "idempotent", "retry"},
		Promise: l.promise(),
		Fault:   errors.Join(faults...),
		Wrap:    l.wrap,
	}
}

type limit struct {
	rate Rate
	name func(*stage.Delivery) string
	all  *rate.Limiter // where there are no names
	each *keyed
}

func (l *limit) promise() string {
	of := ""
	if l.name != nil {
		of = " of one key"
	}
	return fmt.Sprintf("at most %d attempts%s begin in %v, %d at once; the others wait without a worker", l.rate.Events, of, l.rate.Per, l.rate.Burst)
}

func (l *limit) wrap(next stage.Handler) stage.Handler {
	own := *l // each stage's own
	if own.name == nil {
		own.all = own.rate.limiter()
	} else {
		own.each = &keyed{rate: own.rate, of: map[string]*rate.Limiter{}}
	}
	return func(ctx context.Context, d *stage.Delivery) error {
		if err := own.admit(d); err != nil {
			return err
		}
		return next(ctx, d)
	}
}

// reserved is the time that an event was given, kept with it until it is used.
type reserved struct{ at time.Time }

// admit returns nil when an attempt may begin now, and otherwise the verdict that parks the event until it
// may.
func (l *limit) admit(d *stage.Delivery) error {
	now := time.Now()
	if r, waiting := d.Kept(l).(*reserved); waiting {
		if wait := r.at.Sub(now); wait > 0 && !d.Final {
			return stage.Postpone(wait, ErrLimited)
		}
		d.Keep(l, nil)
		return nil
	}
	limiter := l.all
	if l.name != nil {
		name := l.name(d)
		l.each.mu.Lock()
		defer l.each.mu.Unlock()
		limiter = l.each.limiter(name, now)
	}
	if limiter.AllowN(now, 1) || d.Final {
		return nil
	}
	wait := limiter.ReserveN(now, 1).DelayFrom(now)
	if wait <= 0 {
		return nil
	}
	d.Keep(l, &reserved{now.Add(wait)})
	return stage.Postpone(wait, ErrLimited)
}
