package redisstore_test

import (
	"context"
	"log"
	"time"

	"github.com/runnel-go/runnel/adapter/redisstore"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
)

func ExampleOpen() {
	done, err := redisstore.Open(context.Background(), "redis://localhost:6379/0", redisstore.Config{
		Prefix:    "shop:done:",
		Retention: 7 * 24 * time.Hour,
	})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = done.Close() }()

	p := pipeline.New(pipeline.Config{})
	p.Use(middleware.Idempotent(done), middleware.Retry(middleware.Exponential{}))
}
