package sqlitestore

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// The parts of a letter that are lists are packed into one blob each: every text with its length in
// front, so that every byte survives; numbers as varints; a time as seconds and nanoseconds, so that any
// time survives, the zero one too. An empty list is an empty blob.

type packer []byte

func (p *packer) text(s string) {
	*p = binary.AppendUvarint(*p, uint64(len(s)))
	*p = append(*p, s...)
}

func (p *packer) number(n int64) { *p = binary.AppendVarint(*p, n) }

func (p *packer) time(t time.Time) {
	p.number(t.Unix())
	p.number(int64(t.Nanosecond()))
}

// errPacked is a blob that this package did not write.
var errPacked = errors.New("sqlitestore: a packed column is damaged")

type unpacker struct {
	rest []byte
	bad  bool
}

func (u *unpacker) more() bool { return len(u.rest) > 0 && !u.bad }

func (u *unpacker) text() string {
	size, used := binary.Uvarint(u.rest)
	if used <= 0 || size > uint64(len(u.rest)-used) {
		u.bad = true
		return ""
	}
	s := string(u.rest[used : used+int(size)])
	u.rest = u.rest[used+int(size):]
	return s
}

func (u *unpacker) number() int64 {
	n, used := binary.Varint(u.rest)
	if used <= 0 {
		u.bad = true
		return 0
	}
	u.rest = u.rest[used:]
	return n
}

func (u *unpacker) time() time.Time {
	seconds, nanos := u.number(), u.number()
	return time.Unix(seconds, nanos).UTC()
}

func packTime(t time.Time) []byte {
	p := make(packer, 0, 12)
	p.time(t)
	return p
}

func packHeader(h event.Header) []byte {
	p := packer{}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		p.text(name)
		p.text(h[name])
	}
	return p
}

func packCauses(list []deadletter.Cause) []byte {
	p := packer{}
	for _, c := range list {
		p.text(c.Type)
		p.text(c.Text)
	}
	return p
}

func packHistory(list []deadletter.Attempt) []byte {
	p := packer{}
	for _, a := range list {
		p.number(int64(a.Number))
		p.time(a.At)
		p.text(a.Error)
	}
	return p
}

func packNotes(list []deadletter.Note) []byte {
	p := packer{}
	for _, n := range list {
		p.time(n.At)
		p.text(n.What)
		p.text(n.Who)
		p.text(n.Why)
	}
	return p
}

// packed are the packed columns of a row.
type packed struct{ time, header, causes, history, notes []byte }

func (p *packed) unpack(l *deadletter.Letter) error {
	bad := unpack(p.time, func(u *unpacker) { l.Time = u.time() })
	bad = unpack(p.header, func(u *unpacker) {
		if l.Header == nil {
			l.Header = event.Header{}
		}
		name := u.text()
		l.Header[name] = u.text()
	}) || bad
	bad = unpack(p.causes, func(u *unpacker) {
		l.Causes = append(l.Causes, deadletter.Cause{Type: u.text(), Text: u.text()})
	}) || bad
	bad = unpack(p.history, func(u *unpacker) {
		l.History = append(l.History, deadletter.Attempt{Number: int(u.number()), At: u.time(), Error: u.text()})
	}) || bad
	bad = unpack(p.notes, func(u *unpacker) {
		l.Notes = append(l.Notes, deadletter.Note{At: u.time(), What: u.text(), Who: u.text(), Why: u.text()})
	}) || bad
	if bad {
		return errPacked
	}
	return nil
}

// unpack calls item for each of a list's items and reports whether the blob is damaged.
func unpack(blob []byte, item func(*unpacker)) (bad bool) {
	u := unpacker{rest: blob}
	for u.more() {
		item(&u)
	}
	return u.bad
}
