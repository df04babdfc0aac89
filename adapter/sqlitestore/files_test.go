package sqlitestore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// TestFault44_BadFiles shows each file that Open must refuse: the error says which and what mends it, and the file
// stays as it was.
func TestFault44_BadFiles(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want error
		says string
	}{
		"a text": {func(t *testing.T, path string) {
			must(t, os.WriteFile(path, bytes.Repeat([]byte("a text, not a database\n"), 100), 0o600))
		}, sqlitestore.ErrForeign, "it is no SQLite database"},
		"another program's database": {func(t *testing.T, path string) {
			exec1(t, foreign(t, path), "CREATE TABLE users (name TEXT)")
		}, sqlitestore.ErrForeign, "another program's"},
		"a database that has another's application id": {func(t *testing.T, path string) {
			exec1(t, foreign(t, path), "PRAGMA application_id = 252006675")
		}, sqlitestore.ErrForeign, "another program's"},
		"a newer schema": {func(t *testing.T, path string) {
			whole(t, path)
			exec1(t, foreign(t, path), fmt.Sprintf("PRAGMA user_version = %d", sqlitestore.SchemaVersion+1))
		}, sqlitestore.ErrNewer, "use a newer program"},
		"no schema version": {func(t *testing.T, path string) {
			whole(t, path)
			exec1(t, foreign(t, path), "PRAGMA user_version = 0")
		}, sqlitestore.ErrDamaged, "no schema version"},
		"a missing table": {func(t *testing.T, path string) {
			whole(t, path)
			exec1(t, foreign(t, path), "DROP TABLE claims")
		}, sqlitestore.ErrDamaged, "it lacks claims"},
		"a missing trigger": {func(t *testing.T, path string) {
			whole(t, path)
			exec1(t, foreign(t, path), "DROP TRIGGER letters_removed")
		}, sqlitestore.ErrDamaged, "it lacks letters_removed"},
		"a damaged schema": {func(t *testing.T, path string) {
			whole(t, path)
			overwrite(t, path, 100, 4000)
		}, sqlitestore.ErrDamaged, ".recover"},
		"a damaged header": {func(t *testing.T, path string) {
			whole(t, path)
			overwrite(t, path, 0, 16)
		}, sqlitestore.ErrForeign, "it is no SQLite database"},
		"a directory": {func(t *testing.T, path string) {
			must(t, os.Mkdir(path, 0o700))
		}, nil, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := fresh(t)
			c.make(t, path)
			before := tree(t, filepath.Dir(path))
			_, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
			refused(t, err, path, c.want, c.says)
			if after := tree(t, filepath.Dir(path)); after != before {
				t.Errorf("Open changed the directory from\n%s to\n%s", before, after)
			}
		})
	}
}

func TestFault44_BadPlaces(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct{ path, says string }{
		"no name":               {"", "name a file"},
		"memory":                {":memory:", "deadletter.NewMemory"},
		"no directory":          {filepath.Join(dir, "a", "b.db"), "make it first"},
		"a file as directory":   {filepath.Join(file, "b.db"), "cannot be written"},
		"a directory read-only": {"/proc/letters.db", "must be able to write"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sqlitestore.Open(t.Context(), c.path, sqlitestore.Config{})
			if err == nil && name == "a directory read-only" {
				t.Skip("there is no directory that nobody can write to")
			}
			refused(t, err, c.path, nil, c.says)
		})
	}
}

func refused(t *testing.T, err error, path string, want error, says string) {
	t.Helper()
	if err == nil || want != nil && !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "sqlitestore: ") ||
		!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), says) {
		t.Errorf("Open = %v\nwant %v, %q and the path", err, want, says)
	}
}

// whole makes a store with letters in it.
func whole(t *testing.T, path string) {
	t.Helper()
	s := open(t, path, sqlitestore.Config{})
	for i := range 8 {
		put(t, s, letter("ann", fmt.Sprint(i)))
	}
	must(t, s.Close())
}

func exec1(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	_, err := db.Exec(query)
	must(t, errors.Join(err, db.Close()))
}

func overwrite(t *testing.T, path string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte(rand.Text() + strings.Repeat("\xff", n))[:n], at)
	must(t, errors.Join(err, f.Close()))
}

// tree is the files of a directory with what is in them.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, "-shm") {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %x\n", d.Name(), content)
		return err
	}))
	return all.String()
}

func TestADamagedLetterIsAnError(t *testing.T) {
	path := fresh(t)
	whole(t, path)
	db := foreign(t, path)
	root := number(t, db, "SELECT rootpage FROM sqlite_schema WHERE name = 'letters'")
	must(t, db.Close())
	overwrite(t, path, (root-1)*4096, 4096)
	s := open(t, path, sqlitestore.Config{})
	var last error
	for _, last = range s.List(t.Context(), deadletter.Filter{}) {
		continue
	}
	if !errors.Is(last, sqlitestore.ErrDamaged) || !strings.Contains(last.Error(), path) {
		t.Errorf("List = %v, want %v", last, sqlitestore.ErrDamaged)
	}
	if _, err := s.Put(t.Context(), letter("bob", "new")); !errors.Is(err, sqlitestore.ErrDamaged) {
		t.Errorf("Put = %v, want %v", err, sqlitestore.ErrDamaged)
	}
}

func TestAnEmptyFileBecomesAStore(t *testing.T) {
	path := fresh(t)
	must(t, os.WriteFile(path, nil, 0o600))
	put(t, open(t, path, sqlitestore.Config{}), letter("ann", "1"))
}

func TestOpenHonoursItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("not now")
	cancel(cause)
	if _, err := sqlitestore.Open(ctx, fresh(t), sqlitestore.Config{}); !errors.Is(err, cause) {
		t.Errorf("Open = %v, want %v", err, cause)
	}
}

func TestManyOpenAFreshFileAtOnce(t *testing.T) {
	for range 6 {
		openAtOnce(t, fresh(t))
	}
}

func openAtOnce(t *testing.T, path string) {
	t.Helper()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
			if err != nil {
				t.Errorf("Open = %v", err)
				return
			}
			put(t, s, letter("ann", fmt.Sprint(i)))
			if err := s.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
	all.Wait()
	if n := len(events(t, open(t, path, sqlitestore.Config{}), deadletter.Filter{})); n != 8 {
		t.Errorf("%d letters, want 8", n)
	}
	recount(t, path)
}

// TestFault53_ABackupOfAFileInUse: VACUUM INTO makes a copy that is whole, whatever is written meanwhile.
func TestFault53_ABackupOfAFileInUse(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	for i := range 50 {
		put(t, s, letter(fmt.Sprint("key-", i%5), fmt.Sprint("before-", i)))
	}
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			for i := range 25 {
				if _, err := s.Put(t.Context(), letter(fmt.Sprint("key-", w), fmt.Sprint("meanwhile-", w, "-", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	exec1(t, foreign(t, path), "VACUUM INTO '"+backup+"'")
	writing.Wait()
	copied := open(t, backup, sqlitestore.Config{})
	if n := len(events(t, copied, deadletter.Filter{})); n < 50 || n > 150 {
		t.Errorf("the backup has %d letters, want the 50 and maybe some of those that came meanwhile", n)
	}
	if !copied.MayHold("charge", "key-3") {
		t.Error("the backup does not know that key-3 is held")
	}
	recount(t, backup)
}
