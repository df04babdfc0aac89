package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

// The states of a row.
const (
	rowFree = iota
	rowClaimed
	rowDone
)

// afterRelease is how long a released key stays, so that a late holder is told from its next one.
const afterRelease = time.Minute

// Parameter ?3 of sqlKeyTake is the time, and the token of a key that is new; of the others it is the token.
const (
	sqlKeyFind = `SELECT state, until, keep, digest, holder FROM runnel_idempotency WHERE stage = ?1 AND id = ?2`
	sqlKeyTake = `INSERT INTO runnel_idempotency AS r (stage, id, state, token, until, keep, holder, digest)
		VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (stage, id) DO UPDATE SET
			state = 1, until = ?4, keep = ?5, holder = ?6, digest = ?7,
			token = CASE WHEN r.state = 1 AND r.until > ?3 THEN r.token ELSE max(r.token + 1, ?3) END
		WHERE r.state = 0 OR r.state = 2 AND r.keep <= ?3 OR r.state = 1 AND (r.until <= ?3 OR r.holder = ?6 AND ?6 <> 0)
		RETURNING token`
	sqlKeyKeep = `UPDATE runnel_idempotency SET until = ?4, keep = ?5 WHERE stage = ?1 AND id = ?2 AND token = ?3 AND state = 1`
	sqlKeyDone = `UPDATE runnel_idempotency SET state = 2, keep = CASE WHEN state = 2 THEN keep ELSE ?4 END
		WHERE stage = ?1 AND id = ?2 AND token = ?3 AND state <> 0`
	sqlKeyFree = `UPDATE runnel_idempotency SET state = 0, keep = ?4 WHERE stage = ?1 AND id = ?2 AND token = ?3 AND state <> 2`
)

// Claim asks to run a key. It waits for others that write, up to the config's Timeout, but not where it
// finds the key busy or done.
func (s *Idempotency) Claim(ctx context.Context, r idempotency.Request) (idempotency.Claim, error) {
	c := idempotency.Claim{Key: r.Key, State: idempotency.Busy}
	for range 3 { // a key that was given back between the two looks is looked at again
		if found, err := s.find(&c, r); err != nil || found {
			return c, err
		}
		if taken, err := s.take(ctx, &c, r); err != nil || taken {
			return c, err
		}
	}
	return c, nil
}

// find reports whether the key is done, or busy with another holder, without waiting for a writer. What
// may be the asker's own is for take to tell.
func (s *Idempotency) find(c *idempotency.Claim, r idempotency.Request) (bool, error) {
	var state int
	var until, keep, digest, holder int64
	err := s.stmts[sqlKeyFind].QueryRow(blob(r.Key.Stage), blob(r.Key.ID)).Scan(&state, &until, &keep, &digest, &holder)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, s.fault("claim", err)
	}
	now := micros(time.Now())
	switch {
	case state == rowDone && keep > now:
		*c = idempotency.Claim{Key: r.Key, State: idempotency.Done, Digest: uint64(digest)} //nolint:gosec // any number
		return true, nil
	case state == rowClaimed && until > now && (r.Holder == 0 || uint64(holder) != r.Holder): //nolint:gosec // any number
		*c = idempotency.Claim{Key: r.Key, State: idempotency.Busy, Until: time.UnixMicro(until), Digest: uint64(digest)} //nolint:gosec // any number
		return true, nil
	}
	return false, nil
}

func (s *Idempotency) take(ctx context.Context, c *idempotency.Claim, r idempotency.Request) (bool, error) {
	if err := s.wait(ctx, "claim"); err != nil {
		return false, err
	}
	defer s.leave()
	now := time.Now()
	var token int64
	err := s.stmts[sqlKeyTake].QueryRow(blob(r.Key.Stage), blob(r.Key.ID), micros(now), micros(now.Add(r.Lease)),
		s.keepClaim(now, r.Lease), int64(r.Holder), int64(r.Digest)).Scan(&token) //nolint:gosec // any number
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, s.fault("claim", err)
	}
	*c = idempotency.Claim{Key: r.Key, Token: uint64(token)} //nolint:gosec // a time
	return true, nil
}

// keepClaim is until when a claim is kept: beyond its lease, so that a late holder whom nobody followed can
// confirm.
func (s *Idempotency) keepClaim(now time.Time, lease time.Duration) int64 {
	return micros(now.Add(max(lease, 0)).Add(s.config.Retention))
}

// Renew makes the lease run anew from now. While this process has the claim's own transaction open it has
// nothing to do: the file is locked, so nobody can take the key.
func (s *Idempotency) Renew(ctx context.Context, c idempotency.Claim, lease time.Duration) error {
	if at := s.at.Load(); at != nil && at.Key == c.Key && at.Token == c.Token {
		return nil
	}
	now := time.Now()
	return s.asHolder(ctx, "renew", sqlKeyKeep, c, micros(now.Add(lease)), s.keepClaim(now, lease))
}

// Confirm records that the holder completed the key. It blocks on the disk.
func (s *Idempotency) Confirm(ctx context.Context, c idempotency.Claim) error {
	return s.asHolder(ctx, "confirm", sqlKeyDone, c, micros(time.Now().Add(s.config.Retention)))
}

// Release gives the key back. A key that is done stays done.
func (s *Idempotency) Release(ctx context.Context, c idempotency.Claim) error {
	return s.asHolder(ctx, "release", sqlKeyFree, c, micros(time.Now().Add(afterRelease)))
}

// asHolder runs a statement that changes the key's row for its holder only.
func (s *Idempotency) asHolder(ctx context.Context, what, query string, c idempotency.Claim, args ...any) error {
	if err := s.wait(ctx, what); err != nil {
		return err
	}
	defer s.leave()
	n, err := changed(s.stmts[query].Exec(append([]any{blob(c.Key.Stage), blob(c.Key.ID), int64(c.Token)}, args...)...)) //nolint:gosec // a time
	switch {
	case err != nil:
		return s.fault(what, err)
	case n == 0:
		return idempotency.ErrLost
	}
	return nil
}

func changed(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// wait waits for this process's turn to write.
func (s *Idempotency) wait(ctx context.Context, what string) error {
	if l, ok := ctx.Value(loanKey{}).(*loan); ok && l.store == s {
		return fmt.Errorf("sqlitestore: %s: %s: asked for in a handler's transaction of the same store, which it would wait for; "+
			"give stages that handlers publish to inline a store of their own", what, s.path)
	}
	limit := time.NewTimer(s.config.Timeout)
	defer limit.Stop()
	select {
	case s.turn <- struct{}{}:
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("sqlitestore: %s: %s: %w", what, s.path, context.Cause(ctx))
	case <-limit.C:
		return fmt.Errorf("%w: %s: %s: handlers of this process had it for %v; keep them short", ErrBusy, what, s.path, s.config.Timeout)
	}
	select {
	case <-s.closing:
		s.leave()
		return ErrClosed
	default:
		return nil
	}
}

func (s *Idempotency) leave() { <-s.turn }
