package sqlitestore_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
	"github.com/runnel-go/runnel/event"
)

// batch is how many letters an iteration of the benchmarks stores, or takes.
const batch = 256

// The benchmarks set the store against what a program would write that uses the driver directly: the same
// columns, the same settings, one transaction for a whole batch, and the two indexes without which it could
// neither tell a letter that it has from a new one nor find the head of a sequence.

func BenchmarkPut(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		put, _ := storePuts(b)
		for n := 0; b.Loop(); n++ {
			put(n)
		}
		perLetter(b)
	})
	b.Run("driver", func(b *testing.B) {
		put, _ := driverPuts(b)
		for n := 0; b.Loop(); n++ {
			put(n)
		}
		perLetter(b)
	})
	// In turn, so that the disk's moods hit both.
	b.Run("ratio", func(b *testing.B) {
		ours, _ := storePuts(b)
		theirs, _ := driverPuts(b)
		ratio(b, ours, theirs)
	})
}

func ratio(b *testing.B, ours, theirs func(n int), before ...func(n int)) {
	b.Helper()
	var us, them time.Duration
	for n := 0; b.Loop(); n++ {
		for _, prepare := range before {
			prepare(n)
		}
		start := time.Now()
		ours(n)
		middle := time.Now()
		theirs(n)
		us, them = us+middle.Sub(start), them+time.Since(middle)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(us)/float64(them), "x-driver")
	b.ReportMetric(float64(us.Microseconds())/float64(b.N*batch), "µs/letter")
}

func perLetter(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/letter")
}

