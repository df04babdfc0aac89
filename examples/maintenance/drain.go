package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// Why a drain is stopped.
var (
	errTooMany = errors.New("too many letters failed again")
	errBudget  = errors.New("the time is up")
)

// maintain drains the letters within the budget.
func maintain(ctx context.Context, o options) (r deadletter.Report, err error) {
	letters, err := openLetters(ctx, o.letters)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, letters.Close()) }()

	p := newShop(letters, cards{declines: o.declined}, o.parallel)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.WithoutCancel(ctx)) }()
	r, err = drain(ctx, o, letters, p)
	err = errors.Join(err, p.Shutdown(context.WithoutCancel(ctx)))
	<-ended // it is what Shutdown returned
	return r, err
}

// drain is the job itself.
func drain(ctx context.Context, o options, letters deadletter.Store, target deadletter.Target) (deadletter.Report, error) {
	budget, cancel := context.WithTimeoutCause(ctx, o.budget, errBudget)
	defer cancel()
	ctx, stop := context.WithCancelCause(budget)
	defer stop(nil)
	r, err := deadletter.Drain(ctx, letters, target, deadletter.DrainOptions{
		Rate:     o.rate,
		Parallel: o.parallel,
		Owner:    "maintenance",
		Who:      "maintenance",
		Why:      "the nightly drain",
		Progress: func(p deadletter.Progress) {
			if tried := p.Succeeded + p.Failed; tried >= 20 && float64(p.Failed) >= o.failures*float64(tried) {
				stop(fmt.Errorf("%w: %d of %d", errTooMany, p.Failed, tried))
			}
		},
	})
	if cause := context.Cause(ctx); errors.Is(cause, errTooMany) || errors.Is(cause, errBudget) {
		return r, cause
	}
	return r, err
}

// openLetters opens the file, which must be there, or makes one with letters in it.
func openLetters(ctx context.Context, path string) (*sqlitestore.Store, error) {
	if path != "" {
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
		return sqlitestore.Open(ctx, path, sqlitestore.Config{})
	}
	dir, err := os.MkdirTemp("", "maintenance-")
	if err != nil {
		return nil, err
	}
	letters, err := sqlitestore.Open(ctx, filepath.Join(dir, "letters.db"), sqlitestore.Config{})
	if err != nil {
		return nil, err
	}
	if err := demonstrate(ctx, letters); err != nil {
		return nil, errors.Join(err, letters.Close())
	}
	return letters, nil
}
