// Package redisstore remembers completed events in Redis: an [idempotency.Store] that any number of processes
// share and that outlives them.
//
//	done, err := redisstore.Open(ctx, "redis://localhost:6379/0", redisstore.Config{Prefix: "shop:"})
//	if err != nil { … }
//	defer done.Close() // after the pipeline has ended
//	p.Use(middleware.Idempotent(done), …)
//
// # What it does
//
// Each key is one hash with a time to live, and each operation one script on that key, so it works in a
// cluster and costs one round trip. A claim names its holder, and the script gives a holder its own
// claim again: when the reply was lost, the client or the middleware asks again, and neither takes the first try for
// somebody else's, as a repeated SETNX does. Leases and retention run by the server's clock, so those of the clients
// need not agree.
//
// While Redis is down, events wait and are tried again: middleware.Idempotent fails closed, unless
// middleware.FailOpen says otherwise.
//
// # What it cannot do
//
// It is no [idempotency.Transactor]: the handler's effect is elsewhere, so a crash between the effect and the mark has the event
// handled again after the lease. And it remembers as long as Redis does: a failover to a replica that was behind, or a
// restart without persistence, forgets the newest marks in silence. Who held a claim that was forgotten is told so, by
// [idempotency.ErrLost], and tokens go on growing. With appendonly yes and appendfsync always a server forgets nothing
// that it has answered, at the price of a disk write for each operation. Eviction would too: Open refuses a server that is
// set to evict, unless Config.AllowEviction.
package redisstore
