package sqlitestore_test

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// What a transaction brought along of a sequence is as it stands: what another process did to it before the
// transaction is seen, and what this store does is seen at once.
func TestTheNextLetterIsAsItStands(t *testing.T) {
	path := fresh(t)
	s, other := open(t, path, sqlitestore.Config{}), open(t, path, sqlitestore.Config{})
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = put(t, s, letter("ann", string(rune('a'+i))))
	}
	c, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: "ann"}, "me", time.Hour)
	must(t, err)
	head := func(want string) {
		t.Helper()
		if l, err := s.Head(t.Context(), c); err != nil || l.EventID != want {
			t.Errorf("Head = %s, %v, want %s", l.EventID, err, want)
		}
	}
	resolve := func(i int) {
		t.Helper()
		must(t, s.Resolve(t.Context(), c, ids[i]))
	}
	head("a")
	resolve(0)
	head("b")
	_, err = other.Discard(t.Context(), ids[2:3], deadletter.Note{})
	must(t, err)
	resolve(1)
	head("d")
	_, err = s.Discard(t.Context(), ids[3:4], deadletter.Note{})
	must(t, err)
	head("e")
	must(t, s.Edit(t.Context(), ids[4], []byte("edited"), deadletter.Note{}))
	if l, err := s.Head(t.Context(), c); err != nil || string(l.Payload) != "edited" {
		t.Errorf("Head = %s, %v, want what was edited", l.Payload, err)
	}
	must(t, other.Edit(t.Context(), ids[5], []byte("edited"), deadletter.Note{}))
	resolve(4)
	if l, err := s.Head(t.Context(), c); err != nil || l.EventID != "f" || string(l.Payload) != "edited" {
		t.Errorf("Head = %s: %s, %v, want what was edited", l.EventID, l.Payload, err)
	}
	_, err = other.Purge(t.Context(), deadletter.Filter{IDs: ids[6:]})
	must(t, err)
	resolve(5)
	if _, err := s.Head(t.Context(), c); err != deadletter.ErrNotFound { //nolint:errorlint // it is that
		t.Errorf("Head = %v, want ErrNotFound", err)
	}
	ids[0] = put(t, s, letter("ann", "z"))
	head("z")
	_, err = other.Purge(t.Context(), deadletter.Filter{})
	must(t, err)
	<-time.After(30 * time.Millisecond)                                  // so long it may be overlooked
	if _, err := s.Head(t.Context(), c); err != deadletter.ErrNotFound { //nolint:errorlint // it is that
		t.Errorf("Head = %v, want ErrNotFound", err)
	}
}
