package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// database makes a database that nobody else uses, dropped when the test ends, or skips the test.
func database(t *testing.T) (*pgx.Conn, string) {
	t.Helper()
	dsn := os.Getenv("RUNNEL_POSTGRES_DSN")
	if dsn == "" {
		dsn = "postgres://postgres@127.0.0.1:5432/test?sslmode=disable"
	}
	connect := func(dsn string) *pgx.Conn {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, err := pgx.Connect(ctx, dsn)
		if err != nil && os.Getenv("RUNNEL_REQUIRE_SERVICES") != "1" {
			t.Skipf("there is no PostgreSQL: %v; `make services` starts one, RUNNEL_POSTGRES_DSN names another", err)
		}
		if err != nil {
			t.Fatalf("there is no PostgreSQL: %v", err)
		}
		return c
	}
	c, name := connect(dsn), fmt.Sprintf("runnel_cli_%d_%d", os.Getpid(), time.Now().UnixNano())
	if _, err := c.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := c.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		_ = c.Close(context.Background())
	})
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	own := connect(u.String())
	t.Cleanup(func() { _ = own.Close(context.Background()) })
	return own, u.String()
}

// Looking makes nothing in a database: only import does.
func TestLookingAtPostgresMakesNothing(t *testing.T) {
	c, url := database(t)
	for _, args := range [][]string{
		{"stats"}, {"ls"}, {"groups"}, {"show", "x"}, {"check", "--max", "1"}, {"ops"}, {"export"}, {"discard", "x"}, {"purge", "--stage", "x", "--yes"}, {"redrive", "x"},
	} {
		r := start(t, "", append(append([]string{"dlq"}, args...), "--store", url)...)
		var schemas int
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_namespace WHERE nspname = 'runnel'").Scan(&schemas); err != nil {
			t.Fatal(err)
		}
		if r.code == 0 || schemas != 0 || !strings.Contains(r.err, "no such schema") {
			t.Errorf("dlq %v: exit code %d, %d schemas, stderr %q", args, r.code, schemas, r.err)
		}
	}
	line := `{"id":"1","stage":"charge","topic":"orders","key":"ann","reason":"exhausted","error":"boom"}` + "\n"
	if r := start(t, line, "dlq", "import", "--store", url); r.code != 0 {
		t.Fatalf("import: exit code %d, stderr %q", r.code, r.err)
	}
	if r := start(t, "", "dlq", "stats", "--store", url); r.code != 0 || !strings.Contains(r.out, "1") {
		t.Errorf("stats: exit code %d, stdout %q, stderr %q", r.code, r.out, r.err)
	}
}
