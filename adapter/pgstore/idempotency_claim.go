package pgstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

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

// The statements name the table ?, durations are microseconds. A token is the time, and always above the
// one before it. What a row has is looked at again once its lock is had, and so is the clock.
const (
	sqlKeyTake = `INSERT INTO ? AS r (key, stage, id, state, token, until, keep, holder, digest)
		VALUES ($1, $2, $3, 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, clock_timestamp() + $4 * interval '1 microsecond',
			clock_timestamp() + $5 * interval '1 microsecond', $6, $7)
		ON CONFLICT (key) DO UPDATE SET state = 1, holder = $6, digest = $7,
			until = clock_timestamp() + $4 * interval '1 microsecond', keep = clock_timestamp() + $5 * interval '1 microsecond',
			token = CASE WHEN r.state = 1 AND r.until > clock_timestamp() THEN r.token
				ELSE greatest(r.token + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) END
		WHERE r.state = 0 OR r.state = 2 AND r.keep <= clock_timestamp()
			OR r.state = 1 AND (r.until <= clock_timestamp() OR r.holder = $6 AND $6 <> 0)
		RETURNING r.token`
	sqlKeyFind = `SELECT state, (extract(epoch FROM until - clock_timestamp()) * 1000000)::bigint, keep > clock_timestamp(), digest FROM ? WHERE key = $1`
	sqlKeyKeep = `UPDATE ? SET until = clock_timestamp() + $3 * interval '1 microsecond', keep = clock_timestamp() + $4 * interval '1 microsecond'
		WHERE key = $1 AND token = $2 AND state = 1`
	sqlKeyDone = `UPDATE ? SET state = 2, keep = CASE WHEN state = 2 THEN keep ELSE clock_timestamp() + $3 * interval '1 microsecond' END
		WHERE key = $1 AND token = $2 AND state <> 0`
	sqlKeyFree = `UPDATE ? SET state = 0, keep = clock_timestamp() + $3 * interval '1 microsecond'
		WHERE key = $1 AND token = $2 AND state <> 2`
)

func (s *Idempotency) sql(query string) string { return strings.Replace(query, "?", s.table, 1) }

// keyOf is a digest of a key. The length keeps a stage and an identity from running into each other.
func keyOf(k idempotency.Key) []byte {
	text := binary.BigEndian.AppendUint64(nil, uint64(len(k.Stage)))
	sum := sha256.Sum256(append(append(text, k.Stage...), k.ID...))
	return sum[:]
}

// Claim asks to run a key. It blocks for a round trip, and for another where the key is busy or done.
func (s *Idempotency) Claim(ctx context.Context, r idempotency.Request) (idempotency.Claim, error) {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	for range 3 { // a key that was given back between the two looks is looked at again
		c, err := s.take(ctx, r)
		if errors.Is(err, pgx.ErrNoRows) {
			c, err = s.find(ctx, r.Key)
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return c, s.fault("claim", err)
		}
	}
	return idempotency.Claim{Key: r.Key, State: idempotency.Busy}, nil
}

// take is pgx.ErrNoRows when the key is not to be had.
func (s *Idempotency) take(ctx context.Context, r idempotency.Request) (idempotency.Claim, error) {
	var token int64
	err := s.pool.QueryRow(ctx, s.sql(sqlKeyTake), keyOf(r.Key), blob(r.Key.Stage), blob(r.Key.ID), r.Lease.Microseconds(),
		s.keepClaim(r.Lease), int64(r.Holder), int64(r.Digest)).Scan(&token) //nolint:gosec // any number
	return idempotency.Claim{Key: r.Key, Token: uint64(token)}, err //nolint:gosec // a time
}

// find is pgx.ErrNoRows when the key is to be had.
func (s *Idempotency) find(ctx context.Context, k idempotency.Key) (idempotency.Claim, error) {
	var state int
	var left, digest int64
	var kept bool
	err := s.pool.QueryRow(ctx, s.sql(sqlKeyFind), keyOf(k)).Scan(&state, &left, &kept, &digest)
	c := idempotency.Claim{Key: k, Digest: uint64(digest)} //nolint:gosec // any number
	switch {
	case err != nil:
		return c, err
	case state == rowDone && kept:
		c.State = idempotency.Done
	case state == rowClaimed && left > 0:
		c.State, c.Until = idempotency.Busy, time.Now().Add(time.Duration(left)*time.Microsecond)
	default:
		return c, pgx.ErrNoRows
	}
	return c, nil
}

// keepClaim is how many microseconds a claim is kept: beyond its lease, so that a late holder whom nobody
// followed can confirm.
func (s *Idempotency) keepClaim(lease time.Duration) int64 {
	return max(lease, 0).Microseconds() + s.config.Retention.Microseconds()
}

// Renew makes the lease run anew from now. It does not wait for the transaction of a handler.
func (s *Idempotency) Renew(ctx context.Context, c idempotency.Claim, lease time.Duration) error {
	return s.asHolder(ctx, "renew", sqlKeyKeep, c, lease.Microseconds(), s.keepClaim(lease))
}

// Confirm records that the holder completed the key.
func (s *Idempotency) Confirm(ctx context.Context, c idempotency.Claim) error {
	return s.asHolder(ctx, "confirm", sqlKeyDone, c, s.config.Retention.Microseconds())
}

// Release gives the key back. A key that is done stays done.
func (s *Idempotency) Release(ctx context.Context, c idempotency.Claim) error {
	return s.asHolder(ctx, "release", sqlKeyFree, c, afterRelease.Microseconds())
}

// asHolder runs a statement that changes the key's row for its holder only.
func (s *Idempotency) asHolder(ctx context.Context, what, query string, c idempotency.Claim, args ...any) error {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, s.sql(query), append([]any{keyOf(c.Key), int64(c.Token)}, args...)...) //nolint:gosec // a time
	switch {
	case err != nil:
		return s.fault(what, err)
	case tag.RowsAffected() == 0:
		return idempotency.ErrLost
	}
	return nil
}
