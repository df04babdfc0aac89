package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// settings are those of the writer's connection. They bound how long a transaction waits for another process's
// lock, how long a statement takes, and how long a process that was stopped in the middle of its transaction
// keeps the lock from all others: the server ends that one, and it begins anew when it comes back.
var settings = map[string]string{
	"lock_timeout":                        "10s",
	"statement_timeout":                   "30s",
	"idle_in_transaction_session_timeout": "10s",
}

// commitMode makes a commit durable when it is acknowledged, whatever the default of the server, the database
// or the user is; a crash test weakens it to see that it is missed.
var commitMode = "on"

func newWriter(s *Store, c *pgx.ConnConfig) *writer {
	w := &writer{store: s, config: c, queue: make(chan *write)}
	w.ending, w.end = context.WithCancel(context.Background())
	w.id = pgtype.UUID{Valid: true}
	_, _ = rand.Read(w.id.Bytes[:]) // it never fails
	return w
}

// dial connects, and looks whether the server keeps what it acknowledges.
func (w *writer) dial(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, w.config)
	if err != nil {
		return nil, err
	}
	err = w.store.settle(ctx, conn)
	for name, value := range settings {
		if _, given := w.config.RuntimeParams[name]; err == nil && !given { // in the DSN
			_, err = conn.Exec(ctx, "SELECT set_config($1, $2, false)", name, value)
		}
	}
	if err == nil {
		err = secure(ctx, conn)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

// secure has the server flush every commit before it acknowledges it, reads that back, and refuses a server
// that does not.
func secure(ctx context.Context, conn *pgx.Conn) error {
	var mode, fsync, pages string
	var standby bool
	// Waiting for a standby to apply is more than was asked for, and stays.
	err := conn.QueryRow(ctx, `SELECT set_config('synchronous_commit',
			CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE $1 END, false),
		current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery()`, commitMode).
		Scan(&mode, &fsync, &pages, &standby)
	switch {
	case err != nil:
		return err
	case standby:
		return fmt.Errorf("%w: open: it is a standby; name the primary", ErrReadOnly)
	case fsync != "on":
		return fmt.Errorf("%w: open: fsync = %s: letters are lost when its machine stops; set it to on", ErrLossy, fsync)
	case pages != "on":
		return fmt.Errorf("%w: open: full_page_writes = %s: pages are torn when its machine stops; set it to on", ErrLossy, pages)
	case mode != commitMode && mode != "remote_apply":
		return fmt.Errorf("%w: open: synchronous_commit = %s and cannot be set to %s", ErrLossy, mode, commitMode)
	}
	return nil
}

// hangUp takes back the row that the writer's commits left, and closes its connection.
func (w *writer) hangUp() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if w.serial > 0 && !w.conn.IsClosed() {
		_, _ = w.conn.Exec(ctx, sqlForget, w.id) // if it stays, another store removes it
	}
	_ = w.conn.Close(ctx) // the server sees it in any case
	w.conn = nil
}
