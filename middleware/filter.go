package middleware

import (
	"context"

	"github.com/runnel-go/runnel/stage"
)

// The reasons under which Filter and Sample drop events.
const (
	ReasonFiltered = "filtered"
	ReasonSampled  = "sampled out"
)

// Filter drops the events for which keep is false, counted under the reason "filtered". Keep is called on
// the worker, before anything is claimed or tried; one that reads d.Payload() costs the boxing of it. A
// redriven dead letter passes: it was let in before.
func Filter(keep func(d *stage.Delivery) bool) stage.Middleware {
	return sieve("filter", ReasonFiltered, "events that do not match are dropped", keep,
		check(keep != nil, "Filter(nil); give it a function"))
}

// Sample keeps about the given part of the events, 0 to 1, and drops the others, counted under the reason
// "sampled out". An event's identity decides, so that every stage, every process and every repetition of
// the event decides alike; without an identity given by its producer, its number in its topic decides.
func Sample(part float64) stage.Middleware {
	limit := uint64(part * (1 << 63))
	return sieve("sample", ReasonSampled, "a part of the events, chosen by identity, is handled; the others are dropped",
		func(d *stage.Delivery) bool { return spread(d)>>1 < limit },
		check(part >= 0 && part <= 1, "Sample(%v); make it 0 to 1", part))
}

func sieve(name, reason, promise string, keep func(*stage.Delivery) bool, fault error) stage.Middleware {
	return stage.Middleware{
		Name:    name,
		Outside: []string{"idempotent", "retry", "timeout", "recover"},
		Inside:  []string{"deadletter"},
		Promise: promise,
		Fault:   fault,
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				if d.Redrive != nil || d.Handled() || d.InDoubt() || d.Undecodable() {
					return next(ctx, d)
				}
				switch kept, err := asked(func() bool { return keep(d) }); {
				case err != nil:
					return stage.Permanent(err)
				case !kept:
					return stage.Skip(reason)
				}
				return next(ctx, d)
			}
		},
	}
}

// spread is a number that is evenly spread over identities: FNV-1a, finished as in SplitMix64, since
// FNV alone leaves the high bits of short texts close together. It is the same in every process.
func spread(d *stage.Delivery) uint64 {
	h := uint64(14695981039346656037)
	if d.GivenID == "" {
		h ^= d.Origin<<20 ^ d.Seq
	}
	for i := range len(d.GivenID) {
		h = (h ^ uint64(d.GivenID[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
