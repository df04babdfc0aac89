package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/runnel-go/runnel/idempotency"
)

// loan is a transaction that a handler has.
type loan struct {
	store *Idempotency
	tx    *sql.Tx
}

type loanKey struct{}

// Tx is the transaction of a handler under middleware.InTx, where the mark of its event commits. It is nil
// outside of one: an event whose producer gave no identity has none. The store commits it when the handler
// returns nil or stage.Skip, and rolls it back otherwise; a handler that ends it itself has failed with
// idempotency.ErrRefused. It is valid until the handler returns.
func Tx(ctx context.Context) *sql.Tx {
	if l, ok := ctx.Value(loanKey{}).(*loan); ok {
		return l.tx
	}
	return nil
}

// errEnded is a transaction that is over before its handler was.
var errEnded = errors.New("the transaction was over before the handler was: a statement that SQLite interrupted or that failed with ROLLBACK " +
	"took it along, or the handler ended it itself; return the error of every statement, and leave Commit and Rollback to the store")

// InTx implements idempotency.Transactor. The mark is written first, so that whatever the handler does with the
// transaction, its writes and the mark have one fate; other connections see neither before the commit. Others
// that write wait from here to the commit.
func (s *Idempotency) InTx(ctx context.Context, c idempotency.Claim, f func(context.Context) error) (err error) {
	if err := s.wait(ctx, "transaction"); err != nil {
		return err
	}
	defer s.leave()
	free := context.Background() // a transaction ends with its context, and this one must not
	conn, err := s.marks.Conn(free)
	if err != nil {
		return s.fault("transaction", err)
	}
	defer func() { _ = conn.Close() }() // it gives it back
	tx, err := conn.BeginTx(free, nil)
	if err != nil {
		return s.fault("transaction", err)
	}
	s.at.Store(&c)
	defer s.at.Store(nil)
	defer rollback(conn, tx) // after a commit it does nothing
	if err := s.mark(tx, c); err != nil {
		return err
	}
	if err := f(context.WithValue(ctx, loanKey{}, &loan{s, tx})); err != nil {
		return err
	}
	return s.commit(tx, c)
}

func (s *Idempotency) mark(tx *sql.Tx, c idempotency.Claim) error {
	n, err := changed(tx.Stmt(s.stmts[sqlKeyDone]).Exec(blob(c.Key.Stage), blob(c.Key.ID), int64(c.Token), //nolint:gosec // a time
		micros(time.Now().Add(s.config.Retention))))
	switch {
	case err != nil:
		return s.fault("transaction", err)
	case n == 0:
		return idempotency.ErrLost
	}
	return nil
}

// commit commits what the handler wrote and the mark. Where SQLite says that it failed, the file is asked.
func (s *Idempotency) commit(tx *sql.Tx, c idempotency.Claim) error {
	// SQLite may have rolled back by itself, and what came after would commit statement by statement: there
	// is a transaction exactly when another cannot begin in it.
	if _, err := tx.Exec("BEGIN"); err == nil || code(err) != sqlite3.SQLITE_ERROR {
		return s.refused(errors.Join(errEnded, err))
	}
	err := tx.Commit()
	if err == nil {
		return nil
	}
	if committed, unsure := s.committed(c); unsure == nil && committed {
		return nil
	}
	if code(err) == sqlite3.SQLITE_CONSTRAINT {
		return s.refused(err)
	}
	return s.fault("commit", err)
}

func (s *Idempotency) refused(err error) error {
	return fmt.Errorf("%w: %w", idempotency.ErrRefused, s.fault("commit", err))
}

// committed reports whether the mark of c is in the file.
func (s *Idempotency) committed(c idempotency.Claim) (is bool, err error) {
	err = s.reader.QueryRow(`SELECT state = 2 AND token = ?3 FROM runnel_idempotency WHERE stage = ?1 AND id = ?2`,
		blob(c.Key.Stage), blob(c.Key.ID), int64(c.Token)).Scan(&is) //nolint:gosec // a time
	return is, err
}

// rollback ends a transaction that was not committed. A connection on which that fails is closed: what is
// left of the transaction goes with it.
func rollback(conn *sql.Conn, tx *sql.Tx) {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}
