package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

// IdempotencyConfig says how long an Idempotency remembers. The zero value is fit for production.
type IdempotencyConfig struct {
	// Retention is the window: how long a completed key is a duplicate. Default 24 hours.
	Retention time.Duration
	// Timeout bounds how long a call waits for others that write to the file: for the handlers of this
	// process that have a transaction, and for another process. Default 10 seconds.
	Timeout time.Duration
	// Sweep is how often keys whose retention ended are removed; see Idempotency.Sweep. Default a minute;
	// negative: never by itself.
	Sweep time.Duration
	// Logger is told of a removal that failed, which is tried again. Default slog.Default.
	Logger *slog.Logger
}

func (c IdempotencyConfig) filled() IdempotencyConfig {
	if c.Retention <= 0 {
		c.Retention = 24 * time.Hour
	}
	if c.Timeout <= 0 {
		c.Timeout = busyLimit
	}
	fill(&c.Sweep, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Idempotency is an idempotency.Transactor in a SQLite file of yours, beside your own tables: with
// middleware.InTx a handler writes in the transaction that the mark commits in, which Tx gives it.
//
// SQLite has one writer at a time, so handlers that have a transaction run one after the other, whatever
// the workers, also those of other processes and of other stages on the file; and while one runs, a new key
// waits to be claimed. Keep such handlers short: what is slow is done before, by a stage without InTx. A
// duplicate is recognised without waiting. An event whose turn does not come within the config's Timeout
// gives its worker back, and is tried again without counting an attempt.
//
// It is safe for concurrent use, and any number of processes may have the file open. It owns a goroutine,
// which Close ends.
type Idempotency struct {
	path   string
	config IdempotencyConfig
	reader *sql.DB // looks without waiting for a writer
	claims *sql.DB // of one connection that does not wait for the disk: a claim need not outlive a power cut
	marks  *sql.DB // of one connection that does
	stmts  map[string]*sql.Stmt
	// turn has room for one: who has put something in writes. It spares this process's own calls the
	// waiting for a lock by looking again and again, and queues them.
	turn    chan struct{}
	at      atomic.Pointer[idempotency.Claim] // whose transaction is open in this process
	removed atomic.Uint64
	closing chan struct{}
	swept   sync.WaitGroup
	close   sync.Once
	closed  error
}

var _ idempotency.Transactor = (*Idempotency)(nil)

// schemaIdempotency is the one table, with texts as blobs and times as microseconds since 1970. Row until
// is when the lease of a claim ends; keep is from when on the row may go. A released key stays for a while,
// so that the next token is above the last one.
const schemaIdempotency = `
CREATE TABLE IF NOT EXISTS runnel_idempotency (
	stage BLOB NOT NULL, id BLOB NOT NULL, state INTEGER NOT NULL, token INTEGER NOT NULL, until INTEGER NOT NULL,
	keep INTEGER NOT NULL, holder INTEGER NOT NULL, digest INTEGER NOT NULL, PRIMARY KEY (stage, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runnel_idempotency_keep ON runnel_idempotency (keep);`

// OpenIdempotency opens the database at path, which is made when there is none, and adds the table
// runnel_idempotency to it. Path names your own database, where handlers write; the file of a Store has no
// place for it and is refused with ErrForeign, so that a letter never waits for a handler. The file is put
// into WAL mode, and foreign keys hold in the handlers' transactions.
//
// Do not open the file with another SQLite library in the same process: closing it takes this one's locks
// away. That of modernc.org/sqlite is this one.
func OpenIdempotency(ctx context.Context, path string, config IdempotencyConfig) (*Idempotency, error) {
	path, err := locate(path)
	if err != nil {
		return nil, err
	}
	s := &Idempotency{path: path, config: config.filled(), turn: make(chan struct{}, 1), closing: make(chan struct{}), stmts: map[string]*sql.Stmt{}}
	if err := s.open(ctx); err != nil {
		_ = s.closeFiles() // it has nothing to add
		return nil, err
	}
	if s.config.Sweep > 0 {
		s.swept.Go(s.sweep)
	}
	return s, nil
}

func (s *Idempotency) open(ctx context.Context) (err error) {
	if s.marks, err = s.connections("rwc", 1, url.Values{"_txlock": {"immediate"}}); err != nil {
		return err
	}
	if err := s.create(); err != nil {
		return err
	}
	if s.claims, err = s.connections("rw", 1, url.Values{"_txlock": {"immediate"}, "_synchronous": {"NORMAL"}}); err != nil {
		return err
	}
	if s.reader, err = s.connections("rw", readers, url.Values{"_query_only": {"1"}}); err != nil {
		return err
	}
	for query, db := range map[string]*sql.DB{sqlKeyFind: s.reader, sqlKeyTake: s.claims, sqlKeyKeep: s.claims, sqlKeyFree: s.claims, sqlKeyForget: s.claims, sqlKeyDone: s.marks} {
		if s.stmts[query], err = db.PrepareContext(context.Background(), query); err != nil {
			return faultOf("open", s.path, err)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("sqlitestore: open: %s: %w", s.path, context.Cause(ctx))
	}
	return nil
}

// connections opens up to most connections, and looks whether SQLite took their settings.
func (s *Idempotency) connections(mode string, most int, more url.Values) (*sql.DB, error) {
	more.Set("_busy_timeout", strconv.FormatInt(s.config.Timeout.Milliseconds(), 10))
	db, err := sql.Open("sqlite", durable(s.path, mode, more))
	if err != nil {
		return nil, faultOf("open", s.path, err)
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	conn, err := connect(db)
	if err != nil {
		return nil, errors.Join(faultOf("open", s.path, err), db.Close())
	}
	if err := errors.Join(checkSettings(s.path, conn, more), conn.Close()); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// create adds the table, unless the file is that of a Store.
func (s *Idempotency) create() error {
	tx, err := s.marks.BeginTx(context.Background(), nil)
	if err != nil {
		return faultOf("open", s.path, err)
	}
	defer func() { _ = tx.Rollback() }() // it may have been committed
	var id int
	if err := ask(tx, "PRAGMA application_id", &id); err != nil {
		return faultOf("open", s.path, err)
	}
	if id == applicationID {
		return fmt.Errorf("%w: open: %s: it is a dead-letter store's; name the database that your handlers write to", ErrForeign, s.path)
	}
	if _, err := tx.Exec(schemaIdempotency); err != nil {
		return faultOf("open", s.path, err)
	}
	return faultOf("open", s.path, tx.Commit())
}

// Close ends the store once the transaction that is open is over, and closes the file. Calls that come later
// return ErrClosed.
func (s *Idempotency) Close() error {
	s.close.Do(func() {
		close(s.closing)
		s.swept.Wait()
		s.turn <- struct{}{} // and nobody's any more
		if err := s.closeFiles(); err != nil {
			s.closed = fmt.Errorf("sqlitestore: close: %s: %w", s.path, err)
		}
	})
	return s.closed
}

func (s *Idempotency) closeFiles() error {
	err := closeStatements(s.stmts)
	for _, db := range []*sql.DB{s.reader, s.claims, s.marks} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

func (s *Idempotency) fault(what string, err error) error {
	select {
	case <-s.closing:
		if err != nil && code(err) == 0 {
			return ErrClosed
		}
	default:
	}
	return faultOf(what, s.path, err)
}
