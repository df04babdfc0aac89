package pipeline

import (
	"log/slog"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// Config is the settings of a pipeline. The zero value is fit for production.
type Config struct {
	// Logger gets what no caller is told: failures that nobody handled, held keys, hooks that panic.
	// Default: slog.Default().
	Logger *slog.Logger
	// Observer is told what happens to events.
	Observer Observer
	// OnUnhandled is given each event whose failure no middleware handled, after it was counted and
	// logged. It must not keep the delivery.
	OnUnhandled func(d *stage.Delivery, err error)
	// Grace is how long a drain may take before it is forced. Default: 30 s.
	Grace time.Duration
	// Linger is how long a forced shutdown waits for handlers and sources to return. Default: 5 s.
	Linger time.Duration
	// StallAfter has the pipeline look after stages that stand still: all workers are at an attempt and
	// none of them has ended for so long. Such a stage is logged once, with the stacks of all
	// goroutines, and is among Snapshot.Stalled until it goes on. It starts one goroutine and reads the
	// counters twice in that time. Default: nobody looks.
	StallAfter time.Duration
	// Inline makes Publish handle the event on the caller's goroutine before it returns, and return
	// the handlers' errors. It waits for retries and for events that were put off, in real time outside of
	// a synctest bubble. For tests; such a pipeline is not run.
	Inline bool
	// StopAfterSources makes Run drain and return once every source has ended.
	StopAfterSources bool
}

// The defaults of a Config.
const (
	DefaultGrace  = 30 * time.Second
	DefaultLinger = 5 * time.Second
)

// Observer is told what happens to events; see stage.Observer.
type Observer = stage.Observer

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Linger == 0 {
		c.Linger = DefaultLinger
	}
	return c
}
