package main

import (
	"context"
	"errors"
	"io"
)

// maintenance is what the command redrive prints with -json.
type maintenance struct {
	File        string         `json:"lettersFile"`
	Redrive     redriveSummary `json:"redrive"`
	Operations  []string       `json:"operations,omitempty"` // that were asked for
	OutOfOrder  int            `json:"outOfOrder"`
	Outage      *outageSummary `json:"outage,omitempty"`
	Interrupted bool           `json:"interrupted"`
}

// runMaintenance drains the letters that another process left: the same stages over the same store, and no
// source. That process may still run.
func runMaintenance(ctx context.Context, o options, stdout, stderr io.Writer) (interrupted bool, err error) {
	letters, err := openExisting(context.WithoutCancel(ctx), o.letters)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, letters.Close()) }()
	j := newJob(o, nil, letters, stderr)
	bar := startProgress(stderr, j.progress, j.progressText)
	work := j.redrive
	if o.asked {
		work = func(ctx context.Context) (*redriveSummary, error) { return j.redriveAsked(ctx, letters) }
	}
	m, err := j.maintain(ctx, work)
	bar.stop()
	if err == nil {
		m.File = o.letters
		err = m.write(stdout, o.json)
	}
	return m.Interrupted, err
}

// maintain runs the pipeline for as long as the work takes.
func (j *job) maintain(ctx context.Context, work func(context.Context) (*redriveSummary, error)) (maintenance, error) {
	ended := make(chan error, 1)
	go func() { ended <- j.p.Run(context.WithoutCancel(ctx)) }()
	r, err := work(ctx)
	err = errors.Join(err, j.p.Shutdown(context.WithoutCancel(ctx)))
	<-ended // it is what Shutdown returned
	r.Guests, r.Billed = j.billing.total(true)
	m := maintenance{Redrive: *r, Operations: r.operations, OutOfOrder: j.billing.breaches(), Outage: j.letters.summary(), Interrupted: ctx.Err() != nil}
	if m.Interrupted && isInterruption(ctx, err) {
		err = nil
	}
	return m, errors.Join(err, (&summary{OutOfOrder: m.OutOfOrder}).check())
}

func (m *maintenance) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, m)
	}
	text := m.Redrive.text()
	if m.Outage != nil {
		text += m.Outage.text()
	}
	_, err := io.WriteString(w, text)
	return err
}
