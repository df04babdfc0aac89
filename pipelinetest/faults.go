package pipelinetest

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// ErrInjected is the failure that Faults make.
var ErrInjected = errors.New("pipelinetest: a fault was injected")

// Faults makes middleware that goes wrong now and then, to show that the rest of a chain stands it. What
// goes wrong depends on the seed, the stage, the event (its identity, else its Seq), the attempt and the
// redrive, and on nothing else: one seed makes the same faults whatever the goroutines do.
//
// The middleware stands innermost, right around the handler, as stage.Use or the last of p.Use. A rate is the
// part of attempts that go wrong, from 0 to 1.
type Faults struct{ Seed uint64 }

// Fail has attempts fail with ErrInjected, without calling the handler.
func (f Faults) Fail(rate float64) stage.Middleware {
	return f.middleware("fail", rate, func(context.Context, stage.Handler, *stage.Delivery) error { return ErrInjected })
}

// Panic has attempts panic with ErrInjected in the handler's place.
func (f Faults) Panic(rate float64) stage.Middleware {
	return f.middleware("panic", rate, func(context.Context, stage.Handler, *stage.Delivery) error { panic(ErrInjected) })
}

// Slow has the handler begin d late, or not at all when its context ends first.
func (f Faults) Slow(rate float64, d time.Duration) stage.Middleware {
	return f.middleware("slow", rate, func(ctx context.Context, next stage.Handler, v *stage.Delivery) error {
		late := time.NewTimer(d)
		defer late.Stop()
		select {
		case <-late.C:
			return next(ctx, v)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// Duplicate has attempts fail with ErrInjected although the handler succeeded, as when a process dies between an
// effect and its acknowledgement: the handler gets the event again.
func (f Faults) Duplicate(rate float64) stage.Middleware {
	return f.middleware("duplicate", rate, func(ctx context.Context, next stage.Handler, d *stage.Delivery) error {
		if err := next(ctx, d); err != nil {
			return err
		}
		return ErrInjected
	})
}

func (f Faults) middleware(kind string, rate float64, fault func(context.Context, stage.Handler, *stage.Delivery) error) stage.Middleware {
	var wrong error
	if math.IsNaN(rate) || rate < 0 || rate > 1 {
		wrong = errors.New("pipelinetest: Faults: the rate of " + kind + " is no number from 0 to 1")
	}
	return stage.Middleware{
		Name:   "fault: " + kind,
		Inside: []string{"deadletter", "idempotent", "retry", "timeout", "recover", "record"},
		Fault:  wrong,
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				if f.chance(kind, d) < rate {
					return fault(ctx, next, d)
				}
				return next(ctx, d)
			}
		},
	}
}

// chance is a number in [0, 1) that belongs to the attempt.
func (f Faults) chance(kind string, d *stage.Delivery) float64 {
	id, redrive := d.GivenID, 0
	if id == "" {
		id = strconv.FormatUint(d.Seq, 10)
	}
	if d.Redrive != nil {
		redrive = d.Redrive.Count
	}
	h := fnv.New64a()
	for _, part := range []string{kind, d.Stage, d.Topic, id} {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(part))))
		_, _ = h.Write([]byte(part))
	}
	return rand.New(rand.NewPCG(f.Seed, h.Sum64()+uint64(d.Attempt)<<32+uint64(redrive))).Float64() //nolint:gosec // no secret
}
