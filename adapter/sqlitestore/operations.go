package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

var _ deadletter.RedriveStore = (*Store)(nil)

// AddOperation implements deadletter.Operations.
func (s *Store) AddOperation(_ context.Context, o deadletter.Operation, owner string, lease time.Duration) (added deadletter.Operation, err error) {
	filter, err := o.Filter.MarshalBinary()
	if err != nil {
		return added, err
	}
	err = s.writer.do(func(t *tx) error {
		var n int64
		err := t.row(sqlAddOperation, blob(o.Filter.Stage), filter, o.Selected, o.Rate, o.Limit, o.Parallel,
			blob(o.Who), blob(o.Why), packTime(o.At), blob(string(deadletter.OperationRequested))).Scan(&n)
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
	_, err := t.exec(sqlTake, n, blob(string(deadletter.OperationRunning)), blob(owner), lease.Milliseconds())
	return err
}

// Operation implements deadletter.Operations.
func (s *Store) Operation(_ context.Context, id string) (deadletter.Operation, error) {
	n, ok := s.ids.operation(id)
	if !ok {
		return deadletter.Operation{}, deadletter.ErrNotFound
	}
	o, err := s.readOperation(s.reader.row(sqlOperation, n))
	if errors.Is(err, sql.ErrNoRows) {
		return deadletter.Operation{}, deadletter.ErrNotFound
	}
	return o, s.fault("operation", err)
}

// Operations implements deadletter.Operations. It reads a page at a time.
func (s *Store) Operations(ctx context.Context) iter.Seq2[deadletter.Operation, error] {
	return pages(ctx, s, math.MaxInt64, func(before int64) (page []deadletter.Operation, last int64, err error) {
		err = s.reader.each(sqlOperations, []any{before, pageSize}, func(row scanner) (bool, error) {
			o, err := s.readOperation(row)
			page = append(page, o)
			return true, err
		})
		if len(page) > 0 {
			last, _ = s.ids.operation(page[len(page)-1].ID)
		}
		return page, last, err
	})
}

// OperationFailures implements deadletter.Operations. It reads a page at a time.
func (s *Store) OperationFailures(ctx context.Context, id string) iter.Seq2[deadletter.LetterFailure, error] {
	n, _ := s.ids.operation(id)
	return pages(ctx, s, 0, func(after int64) (page []deadletter.LetterFailure, last int64, err error) {
		err = s.reader.each(sqlFailures, []any{n, after, pageSize}, func(row scanner) (bool, error) {
			var f deadletter.LetterFailure
			err := row.Scan(&last, &f.ID, &f.Stage, &f.Key, &f.Error)
			page = append(page, f)
			return true, err
		})
		return page, last, err
	})
}

// pages yields what read brings, page after page, each from where the last one ended.
func pages[T any](ctx context.Context, s *Store, at int64, read func(at int64) (page []T, last int64, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for {
			page, last, err := read(at)
			if err == nil && ctx.Err() != nil {
				err = fmt.Errorf("sqlitestore: operations: %w", context.Cause(ctx))
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
			at = last
		}
	}
}

// TakeOperation implements deadletter.Operations. Leases are kept by SQLite's clock, the machine's.
func (s *Store) TakeOperation(_ context.Context, owner string, stages []string, lease time.Duration) (o deadletter.Operation, err error) {
	var names any // NULL: any
	if stages != nil {
		list := make([]string, len(stages))
		for i, stage := range stages {
			list[i] = strings.ToUpper(hex.EncodeToString([]byte(stage)))
		}
		text, err := json.Marshal(list)
		if err != nil {
			return o, fmt.Errorf("sqlitestore: operations: %w", err)
		}
		names = string(text)
	}
	err = s.writer.do(func(t *tx) error {
		var n int64
		err := t.row(sqlTakeable, names).Scan(&n)
		if errors.Is(err, sql.ErrNoRows) {
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

// fencedBy changes an operation that o has a valid lease on.
func (s *Store) fencedBy(o deadletter.Operation, query string, args ...any) error {
	n, ok := s.ids.operation(o.ID)
	if !ok {
		return deadletter.ErrClaimLost
	}
	return s.writer.do(func(t *tx) error {
		changed, err := t.affected(query, append([]any{n, int64(o.Token)}, args...)...) //nolint:gosec // SQLite made it
		if err == nil && changed == 0 {
			err = deadletter.ErrClaimLost
		}
		return err
	})
}

// RenewOperation implements deadletter.Operations.
func (s *Store) RenewOperation(_ context.Context, o deadletter.Operation, lease time.Duration) error {
	return s.fencedBy(o, sqlRenewOperation, lease.Milliseconds())
}

// ReleaseOperation implements deadletter.Operations.
func (s *Store) ReleaseOperation(_ context.Context, o deadletter.Operation) error {
	if err := s.fencedBy(o, sqlReleaseOperation); !errors.Is(err, deadletter.ErrClaimLost) {
		return err
	}
	return nil
}

// EndOperation implements deadletter.Operations.
func (s *Store) EndOperation(_ context.Context, o deadletter.Operation) error {
	return s.fencedBy(o, sqlEndOperation, blob(string(deadletter.OperationFinished)), o.Selected, o.Blocked, o.Untouched,
		blob(string(o.Stopped)))
}

// FailOperation implements deadletter.Operations.
func (s *Store) FailOperation(_ context.Context, o deadletter.Operation, f deadletter.LetterFailure) error {
	n, ok := s.ids.operation(o.ID)
	if !ok {
		return deadletter.ErrClaimLost
	}
	return s.writer.do(func(t *tx) error {
		var valid bool
		if err := t.row(sqlLeased, n, int64(o.Token)).Scan(&valid); err != nil { //nolint:gosec // SQLite made it
			return err
		}
		if !valid {
			return deadletter.ErrClaimLost
		}
		return t.addFailure(n, f)
	})
}

// CancelOperation implements deadletter.Operations.
func (s *Store) CancelOperation(_ context.Context, id string, by deadletter.Note) (changed bool, err error) {
	n, ok := s.ids.operation(id)
	if !ok {
		return false, deadletter.ErrNotFound
	}
	by.What = "cancel"
	if by.At.IsZero() {
		by.At = time.Now()
	}
	err = s.writer.do(func(t *tx) error {
		cancelled, err := t.affected(sqlCancelOperation, n, blob(string(deadletter.OperationCancelled)), packNotes([]deadletter.Note{by}))
		if changed = cancelled > 0; err != nil || changed {
			return err
		}
		_, err = s.readOperation(t.row(sqlOperation, n))
		if errors.Is(err, sql.ErrNoRows) {
			return deadletter.ErrNotFound
		}
		return err
	})
	return changed, err
}

func (t *tx) addFailure(operation int64, f deadletter.LetterFailure) error {
	_, err := t.exec(sqlAddFailure, operation, blob(f.ID), blob(f.Stage), blob(f.Key), blob(cutError(f.Error)))
	return err
}

// cutError keeps what a letter keeps of an error.
func cutError(s string) string { return s[:min(len(s), deadletter.MaxErrorBytes)] }

// countOperation records in the operation of a claim what became of a letter.
func (t *tx) countOperation(c deadletter.Claim, id string, f *deadletter.Failure) error {
	n, ok := t.store.ids.operation(c.Operation)
	switch {
	case !ok:
		return nil
	case f == nil:
		_, err := t.exec(sqlCountSuccess, n)
		return err
	default:
		return t.addFailure(n, deadletter.LetterFailure{ID: id, Stage: c.Sequence.Stage, Key: c.Sequence.Key, Error: f.Error})
	}
}

// readOperation reads operationColumns.
func (s *Store) readOperation(row scanner) (o deadletter.Operation, err error) {
	var n, started, ended, until int64
	var filter, at, cancelled []byte
	err = row.Scan(&n, &filter, &o.Selected, &o.Rate, &o.Limit, &o.Parallel, &o.Who, &o.Why, &at, &o.State,
		&o.Succeeded, &o.Failed, &o.Blocked, &o.Untouched, &o.Stopped, &started, &ended, &cancelled, &o.Owner,
		&until, &o.Starts)
	if err != nil {
		return o, err
	}
	o.ID, o.Token = s.ids.operationText(n), uint64(o.Starts) //nolint:gosec // it counts
	o.StartedAt, o.EndedAt, o.Until = millis(started), millis(ended), millis(until)
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

// millis is a time of SQLite's clock; 0 is none.
func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// operationText and operation write and read the ids of operations, which no letter has.
func (i ids) operationText(n int64) string { return i.prefix + "-op-" + strconv.FormatInt(n, 36) }

func (i ids) operation(id string) (n int64, ok bool) {
	digits, ok := strings.CutPrefix(id, i.prefix+"-op-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 36, 64)
	return n, err == nil && n > 0 && i.operationText(n) == id
}