// sample is letter i: a payload of 200 bytes, of one of 64 keys and 4 causes.
func sample(i int) *deadletter.Letter {
	key, id := fmt.Sprintf("customer-%d", i%64), fmt.Sprintf("order-%09d", i)
	return &deadletter.Letter{
		Stage: "charge", Topic: "orders", Key: key, Ordered: true, Holds: true,
		EventID: id, GivenID: id, Origin: 12345678901, TopicKey: key, Seq: uint64(i), Time: time.Now(),
		Header: event.Header{"trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, Payload: make([]byte, 200), Codec: "json",
		Reason: deadletter.Exhausted, Error: "card service: 503 service unavailable", ErrorType: "*card.Error",
		Causes:      []deadletter.Cause{{Type: "*card.Error", Text: "card service: 503 service unavailable"}},
		Fingerprint: fmt.Sprintf("%08x", i%4), Attempts: 5,
		History: []deadletter.Attempt{{Number: 1, At: time.Now(), Error: "503"}, {Number: 2, At: time.Now(), Error: "503"}},
	}
}

func storePuts(b *testing.B) (put func(n int), s *sqlitestore.Store) {
	b.Helper()
	s = open(b, filepath.Join(b.TempDir(), "letters.db"), sqlitestore.Config{MaxPerSequence: -1})
	return func(n int) {
		var all sync.WaitGroup
		for i := range batch {
			all.Go(func() {
				if _, err := s.Put(context.Background(), sample(n*batch+i)); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}, s
}

const driverSchema = `
CREATE TABLE letters (n INTEGER PRIMARY KEY AUTOINCREMENT, stage BLOB, key BLOB, topic BLOB, ordered, holds, event_id BLOB,
	given_id BLOB, origin, topic_key BLOB, seq, time, header BLOB, payload BLOB, codec BLOB, follower, reason BLOB, error BLOB,
	error_type BLOB, causes BLOB, fingerprint BLOB, stack BLOB, attempts, history BLOB, redrives, state BLOB, dead_at,
	updated_at, notes BLOB, original BLOB);
CREATE UNIQUE INDEX by_event ON letters (stage, event_id);
CREATE INDEX by_sequence ON letters (stage, key, n);`

const driverInsert = `INSERT INTO letters (stage, key, topic, ordered, holds, event_id, given_id, origin, topic_key, seq, time, header,
	payload, codec, follower, reason, error, error_type, causes, fingerprint, stack, attempts, history, redrives, state, dead_at,
	updated_at, notes, original) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT DO NOTHING`

func driver(b *testing.B) *sql.DB {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "driver.db")+
		"?_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if _, err := db.Exec(driverSchema); err != nil {
		b.Fatal(err)
	}
	return db
}

func driverPuts(b *testing.B) (put func(n int), db *sql.DB) {
	b.Helper()
	db = driver(b)
	insert, err := db.Prepare(driverInsert)
	if err != nil {
		b.Fatal(err)
	}
	return func(n int) {
		tx, err := db.Begin()
		if err != nil {
			b.Fatal(err)
		}
		stmt := tx.Stmt(insert)
		for i := range batch {
			if _, err := stmt.Exec(driverArgs(sample(n*batch + i))...); err != nil {
				b.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
	}, db
}

func driverArgs(l *deadletter.Letter) []any {
	now := time.Now().UnixMicro()
	return []any{
		l.Stage, l.Key, l.Topic, l.Ordered, l.Holds, l.EventID, l.GivenID, int64(l.Origin), l.TopicKey, int64(l.Seq), l.Time.UnixNano(),
		[]byte(l.Header["trace"]), l.Payload, l.Codec, l.Follower, string(l.Reason), l.Error, l.ErrorType, []byte(l.Causes[0].Text),
		l.Fingerprint, l.Stack, l.Attempts, []byte("503503"), l.Redrives, "active", now, now, []byte{}, nil,
	}
}

// BenchmarkDrain takes letters out again, in order: the store by a claim for each sequence, and a durable
// commit for each letter that succeeded, 64 sequences at once; the driver by a durable delete for each
// letter, 64 in a transaction, after it read them in pages: the most that it can share without removing
// letters that were not handled yet.
func BenchmarkDrain(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		fill, drain, s := storeDrains(b)
		before := s.Commits()
		drains(b, fill, drain)
		b.ReportMetric(float64(s.Commits()-before)/float64(b.N), "commits/op")
	})
	b.Run("driver", func(b *testing.B) {
		fill, drain := driverDrains(b)
		drains(b, fill, drain)
	})
	b.Run("ratio", func(b *testing.B) {
		fillOurs, ours, _ := storeDrains(b)
		fillTheirs, theirs := driverDrains(b)
		ratio(b, func(int) { ours() }, func(int) { theirs() }, fillOurs, fillTheirs)
	})
}

func drains(b *testing.B, fill func(n int), drain func()) {
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		fill(n)
		b.StartTimer()
		drain()
	}
	perLetter(b)
}

func storeDrains(b *testing.B) (fill func(n int), drain func(), s *sqlitestore.Store) {
	b.Helper()
	fill, s = storePuts(b)
	target := deadlettertest.NewTarget(s, 0, func(context.Context, deadletter.Letter) error { return nil })
	return fill, func() {
		r, err := deadletter.Drain(context.Background(), s, target, deadletter.DrainOptions{Parallel: 64})
		if err != nil || r.Succeeded != batch {
			b.Fatal(r, err)
		}
	}, s
}

func driverDrains(b *testing.B) (fill func(n int), drain func()) {
	put, db := driverPuts(b)
	list, err := db.Prepare("SELECT * FROM letters ORDER BY n LIMIT 64")
	if err != nil {
		b.Fatal(err)
	}
	remove, err := db.Prepare("DELETE FROM letters WHERE n = ?")
	if err != nil {
		b.Fatal(err)
	}
	return put, func() {
		for range batch / 64 {
			drainPage(b, db, list, remove)
		}
	}
}

func drainPage(b *testing.B, db *sql.DB, list, remove *sql.Stmt) {
	b.Helper()
	rows, err := list.Query()
	if err != nil {
		b.Fatal(err)
	}
	var all []int64
	columns := make([]any, 30)
	for i := range columns {
		columns[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(columns...); err != nil {
			b.Fatal(err)
		}
		all = append(all, (*columns[0].(*any)).(int64))
	}
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range all {
		if _, err := tx.Stmt(remove).Exec(n); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil || len(all) != 64 {
		b.Fatal(err, len(all))
	}
}
