package pgstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

const (
	operationColumns = `n, filter, selected, rate, most, parallel, who, why, at, state, succeeded, failed, blocked,
		untouched, stopped, started_at, ended_at, cancelled, owner, until, starts`
	sqlOperation     = "SELECT " + operationColumns + " FROM operations WHERE n = $1"
	leased           = " WHERE n = $1 AND starts = $2 AND open AND owner <> ''"
	sqlOperations    = "SELECT " + operationColumns + " FROM operations WHERE n < $1 ORDER BY n DESC LIMIT $2"
	sqlFailures      = "SELECT n, letter, stage, key, error FROM failures WHERE n > $1 AND operation = $3 ORDER BY n LIMIT $2"
	sqlTakeOperation = `SELECT n FROM operations WHERE open AND (owner = '' OR until <= clock_timestamp())
		AND ($1::bytea[] IS NULL OR stage = ANY ($1)) ORDER BY n LIMIT 1`
	sqlForgetOperations = `DELETE FROM operations WHERE NOT open AND n < (SELECT n FROM operations WHERE NOT open
		ORDER BY n DESC LIMIT 1 OFFSET $1)`
	sqlCountSuccess = "UPDATE operations SET succeeded = succeeded + 1 WHERE n = $1"
	sqlAddFailure   = `WITH f AS (INSERT INTO failures (n, operation, letter, stage, key, error)
			SELECT $1, n, $3, $4, $5, $6 FROM operations WHERE n = $2
			ON CONFLICT (operation, sha256(letter)) DO UPDATE SET error = excluded.error RETURNING n = $1 AS added)
		UPDATE operations AS o SET failed = o.failed + 1 FROM f WHERE o.n = $2 AND f.added`
)

