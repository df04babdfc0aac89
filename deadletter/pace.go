package deadletter

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errLimit = errors.New("deadletter: the limit is reached")

// pace gives out turns: so many in all, so many a second.
type pace struct {
	limit int           // 0: no limit
	every time.Duration // 0: no pause

	mu     sync.Mutex
	taken  int
	next   time.Time
	denied bool // somebody asked for a turn beyond the limit
}

// longest is the pause of a rate that is almost none.
const longest = 100 * 365 * 24 * time.Hour

func newPace(limit int, rate float64) *pace {
	p := &pace{limit: limit}
	if rate > 0 {
		p.every = time.Duration(min(float64(time.Second)/rate, float64(longest)))
	}
	return p
}

// turn waits for the caller's turn and reports whether that took time. It returns errLimit when there
// are no more, and ctx's cause when that ends first.
func (p *pace) turn(ctx context.Context) (waited bool, err error) {
	at, ok := p.reserve(time.Now())
	if !ok {
		return false, errLimit
	}
	d := time.Until(at)
	if d <= 0 {
		return false, nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true, nil
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

func (p *pace) reserve(now time.Time) (at time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit > 0 && p.taken >= p.limit {
		p.denied = true
		return now, false
	}
	p.taken++
	if p.next.Before(now) {
		p.next = now
	}
	at = p.next
	p.next = at.Add(p.every)
	return at, true
}

// over reports whether a turn was denied.
func (p *pace) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.denied
}
