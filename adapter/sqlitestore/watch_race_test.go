package sqlitestore

import (
	"path/filepath"
	"testing"

	"github.com/runnel-go/runnel/deadletter"
)

// TestALatePublishHidesNoLane has the watcher read what another process did before the writer publishes an
// older commit of its own, which had opened the same lane.
func TestALatePublishHidesNoLane(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters.db")
	open := func() *Store {
		s, err := Open(t.Context(), path, Config{Watch: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s, other := open(), open()
	ann := deadletter.Letter{Stage: "charge", Key: "ann", Ordered: true, Holds: true}
	put := func(s *Store) {
		if _, err := s.Put(t.Context(), &ann); err != nil {
			t.Fatal(err)
		}
	}
	put(s)
	own := s.writer.seen.Load()
	if _, err := other.Purge(t.Context(), deadletter.Filter{}); err != nil {
		t.Fatal(err)
	}
	put(other)
	last := s.look(0)
	if last <= own || !s.MayHold("charge", "ann") {
		t.Fatalf("the watcher has seen version %d of %d, MayHold %v", last, own, s.MayHold("charge", "ann"))
	}
	late := tx{writer: s.writer, version: own, opened: []turn{{lane{"charge", "ann"}, false}}}
	late.publish()
	if s.look(last); !s.MayHold("charge", "ann") {
		t.Error("the watcher does not look again: MayHold is false until the next write")
	}
}
