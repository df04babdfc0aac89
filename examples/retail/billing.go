package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// errGuest is why a line without a customer becomes a dead letter.
var errGuest = errors.New("the line has no customer to bill")

// billing adds each line to its customer's account. It keeps the order of each customer, and of each
// invoice where there is no customer.
type billing struct {
	accounts perKey[account]
	guests   atomic.Bool // whether guests are billed
	refused  atomic.Int64
}

type account struct {
	order
	guest bool
	lines int
	owes  Money
}

func (b *billing) stage(workers int) *stage.Stage {
	return stage.Handle(Lines, billingStage, b.bill, stage.Workers(workers))
}

func (b *billing) bill(_ context.Context, e event.Event[Line]) error {
	l := e.Payload
	a := b.accounts.of(l.Key())
	a.see(l)
	a.guest = l.Customer == ""
	if a.guest && !b.guests.Load() {
		b.refused.Add(1)
		// No retry finds a customer. Under the default policy, Park, the later lines of this
		// invoice go to the dead letters behind this one and are not tried.
		return stage.Permanent(errGuest)
	}
	a.lines++
	a.owes += l.Amount()
	return nil
}

// billGuests is the mend: from now on a guest has an account under the number of the invoice.
func (b *billing) billGuests() { b.guests.Store(true) }

// total counts the accounts, of guests or of customers, that were billed, and what they owe.
func (b *billing) total(guests bool) (accounts int, owed Money) {
	b.accounts.each(func(a *account) {
		if a.guest == guests && a.lines > 0 {
			accounts++
			owed += a.owes
		}
	})
	return accounts, owed
}

func (b *billing) breaches() (n int) {
	b.accounts.each(func(a *account) { n += a.breaches })
	return n
}
