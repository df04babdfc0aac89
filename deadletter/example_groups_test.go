package deadletter_test

import (
	"context"
	"fmt"

	"github.com/runnel-go/runnel/deadletter"
)

// Twelve causes are easier to read than 700,000 letters.
func ExampleMemory_Groups() {
	ctx := context.Background()
	letters := deadletter.NewMemory()
	for i, message := range []string{"order 17: card declined", "order 18: card declined", "no route to bank"} {
		_, _ = letters.Put(ctx, &deadletter.Letter{
			Stage: "charge", EventID: fmt.Sprint(i), Reason: deadletter.Exhausted, Error: message,
			Fingerprint: deadletter.Fingerprint("charge", "*errors.errorString", message, ""),
		})
	}
	groups, _ := letters.Groups(ctx, deadletter.Filter{})
	for _, g := range groups {
		fmt.Println(g.Letters, g.Stage, g.Error)
	}
	// Output:
	// 2 charge order 17: card declined
	// 1 charge no route to bank
}
