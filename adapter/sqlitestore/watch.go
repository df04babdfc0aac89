package sqlitestore

import (
	"context"
	"time"
)

// watch learns which lanes other processes made held, while this store may have nothing to write. It adds
// lanes only: what it reads may be older than what the writer has just published, and a lane that is
// wrongly in the set costs one Divert, while one that is wrongly out of it would cost the order.
func (s *Store) watch() {
	tick := time.NewTicker(s.config.Watch)
	defer tick.Stop()
	for last := int64(0); ; {
		select {
		case <-s.writer.closing:
			return
		case <-tick.C:
		}
		last = s.look(last)
	}
}

// look adds the lanes that became held after a version of the totals, and returns the version that it has
// seen. A file that cannot be read now is looked at again.
//
// It may have read a commit of another process before the writer published an older one of its own, which
// takes lanes out that the newer one made held. So it goes back to what the writer knows whenever that
// took a lane out.
func (s *Store) look(after int64) int64 {
	if known := s.writer.seen.Load(); s.writer.unheld.Swap(false) || known > after {
		after = known
	}
	var version int64
	if err := s.reader.row(sqlVersion).Scan(&version); err != nil || version <= after {
		return after
	}
	if err := s.addHeld(context.Background(), s.reader.stmts[sqlHeld], after); err != nil {
		return after
	}
	return version
}
