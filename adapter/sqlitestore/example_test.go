package sqlitestore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

// A service stores letters; later a maintenance job, in a process of its own, looks at the groups and
// drains them.
func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "letters")
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "letters.db")

	service, err := sqlitestore.Open(ctx, path, sqlitestore.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, id := range []string{"o-1", "o-2"} {
		_, _ = service.Put(ctx, &deadletter.Letter{
			Stage: "charge", Topic: "orders", Key: "ann", Ordered: true, Holds: true, EventID: id,
			Reason: deadletter.Exhausted, Error: "503 service unavailable", Fingerprint: "card-503",
		})
	}
	fmt.Println("held:", service.MayHold("charge", "ann"))
	_ = service.Close()

	letters, err := sqlitestore.Open(ctx, path, sqlitestore.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = letters.Close() }()
	groups, _ := letters.Groups(ctx, deadletter.Filter{})
	for _, g := range groups {
		fmt.Printf("%d letters of %d sequence: %s\n", g.Letters, g.Sequences, g.Error)
	}
	// In a program the target is the pipeline.
	target := deadlettertest.NewTarget(letters, 0, func(context.Context, deadletter.Letter) error { return nil })
	report, err := deadletter.Drain(ctx, letters, target, deadletter.DrainOptions{Who: "ann", Why: "the card service is back"})
	fmt.Println(report.Succeeded, "succeeded,", report.Remaining, "remain,", err)
	fmt.Println("held:", letters.MayHold("charge", "ann"))
	// Output:
	// held: true
	// 2 letters of 1 sequence: 503 service unavailable
	// 2 succeeded, 0 remain, <nil>
	// held: false
}
