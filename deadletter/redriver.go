package deadletter

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// Redriver does the operations that others left in a store: beside a pipeline that runs, what an operator
// asked for from another process; in a maintenance job, what it asks for itself. Any number of them may work
// over one store, in as many processes. Each operation is one Redriver's at a time, by a lease; when its
// process dies, another goes on where it stood, without trying again what has failed.
type Redriver struct {
	store  RedriveStore
	target Target
	config RedriverConfig
}

// RedriverConfig is the settings of a Redriver. The zero value is fit for production.
type RedriverConfig struct {
	// Interval is how often the store is asked for operations. Each wait is up to a fifth shorter or
	// longer, so that many processes do not ask at once. Default 5 s.
	Interval time.Duration
	// Rate is how many letters a second an operation redrives at most, whatever it asks for itself.
	// Default: no limit.
	Rate float64
	// Parallel is how many sequences an operation redrives at once, unless it says so itself.
	// Default 1.
	Parallel int
	// Operations is how many operations are done at once, so that a slow one does not hold up the
	// others. Default 4.
	Operations int
	// Lease is how long an operation, and each sequence, stays this process's when it dies. Default 30 s.
	Lease time.Duration
	// Owner names this process to others. A part that makes it unique is added. Default "redriver".
	Owner string
	// Stages are those whose operations are taken. Default: what the target's Stages method lists, as a
	// pipeline's does; any, when it has none.
	Stages []string
	// Progress is told of each letter, as DrainOptions.Progress is, for each operation on its own
	// goroutine.
	Progress func(Operation, Progress)
	// Ended is told how each operation ended, or why it was given back.
	Ended func(Operation, error)
	// Logger is told of a store that fails and of operations that end. Default slog.Default.
	Logger *slog.Logger
}

func (c RedriverConfig) filled(target Target) RedriverConfig {
	if c.Interval <= 0 {
		c.Interval = 5 * time.Second
	}
	if c.Operations <= 0 {
		c.Operations = 4
	}
	if c.Lease <= 0 {
		c.Lease = 30 * time.Second
	}
	if c.Owner == "" {
		c.Owner = "redriver"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if lister, ok := target.(interface{ Stages() []string }); ok && c.Stages == nil {
		c.Stages = lister.Stages()
	}
	return c
}

// NewRedriver returns a Redriver that sends letters of store through target.
func NewRedriver(store RedriveStore, target Target, config ...RedriverConfig) *Redriver {
	r := &Redriver{store: store, target: target}
	if len(config) > 0 {
		r.config = config[0]
	}
	return r
}

// Run does operations until ctx ends, and returns nil then, once those it was at are given back. A store that
// fails is logged and asked again after the interval. Run it beside pipeline.Run and end it first.
func (r *Redriver) Run(ctx context.Context) error {
	c := r.config.filled(r.target)
	var all sync.WaitGroup
	defer all.Wait()
	free := make(chan struct{}, c.Operations)
	for ctx.Err() == nil {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		o, err := r.take(ctx, c)
		if err == nil {
			all.Go(func() {
				defer func() { <-free }()
				if _, err := r.do(ctx, c, o); err != nil { // Ended and the log say it
					pause(ctx, c.Interval) // given back: it may be the next again
				}
			})
			continue
		}
		<-free
		if !errors.Is(err, ErrNotFound) && ctx.Err() == nil {
			c.Logger.Warn("deadletter: redriver: the store fails; it is asked again", "error", err)
		}
		pause(ctx, c.Interval)
	}
	return nil
}

// Once does the operations that wait, one after the other, until there are none or ctx ends. It returns
// those that it worked on, as they stand then, and joins what went wrong.
func (r *Redriver) Once(ctx context.Context) (done []Operation, err error) {
	c := r.config.filled(r.target)
	for ctx.Err() == nil {
		o, taking := r.take(ctx, c)
		if errors.Is(taking, ErrNotFound) {
			return done, err
		}
		if taking != nil {
			return done, errors.Join(err, taking)
		}
		o, doing := r.do(ctx, c, o)
		done, err = append(done, o), errors.Join(err, doing)
		if doing != nil { // given back: it would be the next again
			return done, err
		}
	}
	return done, errors.Join(err, context.Cause(ctx))
}

// Perform records an operation and does it at once, whatever its stages are. It returns the operation as it
// stands when it has ended, or was given back because ctx ended, the target stopped or the store failed;
// the error says which. What was given back is taken up like any other, but over several stages only by a Redriver
// that does those of any stage; RequestRedrive leaves one for each.
func (r *Redriver) Perform(ctx context.Context, o Operation) (Operation, error) {
	c := r.config.filled(r.target)
	o = o.asked(time.Now())
	stages, err := countStages(ctx, r.store, o.Filter)
	if err != nil {
		return o, err
	}
	for stage, n := range stages {
		o.Selected += n
		if len(stages) == 1 {
			o.Filter.Stage = stage // without one nobody could take it up
		}
	}
	o, err = r.store.AddOperation(ctx, o, c.unique(), c.Lease)
	if err != nil {
		return o, err
	}
	return r.do(ctx, c, o)
}

func (r *Redriver) take(ctx context.Context, c RedriverConfig) (Operation, error) {
	return r.store.TakeOperation(ctx, c.unique(), c.Stages, c.Lease)
}

func (c RedriverConfig) unique() string { return c.Owner + "/" + rand.Text()[:10] }

// pause waits for about d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(time.Duration(float64(d) * (0.8 + 0.4*mathrand.Float64()))) //nolint:gosec // it spreads load
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
