package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// doubtLimit is how long the store asks what became of a commit. Tests shorten it.
var doubtLimit = 30 * time.Second

// errLost is a connection that ended.
var errLost = errors.New("pgstore: the connection was lost")

// ErrUnknown is a write whose commit the server did not answer, and that could not be asked about within 30
// seconds: it was done, or it was not. Putting a letter again says which; the letter of a redrive is still
// there if its end was not stored.
var ErrUnknown = errors.New("pgstore: the answer to a commit was lost, and the server cannot be asked")

// abandon ends a transaction that failed, and says whether the connection went with it.
func (w *writer) abandon(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn := w.conn
	if !conn.IsClosed() {
		if conn.PgConn().TxStatus() == 'I' {
			return err // the server ended it, or it never began
		}
		if _, failed := conn.Exec(ctx, "ROLLBACK"); failed == nil {
			return err
		}
	}
	w.conn = nil
	_ = conn.Close(ctx) // it is of no use any more
	return fmt.Errorf("%w: %w", errLost, err)
}

// resolveDoubt finds out what became of a commit whose answer was lost: nil when it was done, else a reason to
// do it again. Taking the lock waits for a transaction that is still on its way.
//
// It looks for what the transaction itself wrote, not at the state of its number: a server that lost it in a
// crash gives the number to another.
func (w *writer) resolveDoubt(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), doubtLimit)
	defer cancel()
	for i := 0; ; i++ {
		done, err := w.didCommit(ctx)
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			return cause
		case !passing(err) && !errors.Is(err, ErrBusy):
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		select {
		case <-time.After(backoff(min(i, 5))):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
}

func (w *writer) didCommit(ctx context.Context) (done bool, err error) {
	conn := w.conn
	if conn == nil {
		if conn, err = w.dial(ctx); err != nil {
			return false, err
		}
		w.conn = conn
	}
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	b.Queue(sqlLock)
	b.Queue(sqlDidCommit, w.id, w.serial).QueryRow(func(row pgx.Row) error { return row.Scan(&done) })
	b.Queue("COMMIT")
	if err = conn.SendBatch(ctx, b).Close(); err != nil {
		err = busy(w.abandon(err))
	}
	return done, err
}

// passing reports whether a transaction that failed so may be run again: the connection was lost, or the
// server ended it for a reason that passes. What the driver could not encode or read does not.
func passing(err error) bool {
	var refused *pgconn.PgError
	var failed *pgconn.ConnectError
	switch {
	case errors.Is(err, ErrUnknown):
		return false
	case errors.As(err, &refused):
		return passes(refused.Code)
	case errors.As(err, &failed):
		return true
	default:
		return errors.Is(err, errLost) && network(err)
	}
}

// network reports whether err came from the network, and not from the driver itself, which may give a
// connection up that it could not use.
func network(err error) bool {
	var e net.Error
	return errors.As(err, &e) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}
