package middleware_test

import (
	"fmt"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
)

func ExampleStandard() {
	chain := middleware.Standard(middleware.StandardConfig{
		Letters:     deadletter.NewMemory(),
		Idempotency: idempotency.NewMemory(),
		Retry:       middleware.Exponential{Attempts: 3},
		Timeout:     2 * time.Second,
	})
	for _, m := range chain {
		fmt.Printf("%s: %s\n", m.Name, m.Promise)
	}
	// Output:
	// deadletter: a failure becomes a dead letter, and in a lane it parks its key: followers are stored behind it, untried, until it is redriven
	// idempotent: an identity given by the producer succeeds at most once within the store's window
	// retry: a failed attempt is repeated after a wait, in its place
	// timeout: an attempt fails after 2s
	// recover: a panic is a failed attempt
}
