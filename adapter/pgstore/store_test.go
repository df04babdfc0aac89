package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

// serverDSN is the connection string of the server for tests.
func serverDSN() string {
	if dsn := os.Getenv("RUNNEL_POSTGRES_DSN"); dsn != "" {
		return dsn
	}
	return "postgres://postgres@127.0.0.1:5432/test?sslmode=disable"
}

// server is where the server for tests is, or skips the test.
func server(t testing.TB) (string, *pgx.Conn) {
	t.Helper()
	dsn := serverDSN()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		if os.Getenv("RUNNEL_REQUIRE_SERVICES") == "1" {
			t.Fatalf("there is no PostgreSQL: %v", err)
		}
		t.Skipf("there is no PostgreSQL: %v; `make services` starts one, RUNNEL_POSTGRES_DSN names another", err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return dsn, c
}

var schemas atomic.Uint64

// fresh is a schema that nobody else uses, dropped when the test ends.
func fresh(t testing.TB) string {
	t.Helper()
	_, c := server(t)
	name := fmt.Sprintf("runnel_test_%d_%d_%d", os.Getpid(), time.Now().UnixNano(), schemas.Add(1))
	t.Cleanup(func() {
		var there bool
		must(t, c.QueryRow(context.Background(), "SELECT to_regclass($1) IS NOT NULL", name+".facets").Scan(&there))
		if there && !t.Failed() {
			checkCounters(t, c, name)
		}
		if _, err := c.Exec(context.Background(), "DROP SCHEMA IF EXISTS "+name+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	return name
}

func open(t testing.TB, schema string, c pgstore.Config) *pgstore.Store {
	t.Helper()
	c.Schema = schema
	s, err := pgstore.Open(context.Background(), serverDSN(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func suite() (func(*testing.T) *pgstore.Store, deadlettertest.Config) {
	schemas := map[deadletter.Store]string{}
	at := func(t *testing.T, schema string, c pgstore.Config) *pgstore.Store {
		s := open(t, schema, c)
		schemas[s] = schema
		return s
	}
	return func(t *testing.T) *pgstore.Store { return at(t, fresh(t), pgstore.Config{}) }, deadlettertest.Config{
		Rounds: 20, Lease: 300 * time.Millisecond,
		Limited: func(t *testing.T, l deadlettertest.Limits) deadletter.Store {
			return at(t, fresh(t), pgstore.Config{
				MaxLetters: l.Letters, MaxPerSequence: l.PerSequence, MaxLetterBytes: l.LetterBytes, MaxSequences: l.Sequences,
			})
		},
		Reopen: func(t *testing.T, s deadletter.Store) deadletter.Store {
			_ = s.(*pgstore.Store).Close()
			return at(t, schemas[s], pgstore.Config{})
		},
	}
}

func TestStoreIsAStore(t *testing.T) {
	open, config := suite()
	deadlettertest.Run(t, func(t *testing.T) deadletter.Store { return open(t) }, config)
}

func TestStoreKeepsOperations(t *testing.T) {
	open, config := suite()
	deadlettertest.RunOperations(t, func(t *testing.T) deadletter.RedriveStore { return open(t) }, config)
}

func TestANewerSchemaIsRefused(t *testing.T) {
	dsn, c := server(t)
	schema := fresh(t)
	_ = open(t, schema, pgstore.Config{}).Close()
	if _, err := c.Exec(t.Context(), "UPDATE "+schema+".meta SET version = 99"); err != nil {
		t.Fatal(err)
	}
	if _, err := pgstore.Open(t.Context(), dsn, pgstore.Config{Schema: schema}); !errors.Is(err, pgstore.ErrNewer) {
		t.Errorf("Open = %v, want ErrNewer", err)
	}
}

func TestErrorsHideThePassword(t *testing.T) {
	for _, dsn := range []string{"postgres://ann:hush-hush@127.0.0.1:1/x", "postgres://ann:hush-hush@127.0.0.1:bad/x"} {
		_, err := pgstore.Open(t.Context(), dsn, pgstore.Config{})
		if err == nil || strings.Contains(err.Error(), "hush-hush") || strings.Contains(err.Error(), "\n") {
			t.Errorf("Open = %q", err)
		}
	}
}
