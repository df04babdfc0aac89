// Package breaker is a circuit breaker around what stages depend on, by github.com/sony/gobreaker: after a number
// of failures in a row it opens, and no attempt is made until it has cooled down.
//
//	payments := breaker.New("payments", breaker.Config{Failures: 5, Cooldown: 30 * time.Second})
//	stage.Handle(Orders, "charge", charge, stage.Use(payments.Middleware(), middleware.Timeout(time.Second), middleware.Recover()))
//	stage.Handle(Refunds, "refund", refund, stage.Use(payments.Middleware(), middleware.Timeout(time.Second), middleware.Recover()))
//
// A breaker stands outside of Timeout and Recover, whose errors are its failures. So a stage that has one gets
// those two from stage.Use as well, and not from the pipeline's Use, which stands outside of the breaker.
//
// An event that comes to an open breaker is parked in its place in its key until the breaker may close: its
// handler is not called, no attempt is counted, and no worker waits. So an outage of any length uses up
// nobody's attempts and makes no dead letters beyond those of the failures that opened the breaker.
package breaker
