// Package pgstore keeps dead letters, and the redrives asked for, in a schema of a PostgreSQL database: a
// [deadletter.RedriveStore] that outlives its process and may be open in any number of processes, on any
// number of machines, at once.
//
//	letters, err := pgstore.Open(ctx, "postgres://runnel@db/shop", pgstore.Config{})
//	if err != nil { … }
//	defer letters.Close() // after the pipeline has ended
//
// # Durability
//
// What Put and Divert acknowledged was flushed to the server's disk: every commit is synchronous, whatever the
// defaults of the server, the database and the user are, and Open refuses a server that does not flush
// (fsync or full_page_writes off). One goroutine writes. It collects the writes that wait into one
// transaction, which costs two round trips and one flush however many they are. A write does not end with its
// caller's context.
//
// A transaction whose connection is lost runs again. When that was the answer to its commit, the store asks,
// by what the transaction itself left, whether it was done: it is neither done twice nor reported as failed.
// A server that cannot be asked for 30 seconds is [ErrUnknown].
//
// # Several processes
//
// Every transaction that writes locks one row first. So what it decides it decides against all other
// processes, and two never wait for each other in a circle. A process that is stopped while it has the lock
// loses it after 10 seconds ([ErrBusy] is what others get meanwhile), and does its work again when it comes
// back. Leases run by the server's clock and are fenced by a token that grows with every claim.
//
// MayHold answers from memory: it has every sequence that this store knows to be held, at once for what goes
// through this store, and within [Config.Watch] (100 ms) for what others put, restored or imported. One that
// another process emptied is open with the next event of its key, which asks the server.
//
// A drain has the next letter of its sequence together with the answer to what it did with the last one. It
// may overlook what an operator did to that letter in the 20 milliseconds between.
//
// # Limits and retention
//
// [Config] bounds letters, sequences, letters of a sequence and bytes of a letter; a full store refuses what
// is new, and the pipeline keeps it. Letters that were discarded are removed when nobody restored them for
// Config.Retention, by Open and by [Store.Sweep], which a process that runs for weeks calls now and then. What
// was removed is logged and counted in Stats.
//
// # Ten million letters
//
// List, Groups, Stats, Get, Claim, Head and Divert go by an index or a counter, never through all letters. A
// search for a part of an error's text reads the errors of all letters that the rest of the filter selects.
// Times are kept to the microsecond where they are compared (DeadAt, UpdatedAt), else to the nanosecond, and
// come back in UTC. A payload that could not be encoded (deadletter.Letter.Value) is not kept.
//
// # The schema
//
// Texts and payloads are bytea: every byte survives. The schema has a version. Open brings an older one up to
// date, in one transaction, and refuses a newer one, another program's, and one that lacks a part, with an
// error that names it and the mend. The counters beside the letters are this package's: change letters with it
// or with the operator's command, not in SQL. PostgreSQL 13 or newer; a pooler between must keep sessions.
//
// # Events done once
//
// [OpenIdempotency] remembers completed events in a table of your database, on a pool of yours, for
// middleware.Idempotent. With middleware.InTx a handler writes in the transaction that the mark commits in, which [Tx]
// gives it, so its effect happens once.
package pgstore
