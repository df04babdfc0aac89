package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Discard implements deadletter.Browser. It changes up to 64 letters in a transaction, so that others
// get their turn, and returns how many it changed also when ctx ends in between.
func (s *Store) Discard(ctx context.Context, ids []string, by deadletter.Note) (int, error) {
	now := time.Now()
	return s.changeAll(ctx, ids, func(l *deadletter.Letter) bool { return l.Discard(by, now) })
}

// Restore implements deadletter.Browser, as Discard does.
func (s *Store) Restore(ctx context.Context, ids []string, by deadletter.Note) (int, error) {
	now := time.Now()
	return s.changeAll(ctx, ids, func(l *deadletter.Letter) bool { return l.Restore(by, now) })
}

// Edit implements deadletter.Browser. A payload that makes the letter too large is refused with
// deadletter.ErrTooLarge.
func (s *Store) Edit(_ context.Context, id string, payload []byte, by deadletter.Note) error {
	return s.writer.do(func(t *tx) error {
		l, err := t.find(sqlGet, id)
		if err != nil {
			return err
		}
		l.Edit(payload, by, time.Now())
		if n := l.Size(); over(n, s.config.MaxLetterBytes) {
			return fmt.Errorf("%w: %d bytes, %d are allowed", deadletter.ErrTooLarge, n, s.config.MaxLetterBytes)
		}
		return t.save(l)
	})
}

// maxChanges bounds the letters that one write changes.
const maxChanges = 64

func (s *Store) changeAll(ctx context.Context, ids []string, change func(*deadletter.Letter) bool) (int, error) {
	all := 0
	for some := range slices.Chunk(ids, maxChanges) {
		if ctx.Err() != nil {
			return all, fmt.Errorf("sqlitestore: change: %w", context.Cause(ctx))
		}
		changed := 0
		err := s.writer.do(func(t *tx) (err error) {
			changed, err = t.changeSome(some, change)
			return err
		})
		if err != nil {
			return all, err
		}
		all += changed
	}
	return all, nil
}

func (t *tx) changeSome(ids []string, change func(*deadletter.Letter) bool) (changed int, err error) {
	for _, id := range ids {
		l, err := t.find(sqlGet, id)
		if errors.Is(err, deadletter.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if !change(&l.Letter) {
			continue
		}
		if err := t.save(l); err != nil {
			return 0, err
		}
		changed++
	}
	return changed, nil
}

// save writes a letter that changed. Its place stays.
func (t *tx) save(l *record) error {
	err := t.count()
	if err != nil {
		return err
	}
	if l.facet, err = t.facet(&l.Letter); err != nil {
		return err
	}
	if _, err := t.exec(sqlChangeLetter, changeArgs(l)...); err != nil {
		return err
	}
	clear(t.facets) // the old one may be gone
	t.changed(l.laneName())
	if !l.Ordered || !l.Holds {
		return nil
	}
	return t.noteHolding(l.laneName())
}
