package deadlettertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// letter is a dead letter of an ordered stage that holds its key.
func letter(stage, key, eventID string) *deadletter.Letter {
	return &deadletter.Letter{
		Stage: stage, Topic: "orders", Key: key, Ordered: true, Holds: true,
		EventID: eventID, GivenID: eventID, Seq: 1,
		Header: event.Header{"trace": "t-" + eventID}, Payload: []byte(`{"id":"` + eventID + `"}`),
		Codec: "json", Reason: deadletter.Exhausted, Error: "boom", ErrorType: "*errors.errorString",
		Fingerprint: "f-boom", Attempts: 3,
	}
}

// solo is a dead letter of a stage without an order.
func solo(stage, eventID string) *deadletter.Letter {
	l := letter(stage, "", eventID)
	l.Ordered, l.Holds = false, false
	return l
}

func sequence(stage, key string) deadletter.Sequence {
	return deadletter.Sequence{Stage: stage, Key: key}
}

func put(t *testing.T, s deadletter.Store, letters ...*deadletter.Letter) (ids []string) {
	t.Helper()
	for _, l := range letters {
		r, err := s.Put(t.Context(), l)
		if err != nil {
			t.Fatalf("Put(%s) = %v", l.EventID, err)
		}
		if r.Existed || r.ID == "" {
			t.Fatalf("Put(%s) = %+v, want a new id", l.EventID, r)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func divert(t *testing.T, s deadletter.Store, l *deadletter.Letter) bool {
	t.Helper()
	_, held, err := s.Divert(t.Context(), l)
	if err != nil {
		t.Fatalf("Divert(%s) = %v", l.EventID, err)
	}
	return held
}

func get(t *testing.T, s deadletter.Store, id string) deadletter.Letter {
	t.Helper()
	l, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get(%s) = %v", id, err)
	}
	return l
}

// events lists the event ids that match.
func events(t *testing.T, s deadletter.Store, f deadletter.Filter) (ids []string) {
	t.Helper()
	for l, err := range s.List(t.Context(), f) {
		if err != nil {
			t.Fatalf("List = %v", err)
		}
		ids = append(ids, l.EventID)
	}
	return ids
}

func wantEvents(t *testing.T, s deadletter.Store, f deadletter.Filter, want ...string) {
	t.Helper()
	if got := events(t, s, f); !slices.Equal(got, want) {
		t.Errorf("List(%+v) = %q, want %q", f, got, want)
	}
}

func claim(t *testing.T, s deadletter.Store, q deadletter.Sequence, owner string, lease time.Duration) deadletter.Claim {
	t.Helper()
	c, err := s.Claim(t.Context(), q, owner, lease)
	if err != nil {
		t.Fatalf("Claim(%v, %s) = %v", q, owner, err)
	}
	return c
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func wantCount(t *testing.T, what string, n int, err error, want int) {
	t.Helper()
	if err != nil || n != want {
		t.Errorf("%s = %d, %v, want %d", what, n, err, want)
	}
}

func name(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, n) }
