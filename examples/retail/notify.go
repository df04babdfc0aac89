package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/runnel-go/runnel/adapter/ratelimit"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// notify tells each customer about each line, by a service that fails now and then, and that takes no more
// than so many lines a second. Retry mends the one, a rate limit keeps to the other, and the customer still hears
// of the lines in their order.
type notify struct {
	customers perKey[mailbox]
}

type mailbox struct {
	order
	failed string // the identity of the line that failed last, and is tried again next
}

func (n *notify) stage(workers, rate int) *stage.Stage {
	limit := ratelimit.New(ratelimit.Rate{Events: rate, Burst: max(1, rate/20)})
	return stage.Handle(Lines, notifyStage, n.send, stage.Workers(workers), stage.Use(limit))
}

func (n *notify) send(_ context.Context, e event.Event[Line]) error {
	m := n.customers.of(e.Key)
	m.see(e.Payload)
	if m.failed == e.GivenID {
		return nil // the second attempt: the service is well again
	}
	return flaw(m, e.GivenID)
}

// errBusy is what the service says one time in a hundred.
var errBusy = errors.New("notify: the service is busy")

// flaw is the service at its worst: at the first attempt, one event in a hundred fails and one in a
// thousand panics. Which ones, their identities say, so that every run meets the same.
func flaw(m *mailbox, id string) error {
	switch lot := lotOf(id); {
	case lot < 10:
		m.failed = id
		return errBusy
	case lot == 10:
		m.failed = id
		panic("notify: the service's client has a bug")
	}
	return nil
}

// lotOf draws a number below 1,000 from an identity, which is a hash in hexadecimal digits.
func lotOf(id string) uint64 {
	n, err := strconv.ParseUint(id[:min(8, len(id))], 16, 64)
	if err != nil {
		return 999
	}
	return n % 1000
}

func (n *notify) breaches() (sum int) {
	n.customers.each(func(m *mailbox) { sum += m.breaches })
	return sum
}
