package idempotency_test

import (
	"context"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

func ExampleMemory() {
	ctx := context.Background()
	m := idempotency.NewMemory()
	key := idempotency.Key{Stage: "charge", ID: "order-1"}

	first, _ := m.Claim(ctx, idempotency.Request{Key: key, Lease: time.Minute})
	second, _ := m.Claim(ctx, idempotency.Request{Key: key, Lease: time.Minute})
	fmt.Println(first.State == idempotency.Claimed, second.State == idempotency.Busy)

	fmt.Println(m.Confirm(ctx, first))
	third, _ := m.Claim(ctx, idempotency.Request{Key: key, Lease: time.Minute})
	fmt.Println(third.State == idempotency.Done)
	// Output:
	// true true
	// <nil>
	// true
}
