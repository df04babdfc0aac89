package pgstore_test

import (
	"testing"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/deadletter"
)

func put(t testing.TB, s *pgstore.Store, l *deadletter.Letter) string {
	t.Helper()
	r, err := s.Put(t.Context(), l)
	must(t, err)
	return r.ID
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func letter(key, id string) *deadletter.Letter {
	return &deadletter.Letter{
		Stage: "charge", Topic: "orders", Key: key, Ordered: true, Holds: true, EventID: id,
		Reason: deadletter.Exhausted, Error: "boom", Fingerprint: "f", Payload: []byte(id),
	}
}
