package pgstore_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/deadletter"
)

// refused opens a schema, which must fail with an error that names it, and stay as it is.
func refused(t *testing.T, dsn string, c pgstore.Config, want error, words ...string) {
	t.Helper()
	s, err := pgstore.Open(t.Context(), dsn, c)
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("Open = %v, want %v", err, want)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is of several lines", err)
	}
}

func TestASchemaThatIsNotOursIsRefused(t *testing.T) {
	dsn, c := server(t)
	for what, query := range map[string]string{
		"of another program":             "CREATE TABLE %[1]s.orders (id int)",
		"with a table of the same name":  "CREATE TABLE %[1]s.meta (id int)",
		"of another kind":                "CREATE TABLE %[1]s.meta (kind text, version int); INSERT INTO %[1]s.meta VALUES ('a shop', 1)",
		"of another program, with views": "CREATE VIEW %[1]s.letters AS SELECT 1 AS n",
	} {
		schema := fresh(t)
		_, err := c.Exec(t.Context(), fmt.Sprintf("CREATE SCHEMA %[1]s; "+query, schema))
		must(t, err)
		t.Run(what, func(t *testing.T) {
			refused(t, dsn, pgstore.Config{Schema: schema}, pgstore.ErrForeign, schema, "name another")
			var n int
			must(t, c.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename = 'commits'", schema).Scan(&n))
			if n != 0 {
				t.Error("it was changed")
			}
		})
	}
}

func TestADamagedSchemaSaysWhatIsMissing(t *testing.T) {
	dsn, c := server(t)
	for query, want := range map[string]string{
		"ALTER TABLE %s.letters DROP COLUMN codec": "letters.codec",
		"DROP TABLE %s.claims":                     "claims.sequence",
		"DROP INDEX %s.letters_facet":              "letters_facet",
		"DELETE FROM %s.meta":                      "meta has 0 rows",
	} {
		schema := fresh(t)
		_ = open(t, schema, pgstore.Config{}).Close()
		_, err := c.Exec(t.Context(), fmt.Sprintf(query, schema))
		must(t, err)
		refused(t, dsn, pgstore.Config{Schema: schema}, pgstore.ErrDamaged, schema, want, "restore a backup")
		_, err = c.Exec(t.Context(), "DROP SCHEMA "+schema+" CASCADE")
		must(t, err)
	}
}

func TestASchemaThatBreaksWhileItIsOpenIsDamaged(t *testing.T) {
	schema := fresh(t)
	s := open(t, schema, pgstore.Config{})
	put(t, s, letter("ann", "1"))
	_, c := server(t)
	_, err := c.Exec(t.Context(), "DROP SCHEMA "+schema+" CASCADE")
	must(t, err)
	if _, err := s.Put(t.Context(), letter("ann", "2")); !errors.Is(err, pgstore.ErrDamaged) {
		t.Errorf("Put = %v, want ErrDamaged", err)
	}
	if _, err := s.Stats(t.Context()); !errors.Is(err, pgstore.ErrDamaged) {
		t.Errorf("Stats = %v, want ErrDamaged", err)
	}
}

func TestASchemaThatIsNotThereIsMadeUnlessItMustExist(t *testing.T) {
	dsn, c := server(t)
	schema := fresh(t)
	refused(t, dsn, pgstore.Config{Schema: schema, Existing: true}, pgstore.ErrMissing, schema)
	var there bool
	must(t, c.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema).Scan(&there))
	if there {
		t.Error("looking made it")
	}
	_, err := c.Exec(t.Context(), "CREATE SCHEMA "+schema) // an administrator's, for a user who may not make one
	must(t, err)
	put(t, open(t, schema, pgstore.Config{}), letter("ann", "1"))
	put(t, open(t, schema, pgstore.Config{Existing: true}), letter("ann", "2"))
}

func TestProcessesThatOpenAtOnceMakeOneSchema(t *testing.T) {
	schema := fresh(t)
	dsn, _ := server(t)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			s, err := pgstore.Open(t.Context(), dsn, pgstore.Config{Schema: schema})
			if err != nil {
				t.Errorf("Open = %v", err)
				return
			}
			defer func() { _ = s.Close() }()
			put(t, s, letter("ann", fmt.Sprint(i)))
		})
	}
	all.Wait()
	wantLetters(t, open(t, schema, pgstore.Config{}), "ann", 6)
}

