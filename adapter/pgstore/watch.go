package pgstore

import (
	"context"
	"time"
)

// watch learns which lanes other processes made held, while this store may have nothing to write. It adds
// lanes only: what it reads may be older than what the writer has just published, and a lane that is wrongly
// in the set costs one Divert, while one that is wrongly out of it would cost the order. It reads beside the
// writer, which never waits for it.
func (s *Store) watch() {
	tick := time.NewTicker(s.config.Watch)
	defer tick.Stop()
	for last := int64(0); ; {
		select {
		case <-s.writer.ending.Done():
			return
		case <-tick.C:
		}
		last = s.look(last)
	}
}

// look adds the lanes that became held after a version, and returns the version that it has seen. A server that
// cannot be read now is looked at again.
//
// It may have read a commit of another process before the writer published an older one of its own, which
// takes lanes out that the newer one made held. So it goes back to what the writer knows whenever that took
// a lane out.
func (s *Store) look(after int64) int64 {
	if known := s.writer.seen.Load(); s.writer.unheld.Swap(false) || known > after {
		after = known
	}
	ctx, cancel := context.WithTimeout(s.writer.ending, 5*time.Second)
	defer cancel()
	var prefix string
	var change int64
	if err := s.pool.QueryRow(ctx, sqlChange).Scan(&prefix, &change); err != nil || change <= after {
		return after
	}
	if err := s.addHeld(ctx, s.pool, after); err != nil {
		return after
	}
	return change
}
