package sqlitestore

import (
	"strconv"
	"strings"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// record is a letter as it stands in the file.
type record struct {
	n, lane, facet, id int64
	deadletter.Letter
}

// lane is a sequence that has an order.
type lane struct{ stage, key string }

func (r *record) laneName() lane { return lane{r.Stage, r.Key} }

// blob makes bytes of a text that are never NULL. Texts are blobs in the file: any byte survives.
func blob(s string) []byte { return append(make([]byte, 0, len(s)), s...) }

// whole makes nil bytes empty ones, which are not NULL.
func whole(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func live(l *deadletter.Letter) bool { return l.State != deadletter.Discarded }

// micros is t as the file keeps times that it compares.
func micros(t time.Time) int64 { return t.UnixMicro() }

// letterArgs are the arguments of sqlAddLetter.
func letterArgs(id any, laneID, facet int64, l *deadletter.Letter) []any {
	return []any{
		id, laneID, facet, live(l), l.Holds, blob(l.Stage), blob(l.EventID), micros(l.DeadAt), micros(l.UpdatedAt), l.Size(),
		blob(l.GivenID), int64(l.Origin), blob(l.TopicKey), int64(l.Seq), packTime(l.Time), blob(l.Codec),
		l.Attempts, l.Redrives, blob(l.Error), packHeader(l.Header), packCauses(l.Causes), packHistory(l.History),
		packNotes(l.Notes), blob(l.Stack), whole(l.Payload), l.Original,
	}
}

// changeArgs are the arguments of sqlChangeLetter.
func changeArgs(r *record) []any {
	l := &r.Letter
	return []any{
		r.n, r.facet, live(l), micros(l.UpdatedAt), l.Size(), l.Attempts, l.Redrives, blob(l.Error), packCauses(l.Causes),
		packHistory(l.History), packNotes(l.Notes), blob(l.Stack), whole(l.Payload), l.Original,
	}
}

// scanner is a row of either kind.
type scanner interface{ Scan(dest ...any) error }

// readLight reads lightColumns.
func (s *Store) readLight(row scanner) (*record, error) {
	r := &record{}
	var deadAt int64
	if err := row.Scan(r.lightTargets(&deadAt)...); err != nil {
		return nil, err
	}
	r.ID, r.DeadAt = s.ids.text(r.id), time.UnixMicro(deadAt).UTC()
	return r, nil
}

func (r *record) lightTargets(deadAt *int64) []any {
	return []any{
		&r.n, &r.lane, &r.facet, &r.id, &r.Stage, &r.Key, &r.Ordered, &r.Topic, &r.Reason, &r.Error, &r.ErrorType,
		&r.Follower, &r.Fingerprint, &r.State, deadAt,
	}
}

// readFull reads fullColumns.
func (s *Store) readFull(row scanner) (*record, error) {
	r, p := &record{}, packed{}
	var deadAt, updatedAt, origin, seq int64
	var edited bool
	if err := row.Scan(append(r.lightTargets(&deadAt), &r.Holds, &r.EventID, &updatedAt, &r.GivenID, &origin, &r.TopicKey,
		&seq, &p.time, &r.Codec, &r.Attempts, &r.Redrives, &p.header, &p.causes, &p.history, &p.notes, &r.Stack,
		&r.Payload, &edited, &r.Original)...); err != nil {
		return nil, err
	}
	r.ID, r.DeadAt, r.UpdatedAt = s.ids.text(r.id), time.UnixMicro(deadAt).UTC(), time.UnixMicro(updatedAt).UTC()
	r.Origin, r.Seq = uint64(origin), uint64(seq)
	if edited {
		r.Original = whole(r.Original)
	}
	return r, p.unpack(&r.Letter)
}

// ids writes and reads the ids of letters: the file's prefix and the letter's number.
type ids struct{ prefix string }

func (i ids) text(n int64) string { return i.prefix + "-" + strconv.FormatInt(n, 36) }

// number is the number in an id of this file.
func (i ids) number(id string) (n int64, ok bool) {
	digits, ok := strings.CutPrefix(id, i.prefix+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 36, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 36) == digits
}
