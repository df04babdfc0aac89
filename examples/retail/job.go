package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
)

// job is the pipeline with its four stages, and what they know.
type job struct {
	options   options
	in        *input
	p         *pipeline.Pipeline
	letters   *outages
	file      string // of the letters
	tally     *tally
	redriving redriving
	billing   billing
	inventory inventory
	analytics analytics
	notify    notify
}

// The stages' names.
const (
	billingStage   = "billing"
	inventoryStage = "inventory"
	analyticsStage = "analytics"
	notifyStage    = "notify"
)

// newJob makes the pipeline over a store of letters, whose outages it tells stderr. Its source is in, unless that
// is nil.
func newJob(o options, in *input, letters deadletter.Store, stderr io.Writer) *job {
	j := &job{
		options: o, in: in, tally: newTally(), letters: watch(letters, stderr),
		// What would be logged is in the summary.
		p: pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)}),
	}
	j.p.Use(middleware.Standard(middleware.StandardConfig{
		Letters:     j.letters,
		Idempotency: idempotency.NewMemory(), // one for all stages: its keys hold the stage's name
		Retry:       middleware.Exponential{Attempts: 5, Initial: 5 * time.Millisecond},
		Timeout:     10 * time.Second,
	})...)
	j.p.Add(
		j.billing.stage(o.workers),
		j.inventory.stage(),
		j.analytics.stage(o.workers),
		j.notify.stage(o.workers, o.rate),
	)
	if in != nil {
		pipeline.From(j.p, Lines, newFileSource(in, j.tally))
	}
	return j
}

// runJob does what the options ask for, with a bar on stderr, and says what came of it.
func runJob(ctx context.Context, o options, stderr io.Writer) (_ summary, err error) {
	in, err := openInput(o.data)
	if err != nil {
		return summary{}, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	letters, file, closeLetters, err := openFresh(context.WithoutCancel(ctx), o.letters)
	if err != nil {
		return summary{}, err
	}
	defer func() { err = errors.Join(err, closeLetters()) }()
	j := newJob(o, in, letters, stderr)
	j.file = file
	bar := startProgress(stderr, j.progress, j.progressText)
	defer bar.stop()
	return j.run(ctx)
}

// run reads the file to its end, waits until every stage has settled every line, redrives if it is to,
// and shuts down. When ctx ends first the pipeline drains: what it has accepted it still does.
func (j *job) run(ctx context.Context) (summary, error) {
	started := time.Now()
	ended := make(chan struct{})
	var runErr error
	go func() {
		defer close(ended)
		runErr = j.p.Run(ctx)
	}()
	select {
	case <-ended: // interrupted, or the file broke off
	case <-j.tally.quiet:
	}
	s, err := j.summarize(context.WithoutCancel(ctx), time.Since(started))
	if err == nil && j.options.redrive && j.tally.complete.Load() && ctx.Err() == nil {
		s.Redrive, err = j.redrive(ctx)
	}
	// The context of a shutdown forces it when it ends; the first Ctrl-C is to drain. What it returns,
	// Run returns too.
	_ = j.p.Shutdown(context.WithoutCancel(ctx))
	<-ended
	return j.conclude(ctx, s, errors.Join(err, runErr))
}

// conclude adds to the summary what is known only now that nothing runs any more.
func (j *job) conclude(ctx context.Context, s summary, err error) (summary, error) {
	s.OutOfOrder = j.billing.breaches() + j.inventory.breaches() + j.notify.breaches()
	s.Interrupted = ctx.Err() != nil
	s.Left = int(j.tally.returned.Load())
	s.counts = errors.Join(s.counts, j.p.Snapshot().Sum(true))
	s.Outage = j.letters.summary()
	if s.Redrive != nil {
		s.Redrive.Guests, s.Redrive.Billed = j.billing.total(true)
	}
	if s.Interrupted && isInterruption(ctx, err) {
		err = nil // it is what was asked for, and the summary says what was left
	}
	return s, err
}

func isInterruption(ctx context.Context, err error) bool {
	return errors.Is(err, context.Cause(ctx)) || errors.Is(err, pipeline.ErrUnfinished) ||
		errors.Is(err, deadletter.ErrInterrupted)
}

// progress is how far the file was read, or how many letters were redriven.
func (j *job) progress() (part, whole int64) {
	if n := j.redriving.selected.Load(); n > 0 {
		return j.redriving.done.Load(), n
	}
	if j.in == nil {
		return 0, 0
	}
	return j.in.read.n.Load(), j.in.size
}

func (j *job) progressText() string {
	text := thousands(j.tally.settled.Load()) + " lines"
	if j.redriving.selected.Load() > 0 {
		text = "redriving " + thousands(j.redriving.done.Load()) + " letters"
	}
	if n := j.letters.wait(); n > 0 {
		text += ", " + thousands(n) + " letters wait for their store"
	}
	return text
}
