package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// inMemory is the name of no file: the letters end with the program.
const inMemory = "memory"

// maxInMemory has room for the guests of a year's file: the default ends at 100,000, and then their keys
// would wait for room.
const maxInMemory = 1_000_000

// openLetters opens the store of dead letters: the file that was named, or one in a new temporary folder.
func openLetters(ctx context.Context, path string) (*sqlitestore.Store, string, error) {
	if path == "" {
		dir, err := os.MkdirTemp("", "retail-")
		if err != nil {
			return nil, "", err
		}
		path = filepath.Join(dir, "letters.db")
	}
	s, err := sqlitestore.Open(ctx, path, sqlitestore.Config{Logger: slog.New(slog.DiscardHandler)})
	return s, path, err
}

// openFresh opens the store of a run that makes letters. They must be the only ones: the summary counts them.
func openFresh(ctx context.Context, path string) (_ deadletter.Store, name string, done func() error, _ error) {
	if path == inMemory {
		m := deadletter.NewMemory(deadletter.MemoryConfig{MaxLetters: maxInMemory})
		return m, path, func() error { return nil }, nil
	}
	s, path, err := openLetters(ctx, path)
	if err != nil {
		return nil, "", nil, err
	}
	n, err := s.Stats(ctx)
	if had := n.Active + n.Quarantined + n.Discarded; err == nil && had > 0 {
		err = fmt.Errorf("%s has %d letters of another run; redrive them, or give another file", path, had)
	}
	if err != nil {
		return nil, "", nil, errors.Join(err, s.Close())
	}
	return s, path, s.Close, nil
}

// openExisting is openLetters for a file that must be there.
func openExisting(ctx context.Context, path string) (*sqlitestore.Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	s, _, err := openLetters(ctx, path)
	return s, err
}
