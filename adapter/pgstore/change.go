package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Discard implements deadletter.Browser. It changes up to 64 letters in a transaction, so that others get
// their turn, and returns how many it changed also when ctx ends in between.
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
	now := time.Now()
	return s.do(func(n *needs) { s.needLetters(n, []string{id}) }, func(t *tx) error {
		r, err := t.find(id, true)
		if err != nil {
			return err
		}
		again := r.Letter
		again.Edit(payload, by, now)
		if n := again.Size(); over(n, s.config.MaxLetterBytes) {
			return fmt.Errorf("%w: %d bytes, %d are allowed", deadletter.ErrTooLarge, n, s.config.MaxLetterBytes)
		}
		return t.save(r, again)
	})
}

// maxChanges bounds the letters that one write changes.
const maxChanges = 64

func (s *Store) changeAll(ctx context.Context, ids []string, change func(*deadletter.Letter) bool) (int, error) {
	all := 0
	for some := range slices.Chunk(ids, maxChanges) {
		if ctx.Err() != nil {
			return all, fmt.Errorf("pgstore: change: %w", context.Cause(ctx))
		}
		changed := 0
		err := s.do(func(n *needs) { s.needLetters(n, some) }, func(t *tx) (err error) {
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

func (s *Store) needLetters(n *needs, ids []string) {
	for _, id := range ids {
		if number, ok := s.number(id); ok {
			n.full.add(number)
		}
	}
}

func (t *tx) changeSome(ids []string, change func(*deadletter.Letter) bool) (changed int, err error) {
	if err := t.lanesOf(ids); err != nil {
		return 0, err
	}
	for _, id := range ids {
		r, err := t.find(id, true)
		if errors.Is(err, deadletter.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		again := r.Letter
		if !change(&again) {
			continue
		}
		if err := t.save(r, again); err != nil {
			return 0, err
		}
		changed++
	}
	return changed, nil
}

// lanesOf reads the lanes of letters that are known, all at once.
func (t *tx) lanesOf(ids []string) error {
	n := &needs{}
	for _, text := range ids {
		number, _ := t.number(text)
		if r := t.byID[number]; r != nil {
			if _, known := t.lanes[r.lane()]; !known {
				n.lanes.add(r.lane())
			}
		}
	}
	if len(n.lanes) == 0 {
		return nil
	}
	return t.fetch(n)
}
