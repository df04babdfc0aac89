package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// lostFor is how long the row of a claim stays whose lease has ended. So long it is good while nobody
// else takes the sequence.
const lostFor = 24 * time.Hour

// Claim implements deadletter.Claimer. Leases are kept by SQLite's clock, the machine's, to the
// millisecond: every process with the file has the same. It costs a flush of the disk, shared with the
// writes that are on their way.
func (s *Store) Claim(_ context.Context, q deadletter.Sequence, owner string, lease time.Duration) (c deadletter.Claim, err error) {
	err = s.writer.do(func(t *tx) (err error) {
		c, err = t.claim(q, owner, lease)
		return err
	})
	if err != nil {
		return deadletter.Claim{}, err
	}
	return c, nil
}

func (t *tx) claim(q deadletter.Sequence, owner string, lease time.Duration) (deadletter.Claim, error) {
	if err := t.claimable(q); err != nil {
		return deadletter.Claim{}, err
	}
	c := deadletter.Claim{Sequence: q, Owner: owner}
	var until int64
	err := t.row(sqlClaim, blob(q.Stage), blob(q.Key), blob(q.Solo), blob(owner), lease.Milliseconds()).Scan(&c.Token, &until)
	if errors.Is(err, sql.ErrNoRows) {
		return c, deadletter.ErrClaimed
	}
	if err == nil {
		_, err = t.exec(sqlExpireClaims, lostFor.Milliseconds())
	}
	c.Until = time.UnixMilli(until)
	if err == nil {
		t.changed(lane{q.Stage, q.Key})
		err = t.bring(c)
	}
	return c, err
}

// claimable returns ErrNotFound for a sequence without live letters.
func (t *tx) claimable(q deadletter.Sequence) error {
	if q.Solo != "" {
		l, err := t.find(sqlGlean, q.Solo)
		if err == nil && (l.Sequence() != q || !live(&l.Letter)) {
			err = deadletter.ErrNotFound
		}
		return err
	}
	at, err := t.look(&deadletter.Letter{Stage: q.Stage, Key: q.Key, Ordered: true})
	if err == nil && at.live == 0 {
		err = deadletter.ErrNotFound
	}
	return err
}

// claimArgs are the first arguments of every statement that a claim fences.
func claimArgs(c deadletter.Claim, more ...any) []any {
	return append([]any{int64(c.Token), blob(c.Sequence.Stage), blob(c.Sequence.Key), blob(c.Sequence.Solo)}, more...) //nolint:gosec // SQLite made it
}

// Renew implements deadletter.Claimer.
func (s *Store) Renew(_ context.Context, c deadletter.Claim, lease time.Duration) error {
	return s.writer.do(func(t *tx) error {
		n, err := t.affected(sqlRenew, claimArgs(c, lease.Milliseconds())...)
		if err == nil && n == 0 {
			err = deadletter.ErrClaimLost
		}
		return err
	})
}

// Release implements deadletter.Claimer.
func (s *Store) Release(_ context.Context, c deadletter.Claim) error {
	return s.writer.do(func(t *tx) error {
		t.changed(lane{c.Sequence.Stage, c.Sequence.Key})
		_, err := t.exec(sqlRelease, claimArgs(c)...)
		return err
	})
}

func (t *tx) affected(query string, args ...any) (int64, error) {
	result, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Head implements deadletter.Claimer. It reads, and waits for no write. After a Claim or a Resolve it has the
// answer of that for 20 milliseconds, and asks nobody.
func (s *Store) Head(_ context.Context, c deadletter.Claim) (deadletter.Letter, error) {
	if l, known, err := s.glance(c); known {
		return l, err
	}
	l, err := s.head(c)
	if err == nil || !errors.Is(err, deadletter.ErrNotFound) {
		return l, err
	}
	var valid bool
	if err := s.reader.row(sqlClaimed, claimArgs(c)...).Scan(&valid); err != nil {
		return deadletter.Letter{}, s.fault("head", err)
	}
	if !valid {
		return deadletter.Letter{}, deadletter.ErrClaimLost
	}
	return deadletter.Letter{}, deadletter.ErrNotFound
}

// head is the head of a sequence that is claimed by c. It is not found when there is none or the claim
// was lost.
func (s *Store) head(c deadletter.Claim) (deadletter.Letter, error) {
	if c.Sequence.Solo == "" {
		return s.letter("head", s.reader.row(sqlHead, claimArgs(c)...))
	}
	var valid bool
	if err := s.reader.row(sqlClaimed, claimArgs(c)...).Scan(&valid); err != nil {
		return deadletter.Letter{}, s.fault("head", err)
	}
	l, err := s.Get(context.Background(), c.Sequence.Solo)
	if err == nil && (!valid || l.Sequence() != c.Sequence || !live(&l)) {
		return deadletter.Letter{}, deadletter.ErrNotFound
	}
	return l, err
}

// letter reads the one letter of a query.
func (s *Store) letter(what string, row *sql.Row) (deadletter.Letter, error) {
	r, err := s.readFull(row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return deadletter.Letter{}, deadletter.ErrNotFound
	case err != nil:
		return deadletter.Letter{}, s.fault(what, err)
	}
	return r.Letter, nil
}

// Resolve implements deadletter.Keeper.
func (s *Store) Resolve(_ context.Context, c deadletter.Claim, id string) error {
	return s.writer.do(func(t *tx) error {
		n, ok := s.ids.number(id)
		if err := t.count(); err != nil {
			return err
		}
		query := sqlResolve
		if c.Sequence.Solo != "" {
			query, ok = sqlResolveSolo, ok && id == c.Sequence.Solo
		}
		removed := int64(0)
		if ok {
			var err error
			if removed, err = t.affected(query, claimArgs(c, n)...); err != nil {
				return err
			}
		}
		if removed == 0 {
			return t.unclaimed(c)
		}
		if err := t.countOperation(c, id, nil); err != nil || c.Sequence.Solo != "" {
			return err
		}
		if err := t.bringOn(c, id); err != nil {
			return err
		}
		return t.noteHolding(lane{c.Sequence.Stage, c.Sequence.Key})
	})
}

// unclaimed says why a letter is not in the claimed sequence.
func (t *tx) unclaimed(c deadletter.Claim) error {
	var valid bool
	if err := t.row(sqlClaimed, claimArgs(c)...).Scan(&valid); err != nil {
		return err
	}
	if !valid {
		return deadletter.ErrClaimLost
	}
	return deadletter.ErrNotFound
}

// Fail implements deadletter.Keeper.
func (s *Store) Fail(_ context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	return s.writer.do(func(t *tx) error {
		l, err := t.ofClaim(sqlGet, c, id)
		if err != nil {
			return err
		}
		l.Fail(f, c.By, time.Now())
		if err := t.countOperation(c, id, &f); err != nil {
			return err
		}
		return t.save(l)
	})
}

// ofClaim returns the letter of a claimed sequence. The transaction has the write lock, so the claim
// stays valid until it ends.
func (t *tx) ofClaim(query string, c deadletter.Claim, id string) (*record, error) {
	if err := t.unclaimed(c); !errors.Is(err, deadletter.ErrNotFound) {
		return nil, err
	}
	l, err := t.find(query, id)
	if err == nil && l.Sequence() != c.Sequence {
		return nil, deadletter.ErrNotFound
	}
	return l, err
}
