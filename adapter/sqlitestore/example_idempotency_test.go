package sqlitestore_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

type transfer struct {
	Number string
	Cents  int
}

var transfers = event.NewTopic("transfers", event.IDBy(func(t transfer) string { return t.Number }))

// A producer sends every transfer twice. The balance changes once for each, because the mark of a transfer commits
// with the change, in the application's own database.
func ExampleOpenIdempotency() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "bank")
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "bank.db")

	done, err := sqlitestore.OpenIdempotency(ctx, path, sqlitestore.IdempotencyConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = done.Close() }()
	db, _ := sql.Open("sqlite", path) // the application's own connections
	defer func() { _ = db.Close() }()
	_, _ = db.Exec("CREATE TABLE balance (cents INTEGER); INSERT INTO balance VALUES (0)")

	p := pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)})
	p.Use(middleware.Idempotent(done, middleware.InTx()), middleware.Retry(middleware.Exponential{}))
	p.Add(stage.Handle(transfers, "book", func(ctx context.Context, e event.Event[transfer]) error {
		_, err := sqlitestore.Tx(ctx).ExecContext(ctx, "UPDATE balance SET cents = cents + ?", e.Payload.Cents)
		return err
	}))
	publisher := pipeline.NewPublisher(p, transfers)
	for _, t := range []transfer{{"t-1", 500}, {"t-2", 250}, {"t-1", 500}, {"t-2", 250}} {
		_ = publisher.Publish(ctx, t)
	}
	_, _ = p.Drain(ctx, 0) // a service calls Run

	var cents int
	_ = db.QueryRow("SELECT cents FROM balance").Scan(&cents)
	got, _ := p.Snapshot().Stage("book")
	fmt.Println(got.Done, "booked,", got.Duplicate, "duplicates, balance", cents)
	// Output: 2 booked, 2 duplicates, balance 750
}
