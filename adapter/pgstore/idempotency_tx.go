package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-go/runnel/idempotency"
)

type txKey struct{}

// Tx is the transaction of a handler under middleware.InTx, where the mark of its event commits. It is nil
// outside of one: an event whose producer gave no identity has none. The store commits it when the handler
// returns nil or stage.Skip, and rolls it back otherwise; its own Commit and Rollback refuse. Begin makes a savepoint.
// It is valid until the handler returns.
func Tx(ctx context.Context) pgx.Tx {
	if l, ok := ctx.Value(txKey{}).(lent); ok {
		return l
	}
	return nil
}

// lent is a transaction that a handler has and does not end.
type lent struct{ pgx.Tx }

var errNotYours = errors.New("pgstore: the transaction is the store's to end: return nil to commit it, an error to roll it back")

func (lent) Commit(context.Context) error { return errNotYours }

func (lent) Rollback(context.Context) error { return errNotYours }

// InTx implements idempotency.Transactor. The mark is written last, so others find the key busy while the
// handler runs and do not wait for it. The transaction is read committed.
func (s *Idempotency) InTx(ctx context.Context, c idempotency.Claim, f func(context.Context) error) error {
	begin, cancel := s.limited(ctx)
	tx, err := s.pool.BeginTx(begin, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	cancel()
	if err != nil {
		return s.fault("transaction", err)
	}
	free := context.WithoutCancel(ctx)
	defer func() { // after a commit it does nothing
		end, cancel := s.limited(free)
		defer cancel()
		_ = tx.Rollback(end) // a connection on which it fails is closed, which does it too
	}()
	if err := f(context.WithValue(ctx, txKey{}, lent{tx})); err != nil {
		return err
	}
	if status := tx.Conn().PgConn().TxStatus(); status != 'T' {
		return fmt.Errorf("%w: table %s: the transaction is over or failed (status %c): return the error of every statement", idempotency.ErrRefused, s.table, status)
	}
	return s.commit(free, tx, c)
}

// commit writes the mark and commits. Where the answer is lost, the server is asked.
func (s *Idempotency) commit(ctx context.Context, tx pgx.Tx, c idempotency.Claim) error {
	end, cancel := s.limited(ctx)
	defer cancel()
	tag, err := tx.Exec(end, s.sql(sqlKeyDone), keyOf(c.Key), int64(c.Token), s.config.Retention.Microseconds()) //nolint:gosec // a time
	if err != nil {
		return s.fault("mark", err)
	}
	if tag.RowsAffected() == 0 {
		return idempotency.ErrLost
	}
	err = tx.Commit(end)
	var said *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said) && strings.HasPrefix(said.Code, "23"), errors.Is(err, pgx.ErrTxCommitRollback):
		return fmt.Errorf("%w: %w", idempotency.ErrRefused, s.fault("commit", err))
	case said != nil && !slices.Contains(unsettled, said.Code[:min(2, len(said.Code))]): // the server says that it did not
		return s.fault("commit", err)
	}
	committed, unsure := s.committed(ctx, c)
	if committed {
		return nil
	}
	return s.fault("commit", errors.Join(err, unsure))
}

// unsettled are the classes of errors after which a commit may have happened: the connection, an operator, the
// system, the server itself.
var unsettled = []string{"08", "57", "58", "XX"}

// committed reports whether the mark of c is there. A transaction that still goes on at the server has the
// row's lock, so this waits until it is decided.
func (s *Idempotency) committed(ctx context.Context, c idempotency.Claim) (is bool, err error) {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	err = s.pool.QueryRow(ctx, s.sql(`SELECT state = 2 AND token = $2 FROM ? WHERE key = $1 FOR UPDATE`), keyOf(c.Key), int64(c.Token)).Scan(&is) //nolint:gosec // a time
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return is, err
}
