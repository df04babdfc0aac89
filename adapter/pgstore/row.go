package pgstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runnel-go/runnel/deadletter"
)

// What is read of a letter, light: what filters, groups, claims and counters look at; full: all of it.
const (
	lightColumns = `n, coalesce(id, n), size, stage, key, ordered, topic, reason, error, error_type, follower, fingerprint, state,
	dead_at, holds, event_id`
	fullColumns = lightColumns + `, updated_at, given_id, origin, topic_key, seq, time, codec, attempts, redrives, header, causes,
	history, notes, stack, payload, original`
)

// record is a letter and its place.
type record struct {
	n, id, size int64
	deadletter.Letter
	full bool
}

// id is what a lane, a sequence, a cause or a facet is known by: a digest.
type id [16]byte

// digest is 16 bytes for texts of any length.
func digest(parts ...string) (d id) {
	sum := sum(parts...)
	copy(d[:], sum)
	return d
}

func sum(parts ...string) []byte {
	h := sha256.New()
	var size [binary.MaxVarintLen64]byte
	for _, p := range parts {
		_, _ = h.Write(binary.AppendUvarint(size[:0], uint64(len(p)))) // a hash does not fail
		_, _ = io.WriteString(h, p)
	}
	return h.Sum(nil)
}

// laneOf is the lane of a stage and key, of letters that have an order or of those that have none.
func laneOf(stage, key string, ordered bool) id {
	if ordered {
		return digest("lane", stage, key)
	}
	return digest("loose", stage, key)
}

func (r *record) lane() id { return laneOf(r.Stage, r.Key, r.Ordered) }

func (r *record) cause() id { return digest("cause", r.Stage, r.Fingerprint) }

func (r *record) facet() id {
	return digest("facet", r.Stage, r.Fingerprint, r.Topic, string(r.Reason), r.ErrorType, string(r.State),
		strconv.FormatBool(r.Follower), strconv.FormatBool(r.Ordered))
}

// sequenceOf is what a claim is kept under.
func sequenceOf(q deadletter.Sequence) id { return digest("sequence", q.Stage, q.Key, q.Solo) }

// laneOfSequence is the lane that a sequence is, or is in.
func laneOfSequence(q deadletter.Sequence) id { return laneOf(q.Stage, q.Key, q.Solo == "") }

// maxPlain bounds the names of events that are indexed as they stand, so that those that come one after
// the other stand together. Longer ones have a digest.
const maxPlain = 256

// eventName is what a letter is known by, or nothing.
func eventName(stage, eventID string) string {
	switch {
	case eventID == "":
		return ""
	case len(stage)+len(eventID) > maxPlain:
		return "#" + string(sum(stage, eventID))
	}
	name := binary.AppendUvarint(append(make([]byte, 0, 4+maxPlain), '='), uint64(len(stage)))
	return string(append(append(name, stage...), eventID...))
}

func (r *record) event() string { return eventName(r.Stage, r.EventID) }

func live(l *deadletter.Letter) bool { return l.State != deadletter.Discarded }

// blob makes bytes of a text that are never NULL.
func blob(s string) []byte { return append(make([]byte, 0, len(s)), s...) }

// whole makes nil bytes empty ones, which are not NULL.
func whole(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (s *Store) text(n int64) string { return s.prefix + "-" + strconv.FormatInt(n, 36) }

// number is the number in an id of this schema.
func (s *Store) number(id string) (int64, bool) {
	digits, ok := strings.CutPrefix(id, s.prefix+"-")
	n, err := strconv.ParseInt(digits, 36, 64)
	return n, ok && err == nil && n > 0 && s.text(n) == id
}

// read reads fullColumns.
func (s *Store) read(row pgx.Row) (*record, error) { return s.scan(row, true) }

// skim reads lightColumns.
func (s *Store) skim(row pgx.Row) (*record, error) { return s.scan(row, false) }

func (s *Store) scan(row pgx.Row, full bool) (*record, error) {
	r, p, t := &record{full: full}, packed{}, texts{}
	var deadAt, updatedAt, origin, seq int64
	to := []any{
		&r.n, &r.id, &r.size, t.to(&r.Stage), t.to(&r.Key), &r.Ordered, t.to(&r.Topic), t.to((*string)(&r.Reason)), t.to(&r.Error),
		t.to(&r.ErrorType), &r.Follower, t.to(&r.Fingerprint), t.to((*string)(&r.State)), &deadAt, &r.Holds, t.to(&r.EventID),
	}
	if full {
		to = append(to, &updatedAt, t.to(&r.GivenID), &origin, t.to(&r.TopicKey), &seq, &p.time, t.to(&r.Codec), &r.Attempts,
			&r.Redrives, &p.header, &p.causes, &p.history, &p.notes, t.to(&r.Stack), &r.Payload, &r.Original)
	}
	if err := row.Scan(to...); errors.Is(err, pgx.ErrNoRows) {
		return nil, deadletter.ErrNotFound
	} else if err != nil {
		return nil, err
	}
	r.ID, r.DeadAt = s.text(r.id), time.UnixMicro(deadAt).UTC()
	if !full {
		return r, nil
	}
	r.UpdatedAt, r.Origin, r.Seq = time.UnixMicro(updatedAt).UTC(), uint64(origin), uint64(seq) //nolint:gosec // bits
	return r, p.unpack(&r.Letter)
}

// texts makes targets that read bytea into strings.
type texts struct{}

func (texts) to(s *string) any { return (*textTarget)(s) }

// textTarget implements pgtype.BytesScanner.
type textTarget string

// ScanBytes takes a value; the bytes are the driver's.
func (t *textTarget) ScanBytes(v []byte) error {
	*t = textTarget(v)
	return nil
}

// UUIDValue implements pgtype.UUIDValuer.
func (d id) UUIDValue() (pgtype.UUID, error) { return pgtype.UUID{Bytes: d, Valid: true}, nil }

// ScanUUID implements pgtype.UUIDScanner.
func (d *id) ScanUUID(v pgtype.UUID) error {
	*d = v.Bytes
	return nil
}

// ids is an array of them for the driver.
type ids = pgtype.FlatArray[id]
