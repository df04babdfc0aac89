package middleware

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// storeLimit bounds a write to a store. Such a write does not end with the attempt's context: a shutdown
// must not lose what it was to record.
const storeLimit = 15 * time.Second

var errStoreLimit = errors.New("middleware: the store did not answer within " + storeLimit.String())

// detached is ctx without its end, and with the store's own.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), storeLimit, errStoreLimit)
}

// guarded calls f; a store that panics has failed.
func guarded(f func() error) (err error) {
	defer catch(&err)
	return f()
}

// pause is how long an event waits for a store, or for its duplicate: longer each time, and never in step
// with others.
type pause struct{ last time.Duration }

const (
	firstPause = 20 * time.Millisecond
	maxPause   = 30 * time.Second
)

func (p *pause) next() time.Duration {
	p.last = min(max(2*p.last, firstPause), maxPause)
	return p.last/2 + rand.N(p.last/2)
}

// postpone parks the event without counting an attempt.
func (p *pause) postpone(err error) error { return stage.Postpone(p.next(), err) }
