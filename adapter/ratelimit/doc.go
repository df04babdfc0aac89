// Package ratelimit is middleware that limits how many attempts a stage begins in a time, for the whole
// stage or for each key, by golang.org/x/time/rate:
//
//	stage.Handle(Orders, "notify", notify,
//		stage.Use(ratelimit.New(ratelimit.Rate{Events: 100, Per: time.Second, Burst: 20})))
//
// An event that must wait is given its time at once and is parked until then, in its place in its key: no
// worker, no goroutine and no asking again. No attempt is counted. An event that ends meanwhile in another
// way leaves its time unused.
package ratelimit
