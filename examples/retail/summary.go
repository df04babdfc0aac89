package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// summary is what -json prints. All of it is counted from the events as they went through.
type summary struct {
	Data       string           `json:"data"`
	Workers    int              `json:"workers"`
	Rows       int64            `json:"rows"`
	Malformed  int64            `json:"malformed"`
	Duplicates uint64           `json:"duplicates"` // at each stage
	Billing    billingSummary   `json:"billing"`
	Inventory  inventorySummary `json:"inventory"`
	Analytics  analyticsSummary `json:"analytics"`
	Notify     notifySummary    `json:"notify"`
	OutOfOrder int              `json:"outOfOrder"`
	Redrive    *redriveSummary  `json:"redrive,omitempty"`
	Letters    []letterGroup    `json:"letters"` // by cause, before the redrive
	File       string           `json:"lettersFile"`
	Outage     *outageSummary   `json:"outage,omitempty"` // of the letters' store

	Interrupted bool    `json:"interrupted"`
	Complete    bool    `json:"complete"` // the file was read to its end
	Left        int     `json:"left"`     // lines that were accepted and handed back
	Seconds     float64 `json:"seconds"`  // without the redrive
	Throughput  int64   `json:"linesPerSecond"`

	plan   pipeline.Plan
	counts error // what does not add up
}

type billingSummary struct {
	Done        uint64 `json:"done"`
	Letters     int    `json:"letters"`
	Sequences   int    `json:"sequences"`
	FailedCalls int64  `json:"failedCalls"` // of the handler: one a sequence, the rest was not tried
	Customers   int    `json:"customers"`
	Billed      Money  `json:"billed"`
}

type inventorySummary struct {
	Done  uint64 `json:"done"`
	SKUs  int    `json:"skus"`
	Units int    `json:"units"`
}

type analyticsSummary struct {
	Done      uint64 `json:"done"`
	Countries int    `json:"countries"`
	Revenue   Money  `json:"revenue"`
}

type notifySummary struct {
	Done    uint64 `json:"done"`
	Retried uint64 `json:"retried"`
	Panics  uint64 `json:"panics"`
}

type redriveSummary struct {
	Selected  int   `json:"selected"`
	Succeeded int   `json:"succeeded"`
	Failed    int   `json:"failed"`
	Remaining int   `json:"remaining"`
	Guests    int   `json:"guests"`
	Billed    Money `json:"billed"`

	report     fmt.Stringer
	operations []string // that were asked for
}

// letterGroup is the letters of one cause.
type letterGroup struct {
	Stage     string            `json:"stage"`
	Reason    deadletter.Reason `json:"reason"`
	Error     string            `json:"error"`
	Letters   int               `json:"letters"`
	Sequences int               `json:"sequences"`
}

// summarize says what the stages did so far. It is for a moment in which nothing runs.
func (j *job) summarize(ctx context.Context, took time.Duration) (summary, error) {
	s := summary{
		Data: j.in.name, Workers: j.options.workers, File: j.file,
		Rows: j.tally.rows.Load(), Malformed: j.tally.malformed.Load(), Complete: j.tally.complete.Load(),
		Seconds: took.Seconds(), plan: j.p.Plan(),
	}
	s.Throughput = int64(float64(s.Rows) / max(s.Seconds, 1e-9))
	s.addStages(j)
	groups, err := j.letters.Groups(ctx, deadletter.Filter{})
	s.addLetters(groups)
	return s, err
}

func (s *summary) addStages(j *job) {
	n := j.p.Snapshot()
	s.Duplicates, s.counts = agreedDuplicates(n.Stages)
	s.Billing.Done, s.Inventory.Done = find(n, billingStage).Done, find(n, inventoryStage).Done
	s.Analytics.Done, s.Notify.Done = find(n, analyticsStage).Done, find(n, notifyStage).Done
	s.Billing.FailedCalls = j.billing.refused.Load()
	s.Billing.Customers, s.Billing.Billed = j.billing.total(false)
	s.Inventory.SKUs, s.Inventory.Units = j.inventory.total()
	s.Analytics.Countries, s.Analytics.Revenue = j.analytics.total()
	s.Notify.Retried, s.Notify.Panics = find(n, notifyStage).Retries, find(n, notifyStage).Panics
}

// find returns the figures of a stage; they are zero when the pipeline never began to run.
func find(n pipeline.Snapshot, name string) stage.Snapshot {
	s, _ := n.Stage(name)
	return s
}

// agreedDuplicates is how many duplicates each stage saw. Every stage gets every line, so they agree,
// unless a shutdown cut some of them short.
func agreedDuplicates(stages []stage.Snapshot) (uint64, error) {
	var n uint64
	for i, s := range stages {
		if i == 0 {
			n = s.Duplicate
		}
		if s.Duplicate != n && s.Returned == 0 && stages[0].Returned == 0 {
			return n, fmt.Errorf("%s saw %d duplicates and %s %d", stages[0].Name, n, s.Name, s.Duplicate)
		}
	}
	return n, nil
}

func (s *summary) addLetters(groups []deadletter.Group) {
	s.Letters = make([]letterGroup, 0, len(groups))
	for _, g := range groups {
		s.Letters = append(s.Letters, letterGroup{g.Stage, g.Reason, g.Error, g.Letters, g.Sequences})
		if g.Stage == billingStage {
			s.Billing.Letters += g.Letters
			s.Billing.Sequences += g.Sequences
		}
	}
}

// check returns what must not be: figures that do not add up, and lines out of order.
func (s *summary) check() error {
	err := s.counts
	if s.OutOfOrder > 0 {
		err = errors.Join(err, fmt.Errorf("%d lines came out of order", s.OutOfOrder))
	}
	return err
}

// write prints the summary, as one JSON object or for a reader.
func (s *summary) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, s)
	}
	_, err := io.WriteString(w, s.text())
	return err
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
