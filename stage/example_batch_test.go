package stage_test

import (
	"context"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// The rows of a batch are written together; one that is refused fails alone.
func ExampleBatch() {
	rows, inserted := event.NewTopic[string]("rows"), make(chan struct{})
	insert := func(_ context.Context, batch []event.Event[string]) error {
		errs := make(stage.BatchErrors, len(batch))
		for i, row := range batch {
			if row.Payload == "" {
				errs[i] = stage.Permanent(fmt.Errorf("row %d is empty", row.Seq))
			}
		}
		fmt.Println(len(batch), "rows")
		close(inserted)
		return errs
	}
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Batch(rows, "insert", stage.Limits{Size: 3, Wait: time.Minute}, insert))

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	pub := pipeline.NewPublisher(p, rows)
	for _, row := range []string{"a", "b", "c"} {
		_ = pub.Publish(ctx, row)
	}
	<-inserted
	stop()
	fmt.Println(<-ended)
	// Output:
	// 3 rows
	// <nil>
}
