package idempotencytest

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

var errHandler = errors.New("the handler failed")

// txCases are the rules of an idempotency.Transactor that can be seen without knowing its transaction.
var txCases = []struct {
	fact string
	test func(*suite)
}{
	{"a transaction confirms", txConfirms},
	{"a failed transaction keeps the claim", txFails},
	{"a panic leaves a transaction unconfirmed", txPanics},
	{"a late holder's transaction is lost", txLate},
	{"a transaction outlives its context, and its function sees the end", txContext},
}

func (s *suite) inTx(c idempotency.Claim, f func(context.Context) error) error {
	return s.store.(idempotency.Transactor).InTx(context.Background(), c, f)
}

func succeeds(context.Context) error { return nil }

func txConfirms(s *suite) {
	c := s.ask(s.by(7, long), idempotency.Claimed)
	if err := s.inTx(c, succeeds); err != nil {
		s.Fatalf("InTx = %v", err)
	}
	s.ask(s.by(8, long), idempotency.Done)
}

func txFails(s *suite) {
	c := s.ask(s.by(7, long), idempotency.Claimed)
	if err := s.inTx(c, func(context.Context) error { return errHandler }); err != errHandler { //nolint:errorlint // as it is
		s.Fatalf("InTx = %v, want the function's error as it is", err)
	}
	s.ask(s.by(8, long), idempotency.Busy)
	s.release(c, nil)
	s.confirm(s.ask(s.by(8, long), idempotency.Claimed), nil)
}

func txPanics(s *suite) {
	c := s.ask(s.by(7, long), idempotency.Claimed)
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				s.Errorf("recovered %v, want the function's panic", p)
			}
		}()
		_ = s.inTx(c, func(context.Context) error { panic("boom") })
	}()
	s.ask(s.by(8, long), idempotency.Busy)
	s.release(c, nil)
}

func txLate(s *suite) {
	c := s.ask(s.by(7, short), idempotency.Claimed)
	next := s.claimOnceFree(s.key("a"))
	if err := s.inTx(c, succeeds); !errors.Is(err, idempotency.ErrLost) {
		s.Fatalf("InTx of a lost claim = %v, want ErrLost", err)
	}
	s.ask(s.by(8, long), idempotency.Busy)
	s.confirm(next, nil)
}

func txContext(s *suite) {
	c := s.ask(s.by(7, long), idempotency.Claimed)
	ctx, cancel := context.WithCancel(context.Background())
	err := s.store.(idempotency.Transactor).InTx(ctx, c, func(inner context.Context) error {
		cancel()
		select {
		case <-inner.Done():
		case <-time.After(10 * time.Second):
			s.Error("the function's context did not end with the caller's")
		}
		return nil
	})
	if err != nil {
		s.Fatalf("InTx whose context ended = %v, want that it committed", err)
	}
	s.ask(s.by(8, long), idempotency.Done)
}
