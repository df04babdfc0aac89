package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
)

// sqliteOffice keeps letters in files of a folder of its own.
func sqliteOffice() postOffice {
	return postOffice{name: "SQLite", store: openSQLiteStore, driver: openSQLiteDriver}
}

func openSQLiteStore() (letterbox, error) {
	dir, err := os.MkdirTemp("", "runnel-bench")
	if err != nil {
		return nil, err
	}
	s, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "letters.db"), sqlitestore.Config{MaxPerSequence: -1})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return newStoreBox(s, func() error { return errors.Join(s.Close(), os.RemoveAll(dir)) }), nil
}

// sqliteDriver is SQL by hand, with the settings of the store.
type sqliteDriver struct {
	db                   *sql.DB
	insert, list, remove *sql.Stmt
	dir                  string
}

const sqliteSchema = `
CREATE TABLE letters (n INTEGER PRIMARY KEY AUTOINCREMENT, ` + letterColumns + `);
CREATE UNIQUE INDEX by_event ON letters (stage, event_id);
CREATE INDEX by_sequence ON letters (stage, key, n);`

func openSQLiteDriver() (letterbox, error) {
	dir, err := os.MkdirTemp("", "runnel-bench")
	if err != nil {
		return nil, err
	}
	b := &sqliteDriver{dir: dir}
	if err := b.open(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *sqliteDriver) open() (err error) {
	b.db, err = sql.Open("sqlite", "file:"+filepath.Join(b.dir, "driver.db")+
		"?_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000")
	if err != nil {
		return err
	}
	b.db.SetMaxOpenConns(1)
	if _, err = b.db.Exec(sqliteSchema); err != nil {
		return err
	}
	for to, query := range map[**sql.Stmt]string{
		&b.insert: "INSERT INTO letters (" + letterColumns + ") VALUES (?" + strings.Repeat(", ?", 28) + ") ON CONFLICT DO NOTHING",
		&b.list:   "SELECT * FROM letters ORDER BY n LIMIT ?",
		&b.remove: "DELETE FROM letters WHERE n = ?",
	} {
		if *to, err = b.db.Prepare(query); err != nil {
			return err
		}
	}
	return nil
}

func (b *sqliteDriver) put(from, n int) error {
	return b.together(func(tx *sql.Tx) error {
		insert := tx.Stmt(b.insert)
		for i := range n {
			if _, err := insert.Exec(letterValues(letterOf(from + i))...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *sqliteDriver) together(f func(*sql.Tx) error) error {
	tx, err := b.db.Begin()
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (b *sqliteDriver) drain(n int) error {
	for left := n; left > 0; {
		places, err := b.page()
		if err == nil && len(places) == 0 {
			err = fmt.Errorf("%d letters are missing", left)
		}
		if err == nil {
			err = b.together(func(tx *sql.Tx) error {
				remove := tx.Stmt(b.remove)
				for _, place := range places {
					if _, err := remove.Exec(place); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
		left -= len(places)
	}
	return nil
}

// page reads the next letters whole.
func (b *sqliteDriver) page() (places []int64, err error) {
	rows, err := b.list.Query(letterSequences)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err has it
	columns := make([]any, 30)
	for i := range columns {
		columns[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(columns...); err != nil {
			return nil, err
		}
		places = append(places, (*columns[0].(*any)).(int64))
	}
	return places, rows.Err()
}

func (b *sqliteDriver) close() error {
	var err error
	if b.db != nil {
		err = b.db.Close()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}
