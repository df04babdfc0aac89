package middleware

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// ErrThrottled is why Throttle postpones an event.
var ErrThrottled = errors.New("middleware: as many attempts run as Throttle allows")

// Throttle lets at most limit attempts run at once over all stages that are given this one value: what
// they share, such as a database, sees no more than that, whatever their workers add up to. Give it to
// the pipeline for all stages, or to some by stage.Use.
//
// An event that finds no room waits in its place, without a worker and without counting an attempt; its
// next try is set by how long attempts have taken, so that few tries are in vain however many events wait.
// Which waiting event gets the next room is left to chance, within the order of each key. It neither
// allocates nor reads the clock more than twice while there is room.
//
// A handler keeps its room while a Publish of its own waits. Do not share a Throttle with the stages that its handlers
// publish to: when those are full, both wait for each other, and no ErrCycle tells. What Map and Expand emit is
// published when the room was given back.
func Throttle(limit int) stage.Middleware {
	t := &throttle{limit: limit}
	return stage.Middleware{
		Name:    "throttle",
		Single:  t,
		Inside:  []string{"deadletter", "idempotent", "retry"},
		Promise: fmt.Sprintf("at most %d attempts at once over all stages that share it; the others wait without a worker", limit),
		Fault:   check(limit > 0, "Throttle(%d); make it at least 1", limit),
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error { return t.run(ctx, d, next) }
		},
	}
}

// throttle is the room that stages share.
type throttle struct {
	limit int

	mu      sync.Mutex // guards all below
	running int
	mean    time.Duration // of an attempt, moving
	next    time.Time     // when the waiting event that came last may expect room
}

func (t *throttle) run(ctx context.Context, d *stage.Delivery, next stage.Handler) error {
	now := time.Now()
	if !t.enter() {
		tries, _ := d.Kept(t).(int)
		d.Keep(t, tries+1)
		return stage.Postpone(t.wait(now, tries), ErrThrottled)
	}
	defer t.leave(now)
	return next(ctx, d)
}

func (t *throttle) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running >= t.limit {
		return false
	}
	t.running++
	return true
}

func (t *throttle) leave(began time.Time) {
	took := time.Since(began)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	t.mean += (took - t.mean) / 8
}

// The bounds of a wait: below, it would be a busy loop; above, a sudden change of pace would go unseen.
const (
	minThrottle = time.Millisecond
	maxThrottle = 2 * time.Second
)

// wait is how long an event waits that found no room. The first time it queues behind those that wait
// already, one for each room that is expected to come free. When it comes back too early it waits for
// about one more, then for two, four and so on: attempts take longer than they did.
func (t *throttle) wait(now time.Time, tries int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	step := max(t.mean/time.Duration(t.limit), minThrottle)
	if tries > 0 {
		step = min(step<<min(tries-1, 12), maxThrottle)
		return step/2 + rand.N(step/2)
	}
	if t.next.Before(now) {
		t.next = now
	}
	t.next = t.next.Add(step)
	if latest := now.Add(maxThrottle); t.next.After(latest) {
		t.next = latest
	}
	return t.next.Sub(now)
}
