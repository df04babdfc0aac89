// Package sqlitestore keeps dead letters in a SQLite file: a [deadletter.Store] that outlives its
// process, needs no server, and may be open in any number of processes of one machine at once, such as
// a service and the maintenance job that drains its letters.
//
//	letters, err := sqlitestore.Open(ctx, "letters.db", sqlitestore.Config{})
//	if err != nil { … }
//	defer letters.Close() // after the pipeline has ended
//
// # Durability
//
// What Put and Divert acknowledged is flushed to the disk: the file is in WAL mode with synchronous FULL,
// and Open refuses to work when SQLite does not take these. A kill loses nothing that was acknowledged;
// of each caller that was waiting, the letter may be there or not, and putting it again says which. One
// goroutine writes. It collects the writes that wait into one transaction, so that many callers share a
// flush: 25 to 40 µs a letter when 256 come at once to a small file, 110 µs to one of 3 million letters with
// random ids, and as long as the disk flushes when one comes alone. A write does not end with its caller's context.
//
// When the disk is full or another process keeps the file locked for more than 10 seconds, a write fails
// ([ErrDiskFull], [ErrBusy]) and nothing of it is stored; the pipeline keeps the event in its place and
// tries again. Redriving deletes letters, which needs room too, so keep some in reserve.
//
// # Several processes
//
// Whether a sequence is held is decided in the file: a letter is diverted, and "the last letter is gone"
// is seen, in transactions that exclude each other, in all processes. Leases run by the machine's clock,
// which all of them share, and are fenced by a token that grows with every claim.
//
// MayHold answers from memory: it has every sequence that this store knows to be held, at once for what
// goes through this store, and within [Config.Watch] (100 ms) for what others put, restored or imported. A
// sequence that another process emptied is open with the next event of its key, which asks the file. So a
// running program goes on with a key that a maintenance job drained, and parks one that an operator's
// restore filled; only events of the last 100 ms may have gone past that. Run each key's lane in one process
// at a time, as one does anyway: two of them have no order between them.
//
// # Operations
//
// The store keeps operations ([deadletter.Operations]): what an operator's command asks for is done by
// whichever process has a [deadletter.Redriver] for the stage, with counts that are exact over crashes, since
// they change in the transaction that changes the letter.
//
// # Events done once
//
// [OpenIdempotency] remembers completed events in a SQLite file of yours, for middleware.Idempotent. With middleware.InTx
// a handler writes in the transaction that the mark commits in, so its effect happens once:
//
//	done, err := sqlitestore.OpenIdempotency(ctx, "shop.db", sqlitestore.IdempotencyConfig{})
//	…
//	p.Use(middleware.Idempotent(done, middleware.InTx()), …)
//	… stage.Handle(orders, "charge", func(ctx context.Context, e event.Event[order]) error {
//		_, err := sqlitestore.Tx(ctx).ExecContext(ctx, "INSERT INTO charges …")
//		return err
//	})
//
// A handler has the file's one writer while it runs: see [Idempotency] for what that costs. It is another file than that
// of the letters, which never wait for it.
//
// # Limits and retention
//
// [Config] bounds letters, sequences, letters of a sequence and bytes of a letter; a full store refuses
// what is new, and the pipeline keeps it. Letters that were discarded are removed when nobody restored
// them for Config.Retention, by Open and by [Store.Sweep], which a process that runs for weeks calls now
// and then. What was removed is logged and counted in Stats. Nothing else is ever removed by age; that is
// what Purge is for.
//
// # Ten million letters
//
// List, Groups, Stats, Get, Claim, Head and Divert go by an index or a counter, never through all
// letters: with 3 million of them in 1.2 million sequences, Groups and Stats took 3 ms, the first 50
// letters of a List 1 to 8 ms, and the others less than one. A search for a part of an error's text reads the errors of all letters that the rest of the
// filter selects. Times are kept to the microsecond where they are compared (DeadAt, UpdatedAt), else to
// the nanosecond, and come back in UTC. A payload that could not be encoded (deadletter.Letter.Value) is
// not kept.
//
// # The file
//
// Put it on a local disk: SQLite's locks and its WAL do not work over a network. It has two companions,
// the file's name with -wal and -shm, while it is open. Copying it alone misses what is in the WAL: make a
// backup with
//
//	sqlite3 letters.db "VACUUM INTO 'backup.db'"
//
// and do not open the file with anything but SQLite while a store has it open in the same process:
// closing it takes SQLite's locks away. The space of removed letters is used again; VACUUM gives it back
// to the disk. Counters are kept right for rows that are deleted or changed with a shell; rows are
// inserted by this package only.
//
// The schema has a version. Open brings an older one up to date, in one transaction, and refuses a newer
// one, another program's database, and a file that is damaged or cannot be written, with an error that
// names the file and the mend. It never makes a new file in the place of a bad one.
package sqlitestore