// AddOperation implements deadletter.Operations.
func (s *Store) AddOperation(_ context.Context, o deadletter.Operation, owner string, lease time.Duration) (added deadletter.Operation, err error) {
	filter, err := o.Filter.MarshalBinary()
	if err != nil {
		return added, err
	}
	err = s.do(nothing, func(t *tx) error {
		n := t.next()
		_, err := t.exec(`INSERT INTO operations (n, stage, filter, selected, rate, most, parallel, who, why, at, state)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, n, blob(o.Filter.Stage), filter, o.Selected, o.Rate, o.Limit,
			o.Parallel, blob(o.Who), blob(o.Why), packTime(o.At), blob(string(deadletter.OperationRequested)))
		if err == nil && owner != "" {
			err = t.take(n, owner, lease)
		}
		if err == nil {
			_, err = t.exec(sqlForgetOperations, deadletter.MaxEnded)
		}
		if err == nil {
			added, err = s.readOperation(t.row(sqlOperation, n))
		}
		return err
	})
	return added, err
}

func (t *tx) take(n int64, owner string, lease time.Duration) error {
	_, err := t.exec(`UPDATE operations SET state = $2, owner = $3, starts = starts + 1,
		until = clock_timestamp() + $4 * interval '1 microsecond', started_at = coalesce(started_at, clock_timestamp())
		WHERE n = $1`, n, blob(string(deadletter.OperationRunning)), blob(owner), lease.Microseconds())
	return err
}

// Operation implements deadletter.Operations.
func (s *Store) Operation(ctx context.Context, id string) (deadletter.Operation, error) {
	n, ok := s.operation(id)
	if !ok {
		return deadletter.Operation{}, deadletter.ErrNotFound
	}
	o, err := s.readOperation(s.pool.QueryRow(ctx, sqlOperation, n))
	if errors.Is(err, deadletter.ErrNotFound) {
		return o, err
	}
	return o, s.fault("operation", err)
}

// Operations implements deadletter.Operations. It reads a page at a time.
func (s *Store) Operations(ctx context.Context) iter.Seq2[deadletter.Operation, error] {
	return pages(ctx, s, math.MaxInt64, sqlOperations, nil,
		func(row pgx.Row) (o deadletter.Operation, n int64, err error) {
			o, err = s.readOperation(row)
			n, _ = s.operation(o.ID)
			return o, n, err
		})
}

// OperationFailures implements deadletter.Operations. It reads a page at a time.
func (s *Store) OperationFailures(ctx context.Context, id string) iter.Seq2[deadletter.LetterFailure, error] {
	n, _ := s.operation(id)
	return pages(ctx, s, 0, sqlFailures, []any{n}, func(row pgx.Row) (f deadletter.LetterFailure, n int64, err error) {
		var letter, stage, key, text []byte
		err = row.Scan(&n, &letter, &stage, &key, &text)
		return deadletter.LetterFailure{ID: string(letter), Stage: string(stage), Key: string(key), Error: string(text)}, n, err
	})
}

func pages[T any](ctx context.Context, s *Store, at int64, query string, more []any, read func(pgx.Row) (T, int64, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for {
			var page []T
			rows, err := s.pool.Query(ctx, query, append([]any{at, pageSize}, more...)...)
			for err == nil && rows.Next() {
				var v T
				v, at, err = read(rows)
				page = append(page, v)
			}
			if rows.Close(); err == nil {
				err = rows.Err()
			}
			if err != nil {
				yield(none, s.fault("operations", err))
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// TakeOperation implements deadletter.Operations.
func (s *Store) TakeOperation(_ context.Context, owner string, stages []string, lease time.Duration) (o deadletter.Operation, err error) {
	var names [][]byte // NULL: any
	if stages != nil {
		names = [][]byte{}
	}
	for _, stage := range stages {
		names = append(names, blob(stage))
	}
	err = s.do(nothing, func(t *tx) error {
		var n int64
		err := t.row(sqlTakeOperation, names).Scan(&n)
		if errors.Is(err, pgx.ErrNoRows) {
			return deadletter.ErrNotFound
		}
		if err == nil {
			err = t.take(n, owner, lease)
		}
		if err == nil {
			o, err = s.readOperation(t.row(sqlOperation, n))
		}
		return err
	})
	if err != nil {
		return deadletter.Operation{}, err
	}
	return o, nil
}

func (s *Store) fenced(o deadletter.Operation, set string, args ...any) error {
	n, ok := s.operation(o.ID)
	if !ok {
		return deadletter.ErrClaimLost
	}
	return s.do(nothing, func(t *tx) error {
		changed, err := t.exec("UPDATE operations SET "+set+leased, append([]any{n, int64(o.Token)}, args...)...) //nolint:gosec // it counts
		if err == nil && changed == 0 {
			err = deadletter.ErrClaimLost
		}
		return err
	})
}

// RenewOperation implements deadletter.Operations.
func (s *Store) RenewOperation(_ context.Context, o deadletter.Operation, lease time.Duration) error {
	return s.fenced(o, "until = clock_timestamp() + $3 * interval '1 microsecond'", lease.Microseconds())
}

// ReleaseOperation implements deadletter.Operations.
func (s *Store) ReleaseOperation(_ context.Context, o deadletter.Operation) error {
	if err := s.fenced(o, "owner = '', until = clock_timestamp()"); !errors.Is(err, deadletter.ErrClaimLost) {
		return err
	}
	return nil
}

// EndOperation implements deadletter.Operations.
func (s *Store) EndOperation(_ context.Context, o deadletter.Operation) error {
	return s.fenced(o, `open = false, state = $3, selected = $4, blocked = $5, untouched = $6, stopped = $7,
		ended_at = clock_timestamp()`, blob(string(deadletter.OperationFinished)), o.Selected, o.Blocked, o.Untouched,
		blob(string(o.Stopped)))
}

// FailOperation implements deadletter.Operations.
func (s *Store) FailOperation(_ context.Context, o deadletter.Operation, f deadletter.LetterFailure) error {
	n, ok := s.operation(o.ID)
	if !ok {
		return deadletter.ErrClaimLost
	}
	return s.do(nothing, func(t *tx) error {
		var valid bool
		err := t.row("SELECT EXISTS (SELECT FROM operations"+leased+")", n, int64(o.Token)).Scan(&valid) //nolint:gosec // it counts
		if err == nil && !valid {
			return deadletter.ErrClaimLost
		}
		if err != nil {
			return err
		}
		t.addFailure(n, f)
		return nil
	})
}

// CancelOperation implements deadletter.Operations.
func (s *Store) CancelOperation(_ context.Context, id string, by deadletter.Note) (changed bool, err error) {
	n, ok := s.operation(id)
	if !ok {
		return false, deadletter.ErrNotFound
	}
	if by.What = "cancel"; by.At.IsZero() {
		by.At = time.Now()
	}
	err = s.do(nothing, func(t *tx) error {
		cancelled, err := t.exec(`UPDATE operations SET open = false, state = $2, cancelled = $3,
			ended_at = clock_timestamp() WHERE n = $1 AND open`, n, blob(string(deadletter.OperationCancelled)),
			packNotes([]deadletter.Note{by}))
		if changed = cancelled > 0; err != nil || changed {
			return err
		}
		_, err = s.readOperation(t.row(sqlOperation, n))
		return err
	})
	return changed, err
}

// addFailure records a letter that failed, once, with what is pending.
func (t *tx) addFailure(n int64, f deadletter.LetterFailure) {
	text := f.Error[:min(len(f.Error), deadletter.MaxErrorBytes)]
	t.later(sqlAddFailure, t.next(), n, blob(f.ID), blob(f.Stage), blob(f.Key), blob(text))
}

// countOperation counts, in the operation that a claim is of, what became of a letter: f is nil when its redrive
// succeeded.
func (t *tx) countOperation(c deadletter.Claim, id string, f *deadletter.Failure) {
	n, ok := t.operation(c.Operation)
	switch {
	case !ok:
	case f == nil:
		t.later(sqlCountSuccess, n)
	default:
		t.addFailure(n, deadletter.LetterFailure{ID: id, Stage: c.Sequence.Stage, Key: c.Sequence.Key, Error: f.Error})
	}
}

func (s *Store) readOperation(row pgx.Row) (o deadletter.Operation, err error) {
	var n int64
	var filter, who, why, at, state, stopped, cancelled, owner []byte
	var started, ended, until *time.Time
	err = row.Scan(&n, &filter, &o.Selected, &o.Rate, &o.Limit, &o.Parallel, &who, &why, &at, &state, &o.Succeeded, &o.Failed,
		&o.Blocked, &o.Untouched, &stopped, &started, &ended, &cancelled, &owner, &until, &o.Starts)
	if errors.Is(err, pgx.ErrNoRows) {
		return o, deadletter.ErrNotFound
	}
	if err != nil {
		return o, err
	}
	o.ID, o.Token = fmt.Sprintf("%s-op%s", s.prefix, strings.TrimPrefix(s.text(n), s.prefix)), uint64(o.Starts) //nolint:gosec // it counts
	o.Who, o.Why, o.State = string(who), string(why), deadletter.OperationState(state)
	o.Stopped, o.Owner = deadletter.Stopped(stopped), string(owner)
	o.StartedAt, o.EndedAt, o.Until = moment(started), moment(ended), moment(until)
	p := unpacker{rest: at}
	o.At = p.time()
	bad := unpack(cancelled, func(u *unpacker) {
		o.Cancelled = deadletter.Note{At: u.time(), What: u.text(), Who: u.text(), Why: u.text()}
	})
	if bad || p.bad {
		return o, errPacked
	}
	return o, o.Filter.UnmarshalBinary(filter)
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// operation reads the id of an operation, which no letter has.
func (s *Store) operation(id string) (int64, bool) {
	digits, ok := strings.CutPrefix(id, s.prefix+"-op-")
	n, valid := s.number(s.prefix + "-" + digits)
	return n, ok && valid
}
