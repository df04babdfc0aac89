package pgstore_test

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-go/runnel/adapter/pgstore"
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

// The mark of a transfer commits with the change of the balance, in the application's own database.
func ExampleOpenIdempotency() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://bank@localhost:5432/bank")
	if err != nil {
		log.Print(err)
		return
	}
	defer pool.Close()
	done, err := pgstore.OpenIdempotency(ctx, pool, pgstore.IdempotencyConfig{})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = done.Close() }()

	p := pipeline.New(pipeline.Config{})
	p.Use(middleware.Idempotent(done, middleware.InTx()), middleware.Retry(middleware.Exponential{}))
	p.Add(stage.Handle(transfers, "book", func(ctx context.Context, e event.Event[transfer]) error {
		_, err := pgstore.Tx(ctx).Exec(ctx, "UPDATE balance SET cents = cents + $1", e.Payload.Cents)
		return err
	}))
}
