package pipelinetest_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/idempotency"
)

var errOutage = errors.New("the store is down")

var outageMethods = []string{"put", "divert", "resolve", "fail", "claim", "mark", "unmark", "ask"}

// outage makes the next calls of a store's methods fail: before they do their work, after it, by a panic, or
// late.
type outage struct {
	mu    sync.Mutex
	left  map[string]int
	how   int
	lasts time.Duration // at most so long; 0 for as long as it takes
	ends  map[string]time.Time
}

func (o *outage) begin(method, times, how int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left == nil {
		o.left, o.ends = map[string]int{}, map[string]time.Time{}
	}
	o.ends[outageMethods[method]] = time.Now().Add(o.lasts)
	o.left[outageMethods[method]], o.how = times, how
}

func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left = nil
}

func (o *outage) is(method string) (bool, int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left[method] == 0 || o.lasts > 0 && time.Now().After(o.ends[method]) {
		return false, 0
	}
	o.left[method]--
	return true, o.how
}

// do calls work, or fails. A method that is not repeatable fails before its work only.
func (o *outage) do(ctx context.Context, method string, repeatable bool, work func() error) error {
	bad, how := o.is(method)
	switch {
	case !bad:
		return work()
	case how == 1 && repeatable:
		_ = work()
	case how == 2:
		panic("the store panics")
	case how == 3:
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
	return errOutage
}

type brokenLetters struct {
	deadletter.Store
	*outage
}

func (s *brokenLetters) Put(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, err error) {
	err = s.do(ctx, "put", true, func() (err error) { r, err = s.Store.Put(ctx, l); return err })
	return r, err
}

func (s *brokenLetters) Divert(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	err = s.do(ctx, "divert", true, func() (err error) { r, held, err = s.Store.Divert(ctx, l); return err })
	return r, held, err
}

func (s *brokenLetters) Resolve(ctx context.Context, c deadletter.Claim, id string) error {
	return s.do(ctx, "resolve", true, func() error { return s.Store.Resolve(ctx, c, id) })
}

func (s *brokenLetters) Fail(ctx context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	return s.do(ctx, "fail", false, func() error { return s.Store.Fail(ctx, c, id, f) })
}

func (s *brokenLetters) Claim(ctx context.Context, q deadletter.Sequence, owner string, lease time.Duration) (c deadletter.Claim, err error) {
	if bad, _ := s.is("claim"); bad {
		return c, errOutage
	}
	return s.Store.Claim(ctx, q, owner, lease)
}

type brokenClaims struct {
	idempotency.Store
	*outage
}

func (s *brokenClaims) Claim(ctx context.Context, r idempotency.Request) (c idempotency.Claim, err error) {
	err = s.do(ctx, "ask", false, func() (err error) { c, err = s.Store.Claim(ctx, r); return err })
	return c, err
}

func (s *brokenClaims) Confirm(ctx context.Context, c idempotency.Claim) error {
	return s.do(ctx, "mark", true, func() error { return s.Store.Confirm(ctx, c) })
}

func (s *brokenClaims) Release(ctx context.Context, c idempotency.Claim) error {
	return s.do(ctx, "unmark", true, func() error { return s.Store.Release(ctx, c) })
}
