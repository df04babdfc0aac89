package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

// A maintenance job: look first, then drain. The target is a pipeline; here one of two lines stands in.
func ExampleDrain() {
	ctx := context.Background()
	letters := deadletter.NewMemory()
	for _, id := range []string{"o-1", "o-2", "o-3"} {
		_, _ = letters.Put(ctx, &deadletter.Letter{
			Stage: "charge", Key: "ann", Ordered: true, Holds: true, EventID: id, Reason: deadletter.Exhausted,
		})
	}
	p := deadlettertest.NewTarget(letters, 0, func(_ context.Context, l deadletter.Letter) error {
		if l.EventID == "o-2" {
			return errors.New("card declined")
		}
		fmt.Println("charged", l.EventID)
		return nil
	})

	report, _ := deadletter.Drain(ctx, letters, p, deadletter.DrainOptions{DryRun: true})
	fmt.Println(report)
	report, _ = deadletter.Drain(ctx, letters, p, deadletter.DrainOptions{Who: "cron"})
	fmt.Println(regexp.MustCompile(` in [^:]*`).ReplaceAllString(report.String(), ""))
	fmt.Println(report.Failures[0].Error)
	// Output:
	// dry run: 3 letters of 1 cause (3 exhausted)
	// charged o-1
	// redrove 2 of 3 letters: 1 succeeded, 1 failed, 1 blocked (behind a letter that stays); 2 remain; finished
	// card declined
}
