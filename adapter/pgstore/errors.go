package pgstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Errors of a Store, beside those of deadletter.
var (
	// ErrClosed is a call of a store that was closed.
	ErrClosed = errors.New("pgstore: the store is closed")
	// ErrForeign is a schema that is no dead-letter store: it has another program's tables.
	ErrForeign = errors.New("pgstore: the schema is no dead-letter store")
	// ErrMissing is a schema that is not there, where Config.Existing asks for one that is.
	ErrMissing = errors.New("pgstore: there is no such schema")
	// ErrNewer is a schema that a newer version of this package wrote.
	ErrNewer = errors.New("pgstore: the schema is newer than this program")
	// ErrDamaged is a schema that lacks a part.
	ErrDamaged = errors.New("pgstore: the schema is damaged")
	// ErrReadOnly is a server, or a user, that takes no writes.
	ErrReadOnly = errors.New("pgstore: the schema cannot be written")
	// ErrBusy is a store whose lock another transaction has held for 10 seconds.
	ErrBusy = errors.New("pgstore: another transaction holds the store's lock")
	// ErrDiskFull is a write that found no room on the server's disk. Nothing of it was stored.
	ErrDiskFull = errors.New("pgstore: the server's disk is full")
	// ErrLossy is a server that does not flush what it acknowledges.
	ErrLossy = errors.New("pgstore: the server does not keep what it acknowledges")
)

// faults says what the server's codes mean to an operator, and what mends them.
var faults = map[string]struct {
	is   error
	mend string
}{
	"42P01": {ErrDamaged, "a table is missing; restore a backup"},
	"42703": {ErrDamaged, "a column is missing; restore a backup"},
	"23514": {ErrDamaged, "the counters do not fit the letters; they were changed by hand: restore a backup"},
	"XX001": {ErrDamaged, "the server's files are corrupt; restore a backup"},
	"XX002": {ErrDamaged, "an index is corrupt; REINDEX it"},
	"25006": {ErrReadOnly, "it is a standby, or read-only by setting; name the primary"},
	"42501": {ErrReadOnly, "give this user the schema and its tables"},
	"55P03": {ErrBusy, "a transaction of another program is open for too long; end it"},
	"53100": {ErrDiskFull, "make room; the store goes on by itself"},
}

// passes reports whether what a code says is over soon.
func passes(code string) bool {
	switch code {
	case "40001", "40P01", // it met another transaction
		"25P03", "25P04", // it took too long, as a process that was stopped does
		"53300": // too many connections
		return true
	}
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") // the connection, the server
}

func codeOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// busy marks an error that says so.
func busy(err error) error {
	if codeOf(err) == "55P03" {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// own are the errors that say all by themselves.
var own = []error{ErrForeign, ErrMissing, ErrNewer, ErrDamaged, ErrLossy, ErrReadOnly, ErrClosed}

// fault makes one line of an error of the driver; nil stays nil. No error of the driver has the password.
func (s *Store) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	for _, e := range own {
		if errors.Is(err, e) {
			return err
		}
	}
	if s.closed() && codeOf(err) == "" {
		return ErrClosed
	}
	if f, ok := faults[codeOf(err)]; ok {
		return fmt.Errorf("%w: %s: schema %s: %s: %w", f.is, what, s.config.Schema, f.mend, oneLine{err})
	}
	return fmt.Errorf("pgstore: %s: schema %s: %w", what, s.config.Schema, oneLine{err})
}

type oneLine struct{ err error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.err.Error()), " ") }
func (e oneLine) Unwrap() error { return e.err }
