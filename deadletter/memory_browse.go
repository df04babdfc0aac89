package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Get implements Browser.
func (m *Memory) Get(_ context.Context, id string) (Letter, error) {
	m.mu.RLock()
	e := m.letters[id]
	var l *Letter
	if e != nil {
		l = e.l
	}
	m.mu.RUnlock()
	if l == nil {
		return Letter{}, ErrNotFound
	}
	return *l.Clone(), nil
}

// List implements Browser. It reads a page of letters at a time; a letter that comes while it runs is
// yielded, one that goes before its page is read is not.
func (m *Memory) List(ctx context.Context, f Filter) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		for l := range m.scan(f) {
			if ctx.Err() != nil {
				yield(Letter{}, fmt.Errorf("deadletter: list: %w", context.Cause(ctx)))
				return
			}
			if !yield(*l.Clone(), nil) {
				return
			}
		}
	}
}

// Groups implements Browser. It reads every letter once.
func (m *Memory) Groups(ctx context.Context, f Filter) ([]Group, error) {
	g := groups{}
	for l := range m.scan(f) {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("deadletter: groups: %w", context.Cause(ctx))
		}
		g.add(l)
	}
	return g.sorted(), nil
}

// Stats implements Browser. It reads every letter once, for the oldest.
func (m *Memory) Stats(context.Context) (Stats, error) {
	var oldest time.Time
	for l := range m.scan(Filter{}) {
		if oldest.IsZero() || l.DeadAt.Before(oldest) {
			oldest = l.DeadAt
		}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Stats{
		Active: m.states[Active], Quarantined: m.states[Quarantined], Discarded: m.states[Discarded],
		Sequences: m.held.Len(), Bytes: m.bytes, Oldest: oldest, Removed: m.removed,
	}, nil
}

// Discard implements Browser.
func (m *Memory) Discard(_ context.Context, ids []string, by Note) (int, error) {
	now := time.Now()
	return m.changeAll(ids, func(l *Letter) bool { return l.Discard(by, now) }), nil
}

// Restore implements Browser.
func (m *Memory) Restore(_ context.Context, ids []string, by Note) (int, error) {
	now := time.Now()
	return m.changeAll(ids, func(l *Letter) bool { return l.Restore(by, now) }), nil
}

// Edit implements Browser. A payload that makes the letter too large is refused with ErrTooLarge.
func (m *Memory) Edit(_ context.Context, id string, payload []byte, by Note) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.letters[id]
	if e == nil {
		return ErrNotFound
	}
	l := *e.l
	l.Edit(payload, by, time.Now())
	if size := l.Size(); over(size-1, m.limits.MaxLetterBytes) {
		return fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, size, m.limits.MaxLetterBytes)
	}
	m.replace(e, &l)
	return nil
}

// Purge implements Browser.
func (m *Memory) Purge(ctx context.Context, f Filter) (n int, err error) {
	f = f.forPurge()
	again := f
	again.IDs = nil
	for l := range m.scan(f) {
		if ctx.Err() != nil {
			return n, fmt.Errorf("deadletter: purge: %w", context.Cause(ctx))
		}
		if m.purge(l.ID, again) {
			n++
		}
	}
	return n, nil
}

func (m *Memory) purge(id string, f Filter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.letters[id]
	if e == nil || !f.Matches(e.l) {
		return false
	}
	m.remove(e)
	m.removed++
	return true
}

// changeAll changes letters one by one: the lock is short, however many there are.
func (m *Memory) changeAll(ids []string, change func(*Letter) bool) (n int) {
	for _, id := range ids {
		if m.change(id, change) {
			n++
		}
	}
	return n
}

func (m *Memory) change(id string, change func(*Letter) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.letters[id]
	if e == nil {
		return false
	}
	l := *e.l
	if !change(&l) {
		return false
	}
	m.replace(e, &l)
	return true
}

// scan yields the letters that match, which are not to be changed, and holds no lock while it does.
func (m *Memory) scan(f Filter) iter.Seq[*Letter] {
	return func(yield func(*Letter) bool) {
		from := m.candidates(f.IDs)
		f.IDs = nil
		for l := range from {
			if f.Matches(l) && !yield(l) {
				return
			}
		}
	}
}

const pageSize = 256

func (m *Memory) candidates(ids []string) iter.Seq[*Letter] {
	if ids != nil {
		return slices.Values(m.named(ids))
	}
	return func(yield func(*Letter) bool) {
		page := make([]*Letter, 0, pageSize)
		for at, end := uint64(0), false; !end; {
			page, at, end = m.page(page, at)
			for _, l := range page {
				if !yield(l) {
					return
				}
			}
		}
	}
}

func (m *Memory) page(page []*Letter, after uint64) (_ []*Letter, at uint64, end bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	page, at = m.journal.after(after, page[:0])
	return page, at, at == after
}

// named returns the letters with these ids, each once, in the order of Put.
func (m *Memory) named(ids []string) []*Letter {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found []*entry
	for _, id := range ids {
		if e := m.letters[id]; e != nil {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.n, b.n) })
	found = slices.Compact(found)
	letters := make([]*Letter, len(found))
	for i, e := range found {
		letters[i] = e.l
	}
	return letters
}
