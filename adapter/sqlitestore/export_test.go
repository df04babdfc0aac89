package sqlitestore

import (
	"context"
	"database/sql"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Commits is how many transactions s has committed.
func (s *Store) Commits() uint64 { return s.writer.commits.Load() }

// OnWriter runs f with the connection that writes, which must have nothing else to do.
func (s *Store) OnWriter(f func(*sql.Conn) error) error { return f(s.writer.conn) }

// OnReader runs f with a connection that reads.
func (s *Store) OnReader(f func(*sql.Conn) error) error {
	conn, err := s.reader.db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(conn)
}

// Reading is how many connections read at this moment.
func (s *Store) Reading() int { return s.reader.db.Stats().InUse }

// Spoil has the writer run a change that the database refuses.
func (s *Store) Spoil(err error) error {
	return s.writer.do(func(*tx) error { return err })
}

// Batch is what one transaction does.
type Batch struct{ t *tx }

// Together runs f in one transaction.
func (s *Store) Together(f func(Batch) error) error {
	return s.writer.do(func(t *tx) error { return f(Batch{t}) })
}

// Put is as the store's.
func (b Batch) Put(l *deadletter.Letter) (deadletter.Receipt, error) { return b.t.put(prepared(l)) }

// Divert is as the store's.
func (b Batch) Divert(l *deadletter.Letter) (deadletter.Receipt, bool, error) {
	return b.t.divert(prepared(l))
}

// Discard discards one letter, or restores it.
func (b Batch) Discard(id string) error {
	_, err := b.t.changeSome([]string{id}, func(l *deadletter.Letter) bool {
		now := time.Now()
		return l.Discard(deadletter.Note{}, now) || l.Restore(deadletter.Note{}, now)
	})
	return err
}

// Purge removes one letter.
func (b Batch) Purge(id string) error {
	l, err := b.t.find(sqlGet, id)
	if err == nil {
		_, err = b.t.purge([]place{{l.n, l.facet}}, "")
	}
	return err
}

// Numbers of the file's header.
const (
	ApplicationID = applicationID
	SchemaVersion = schemaVersion
)

// FirstSchema is the schema of the first version of a file.
const FirstSchema = schema1

// Weaken has every store of this process opened with another synchronous, and believe that it is right.
func Weaken(synchronous, readBack string) {
	for i := range settings {
		if settings[i].pragma == "synchronous" {
			settings[i].value, settings[i].want = synchronous, readBack
		}
	}
}

// HeldKeys is how many held keys s has in memory.
func (s *Store) HeldKeys() int { return s.held.Len() }
