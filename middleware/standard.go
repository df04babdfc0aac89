package middleware

import (
	"log/slog"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/stage"
)

// StandardConfig says what the standard chain has. The zero value is retry and recover.
type StandardConfig struct {
	// Letters keeps dead letters. Without it a failure that Retry gives up on settles as failed.
	Letters deadletter.Keeper
	// Followers is what happens to the events behind a dead letter. Default as in WithPolicy.
	Followers deadletter.Policy
	// Idempotency remembers what was completed. Without it a duplicate is handled again.
	Idempotency idempotency.Store
	// Retry is the policy of repeated attempts. Default Exponential{}.
	Retry Policy
	// Timeout bounds an attempt. 0 is no limit.
	Timeout time.Duration
	// Logger gets a record of every attempt. Nil is none.
	Logger *slog.Logger
}

// Standard is the canonical chain, Log → DeadLetter → Idempotent → Retry → Timeout → Recover, without
// what the config leaves out:
//
//	p.Use(middleware.Standard(middleware.StandardConfig{Letters: letters})...)
func Standard(c StandardConfig) []stage.Middleware {
	var chain []stage.Middleware
	if c.Logger != nil {
		chain = append(chain, Log(c.Logger))
	}
	if c.Letters != nil {
		chain = append(chain, DeadLetter(c.Letters, c.deadLetterOptions()...))
	}
	if c.Idempotency != nil {
		chain = append(chain, Idempotent(c.Idempotency, c.idempotentOptions()...))
	}
	if c.Retry == nil {
		c.Retry = Exponential{}
	}
	chain = append(chain, Retry(c.Retry))
	if c.Timeout != 0 {
		chain = append(chain, Timeout(c.Timeout))
	}
	return append(chain, Recover())
}

func (c StandardConfig) deadLetterOptions() (opts []DeadLetterOption) {
	if c.Followers != "" {
		opts = append(opts, WithPolicy(c.Followers))
	}
	if c.Logger != nil {
		opts = append(opts, WithLogger(c.Logger))
	}
	return opts
}

func (c StandardConfig) idempotentOptions() (opts []IdempotentOption) {
	if c.Logger != nil {
		opts = append(opts, WithLogger(c.Logger))
	}
	return opts
}
