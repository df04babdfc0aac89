package sqlitestore

import (
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors of a Store, beside those of deadletter.
var (
	// ErrClosed is a call of a store that was closed.
	ErrClosed = errors.New("sqlitestore: the store is closed")
	// ErrForeign is a file that is no dead-letter store: it belongs to another program.
	ErrForeign = errors.New("sqlitestore: the file is no dead-letter store")
	// ErrNewer is a file that a newer version of this package wrote.
	ErrNewer = errors.New("sqlitestore: the file has a newer schema")
	// ErrDamaged is a file that SQLite cannot read, or that lacks a part.
	ErrDamaged = errors.New("sqlitestore: the file is damaged")
	// ErrReadOnly is a file, or a directory, that this process may not write.
	ErrReadOnly = errors.New("sqlitestore: the file cannot be written")
	// ErrBusy is a file whose write lock another process has held for 10 seconds.
	ErrBusy = errors.New("sqlitestore: another process holds the file's write lock")
	// ErrDiskFull is a write that found no room on the disk. Nothing of it was stored.
	ErrDiskFull = errors.New("sqlitestore: the disk is full")
)

// code is SQLite's primary result code of err, or 0.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// faults says what SQLite's codes mean to an operator, and what mends them.
var faults = map[int]struct {
	is   error
	mend string
}{
	sqlite3.SQLITE_NOTADB:   {ErrForeign, "it is no SQLite database; name another file, or move this one away"},
	sqlite3.SQLITE_CORRUPT:  {ErrDamaged, "keep a copy, and restore a backup or save what `sqlite3 FILE .recover` finds"},
	sqlite3.SQLITE_READONLY: {ErrReadOnly, "give this process write access to the file and to its directory"},
	sqlite3.SQLITE_PERM:     {ErrReadOnly, "give this process write access to the file and to its directory"},
	sqlite3.SQLITE_CANTOPEN: {ErrReadOnly, "the directory must exist, and this process must be able to write to it and to the file"},
	sqlite3.SQLITE_BUSY:     {ErrBusy, "a transaction of another program is open for too long; end it"},
	sqlite3.SQLITE_FULL:     {ErrDiskFull, "make room; the store goes on by itself"},
}

// fault makes an error of the file out of an error of the driver; nil stays nil.
func (s *Store) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	if s.writer != nil && s.writer.closed() && code(err) == 0 {
		return ErrClosed
	}
	return faultOf(what, s.path, err)
}

// faultOf is fault of any file.
func faultOf(what, path string, err error) error {
	if err == nil {
		return nil
	}
	err = oneLine{err}
	if f, ok := faults[code(err)]; ok {
		return fmt.Errorf("%w: %s: %s: %s: %w", f.is, what, path, f.mend, err)
	}
	return fmt.Errorf("sqlitestore: %s: %s: %w", what, path, err)
}

// oneLine is an error of the driver, which may join the same text for each setting of the connection.
type oneLine struct{ err error }

func (e oneLine) Error() string {
	line, _, _ := strings.Cut(e.err.Error(), "\n")
	return line
}

func (e oneLine) Unwrap() error { return e.err }
