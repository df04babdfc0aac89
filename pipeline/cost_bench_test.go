//go:build unix

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// reading is an event of about a hundred bytes.
type reading struct {
	Sensor string
	ID     string
	Number uint64
	Body   [60]byte
}

// BenchmarkEvent is what an event costs from Publish to the end of a handler that does nothing, beside a buffered
// channel of the same payload. Processor time, of all goroutines, is what a noisy machine changes least.
func BenchmarkEvent(b *testing.B) {
	const sensors, ids = 100_000, 1 << 20
	keyed := event.NewTopic("keyed", event.KeyBy(func(r reading) string { return r.Sensor }))
	known := event.NewTopic("known", event.KeyBy(func(r reading) string { return r.Sensor }),
		event.IDBy(func(r reading) string { return r.ID }))
	standard := middleware.StandardConfig{Letters: deadletter.NewMemory()}
	once := standard
	once.Idempotency = idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 1 << 16})
	names := make([]string, ids)
	for i := range names {
		names[i] = fmt.Sprintf("sensor-%07d", i)
	}
	next := func(r *reading) {
		r.Number++
		r.Sensor, r.ID = names[r.Number%sensors], names[r.Number%ids]
	}
	b.Run("channel", func(b *testing.B) {
		inlet := make(chan reading, 1024)
		var readers sync.WaitGroup
		readers.Go(func() {
			for range inlet { // the handler that does nothing
			}
		})
		var r reading
		measure(b, func() { next(&r); inlet <- r }, func() { close(inlet); readers.Wait() })
	})
	for _, run := range []struct {
		name  string
		topic *event.Topic[reading]
		order stage.Order
		use   []stage.Middleware
	}{
		{"unordered", keyed, stage.Unordered, nil},
		{"chain", keyed, stage.PerKey, middleware.Standard(standard)},
		{"idempotent", known, stage.PerKey, middleware.Standard(once)},
	} {
		b.Run(run.name, func(b *testing.B) {
			p := pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)})
			p.Use(run.use...)
			p.Add(stage.Handle(run.topic, "handle", func(context.Context, event.Event[reading]) error { return nil },
				stage.Workers(8), stage.Buffer(1024), stage.WithOrder(run.order)))
			publisher := pipeline.NewPublisher(p, run.topic)
			ended := make(chan error, 1)
			go func() { ended <- p.Run(context.Background()) }()
			ctx := context.Background()
			var r reading
			publish := func() {
				next(&r)
				if err := publisher.Publish(ctx, r); err != nil {
					b.Fatal(err)
				}
			}
			for range 200_000 { // until the stage rides, and the store is full
				publish()
			}
			measure(b, publish, func() {
				if err := p.Shutdown(ctx); err != nil {
					b.Error(err)
				}
				if err := <-ended; err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkMap is what an event costs that goes through a Map and is handled behind it.
func BenchmarkMap(b *testing.B) {
	from, to := event.NewTopic[reading]("from"), event.NewTopic[reading]("to")
	p := pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)})
	p.Add(
		stage.Map(from, "map", to, func(_ context.Context, e event.Event[reading]) (reading, error) { return e.Payload, nil }),
		stage.Handle(to, "handle", func(context.Context, event.Event[reading]) error { return nil }),
	)
	publisher := pipeline.NewPublisher(p, from)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	ctx := context.Background()
	var r reading
	publish := func() {
		r.Number++
		if err := publisher.Publish(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
	for range 20_000 { // until both stages ride
		publish()
	}
	measure(b, publish, func() {
		if err := errors.Join(p.Shutdown(ctx), <-ended); err != nil {
			b.Error(err)
		}
	})
}

// measure runs once for each iteration, and end, and reports the processor time of all of it.
func measure(b *testing.B, once, end func()) {
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	for range b.N {
		once()
	}
	end()
	b.ReportMetric((processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// processorTime is what the process has used so far, in nanoseconds.
func processorTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}