// A pooler that stands before the server refuses a parameter of the connection's beginning, or passes it over. What the
// connection string has is the user's to know.
func TestAConnectionIsSetUpAfterItHasBegun(t *testing.T) {
	dsn, _ := server(t)
	schema := fresh(t)
	s, err := pgstore.Open(t.Context(), dsn+"&search_path=elsewhere&lock_timeout=3s", pgstore.Config{Schema: schema})
	must(t, err)
	defer func() { _ = s.Close() }()
	for name, want := range map[string]pgstore.Setting{
		"search_path": {`"` + schema + `"`, "session"}, "statement_timeout": {"30s", "session"},
		"idle_in_transaction_session_timeout": {"10s", "session"}, "synchronous_commit": {"on", "session"}, "lock_timeout": {"3s", "client"},
	} {
		if got, err := s.WriterSetting(name); err != nil || got != want {
			t.Errorf("%s of what writes = %v, %v, want %v", name, got, err, want)
		}
	}
	want := pgstore.Setting{Value: `"` + schema + `"`, Source: "session"}
	if got, err := s.ReaderSetting(t.Context(), "search_path"); err != nil || got != want {
		t.Errorf("search_path of what reads = %v, %v, want %v", got, err, want)
	}
	put(t, s, letter("ann", "1"))
	wantLetters(t, s, "ann", 1)
}

func TestAServerThatTakesNoWritesIsReadOnly(t *testing.T) {
	dsn, c := server(t)
	schema := fresh(t)
	refused(t, dsn+"&default_transaction_read_only=on", pgstore.Config{Schema: schema}, pgstore.ErrReadOnly, "primary")
	_ = open(t, schema, pgstore.Config{}).Close()
	role := schema + "_guest"
	_, err := c.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN")
	must(t, err)
	defer func() {
		_, err := c.Exec(t.Context(), "DROP OWNED BY "+role+"; DROP ROLE "+role)
		must(t, err)
	}()
	_, err = c.Exec(t.Context(), "GRANT USAGE ON SCHEMA "+schema+" TO "+role+"; GRANT SELECT ON ALL TABLES IN SCHEMA "+schema+" TO "+role)
	must(t, err)
	u, err := url.Parse(dsn)
	must(t, err)
	u.User = url.User(role)
	refused(t, u.String(), pgstore.Config{Schema: schema}, pgstore.ErrReadOnly, schema, "give this user")
}

func TestALetterThatIsTooLargeToReadWithOthersIsReadAlone(t *testing.T) {
	for _, c := range []struct {
		sizes []int64
		full  bool
		want  int
	}{
		{[]int64{4 << 20, 4 << 20, 4 << 20, 4 << 20, 4 << 20}, true, 4},
		{[]int64{4 << 20, 4 << 20, 4 << 20, 4 << 20, 4 << 20}, false, 5},
		{[]int64{100 << 20, 1}, true, 1}, {[]int64{1, 100 << 20, 1}, true, 1}, {make([]int64, 1000), true, 256},
	} {
		if n := pgstore.Cut(c.sizes, c.full); n != c.want {
			t.Errorf("of %d letters %d are read at once, want %d", len(c.sizes), n, c.want)
		}
	}
	s := open(t, fresh(t), pgstore.Config{})
	for i := range 6 {
		l := letter("ann", fmt.Sprint(i))
		l.Payload = make([]byte, 3<<20)
		put(t, s, l)
	}
	i := 0
	for l, err := range s.List(t.Context(), deadletter.Filter{}) {
		must(t, err)
		if l.EventID != fmt.Sprint(i) || len(l.Payload) != 3<<20 {
			t.Errorf("letter %d is %s, of %d bytes", i, l.EventID, len(l.Payload))
		}
		i++
	}
	if i != 6 {
		t.Errorf("%d letters of 6", i)
	}
}
