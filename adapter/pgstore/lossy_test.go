//go:build unix

package pgstore_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/adapter/pgstore"
)

// A server that does not flush is refused by name; one whose default is lazy has it set right for this store.
func TestAServerThatDoesNotFlushIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a server")
	}
	c := newCluster(t)
	set := func(setting, value string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), c.dsn)
		must(t, err)
		defer func() { _ = conn.Close(t.Context()) }()
		_, err = conn.Exec(t.Context(), "ALTER SYSTEM SET "+setting+" = "+value)
		must(t, err)
		_, err = conn.Exec(t.Context(), "SELECT pg_reload_conf()")
		must(t, err)
	}
	known := func(setting, value string) func() bool {
		return func() bool {
			conn, err := pgx.Connect(t.Context(), c.dsn)
			must(t, err)
			defer func() { _ = conn.Close(t.Context()) }()
			var got string
			must(t, conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got))
			return got == value
		}
	}
	for _, setting := range []string{"fsync", "full_page_writes"} {
		set(setting, "off")
		eventually(t, setting+" is off", known(setting, "off"))
		s, err := pgstore.Open(t.Context(), c.dsn, pgstore.Config{})
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, pgstore.ErrLossy) {
			t.Errorf("with %s = off Open = %v, want ErrLossy", setting, err)
		}
		set(setting, "on")
		eventually(t, setting+" is on", known(setting, "on"))
	}
	set("synchronous_commit", "off")
	eventually(t, "commits are lazy", known("synchronous_commit", "off"))
	s, err := pgstore.Open(t.Context(), c.dsn, pgstore.Config{})
	must(t, err)
	defer func() { _ = s.Close() }()
	put(t, s, letter("ann", "1"))
	if mode := s.CommitMode(); mode != "on" {
		t.Errorf("synchronous_commit = %s for the writer, want on", mode)
	}
}
