package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/adapter/pgstore"
)

// postgresOffice keeps letters in schemas of the server for tests.
func postgresOffice() postOffice {
	return postOffice{name: "Postgres", store: openPostgresStore, driver: openPostgresDriver}
}

// postgresAt is where the server for tests is.
func postgresAt() string {
	if dsn := os.Getenv("RUNNEL_POSTGRES_DSN"); dsn != "" {
		return dsn
	}
	return "postgres://postgres@127.0.0.1:5432/test?sslmode=disable"
}

// connect makes a schema of its own, which end drops.
func connect() (c *pgx.Conn, schema string, end func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err = pgx.Connect(ctx, postgresAt())
	if err != nil {
		return nil, "", nil, fmt.Errorf("%w: make services starts a PostgreSQL, RUNNEL_POSTGRES_DSN names another: %s", errNoServer,
			strings.Join(strings.Fields(err.Error()), " "))
	}
	schema = fmt.Sprintf("runnel_bench_%d_%d", os.Getpid(), time.Now().UnixNano())
	end = func() error {
		_, err := c.Exec(context.Background(), "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
		return errors.Join(err, c.Close(context.Background()))
	}
	return c, schema, end, nil
}

func openPostgresStore() (letterbox, error) {
	_, schema, end, err := connect()
	if err != nil {
		return nil, err
	}
	s, err := pgstore.Open(context.Background(), postgresAt(), pgstore.Config{Schema: schema, MaxPerSequence: -1})
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return newStoreBox(s, func() error { return errors.Join(s.Close(), end()) }), nil
}

// postgresDriver is SQL by hand, in pipelined batches.
type postgresDriver struct {
	c      *pgx.Conn
	insert string
	end    func() error
}

const postgresSchema = `
CREATE TABLE letters (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stage bytea, key bytea, topic bytea, ordered bool, holds bool,
	event_id bytea, given_id bytea, origin bigint, topic_key bytea, seq bigint, time bigint, header bytea, payload bytea, codec bytea,
	follower bool, reason bytea, error bytea, error_type bytea, causes bytea, fingerprint bytea, stack bytea, attempts bigint,
	history bytea, redrives bigint, state bytea, dead_at bigint, updated_at bigint, notes bytea, original bytea);
CREATE UNIQUE INDEX by_event ON letters (stage, event_id);
CREATE INDEX by_sequence ON letters (stage, key, n);`

func openPostgresDriver() (letterbox, error) {
	c, schema, end, err := connect()
	if err != nil {
		return nil, err
	}
	if _, err := c.Exec(context.Background(), "CREATE SCHEMA "+schema+"; SET search_path = "+schema+";"+postgresSchema); err != nil {
		return nil, errors.Join(err, end())
	}
	places := make([]string, 29)
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	insert := "INSERT INTO letters (" + letterColumns + ") VALUES (" + strings.Join(places, ", ") + ") ON CONFLICT DO NOTHING"
	return &postgresDriver{c: c, insert: insert, end: end}, nil
}

// put sends one batch, which is a transaction.
func (b *postgresDriver) put(from, n int) error {
	inserts := &pgx.Batch{}
	for i := range n {
		inserts.Queue(b.insert, letterValues(letterOf(from+i))...)
	}
	return b.c.SendBatch(context.Background(), inserts).Close()
}

func (b *postgresDriver) drain(n int) error {
	for left := n; left > 0; {
		places, err := b.page()
		if err == nil && len(places) == 0 {
			err = fmt.Errorf("%d letters are missing", left)
		}
		deletes := &pgx.Batch{}
		for _, place := range places {
			deletes.Queue("DELETE FROM letters WHERE n = $1", place)
		}
		if err == nil {
			err = b.c.SendBatch(context.Background(), deletes).Close()
		}
		if err != nil {
			return err
		}
		left -= len(places)
	}
	return nil
}

// page reads the next letters whole.
func (b *postgresDriver) page() (places []int64, err error) {
	rows, err := b.c.Query(context.Background(), "SELECT * FROM letters ORDER BY n LIMIT $1", letterSequences)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (int64, error) {
		values, err := row.Values()
		if err != nil {
			return 0, err
		}
		return values[0].(int64), nil
	})
}

func (b *postgresDriver) close() error { return b.end() }
