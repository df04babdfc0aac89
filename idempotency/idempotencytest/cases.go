package idempotencytest

import (
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

func newKey(s *suite) { s.claim(s.key("a"), long, idempotency.Claimed) }

func busy(s *suite) {
	s.claim(s.key("a"), long, idempotency.Claimed)
	s.claim(s.key("a"), long, idempotency.Busy)
}

func done(s *suite) {
	s.confirm(s.claim(s.key("a"), long, idempotency.Claimed), nil)
	s.claim(s.key("a"), long, idempotency.Done)
	s.claim(s.key("a"), long, idempotency.Done)
}

func released(s *suite) {
	s.release(s.claim(s.key("a"), long, idempotency.Claimed), nil)
	s.claim(s.key("a"), long, idempotency.Claimed)
}

func keysDiffer(s *suite) {
	s.confirm(s.claim(idempotency.Key{Stage: "a", ID: "b"}, long, idempotency.Claimed), nil)
	for _, k := range []idempotency.Key{{Stage: "a", ID: "c"}, {Stage: "c", ID: "b"}, {Stage: "ab"}, {ID: "ab"}} {
		s.claim(k, long, idempotency.Claimed)
	}
}

func anyText(s *suite) {
	texts := []string{"", " ", "\x00", "\n", "a\x00b", "a:b", "\xff\xfe", "../x", "'; drop table x", "日本", string(make([]byte, 1024))}
	for _, id := range texts {
		s.confirm(s.claim(s.key(id), long, idempotency.Claimed), nil)
	}
	for _, id := range texts {
		s.claim(s.key(id), long, idempotency.Done)
	}
	s.claim(idempotency.Key{Stage: "stage:a", ID: "b"}, long, idempotency.Claimed)
}

func leaseEnds(s *suite) {
	first := s.claim(s.key("a"), short, idempotency.Claimed)
	second := s.claimOnceFree(s.key("a"))
	if second.Token <= first.Token {
		s.Fatalf("the second holder's token %d is not above the first's %d", second.Token, first.Token)
	}
	s.claim(s.key("a"), long, idempotency.Busy)
}

func lateConfirm(s *suite) {
	first := s.claim(s.key("a"), short, idempotency.Claimed)
	second := s.claimOnceFree(s.key("a"))
	s.confirm(first, idempotency.ErrLost)
	s.claim(s.key("a"), long, idempotency.Busy)
	s.confirm(second, nil)
	s.confirm(first, idempotency.ErrLost)
	s.claim(s.key("a"), long, idempotency.Done)
}

func lateRelease(s *suite) {
	first := s.claim(s.key("a"), short, idempotency.Claimed)
	second := s.claimOnceFree(s.key("a"))
	s.release(first, idempotency.ErrLost)
	s.claim(s.key("a"), long, idempotency.Busy)
	s.confirm(second, nil)
}

func lateConfirmAfterRelease(s *suite) {
	first := s.claim(s.key("a"), short, idempotency.Claimed)
	s.release(s.claimOnceFree(s.key("a")), nil)
	s.confirm(first, idempotency.ErrLost)
	s.claim(s.key("a"), long, idempotency.Claimed)
}

func lateButAlone(s *suite) {
	c := s.claim(s.key("a"), short, idempotency.Claimed)
	<-time.After(2 * short)
	s.confirm(c, nil)
	s.claim(s.key("a"), long, idempotency.Done)
}

func doneOutlivesLease(s *suite) {
	s.confirm(s.claim(s.key("a"), short, idempotency.Claimed), nil)
	<-time.After(2 * short)
	s.claim(s.key("a"), long, idempotency.Done)
}

func confirmTwice(s *suite) {
	c := s.claim(s.key("a"), long, idempotency.Claimed)
	s.confirm(c, nil)
	s.confirm(c, nil)
}

func releaseAfterConfirm(s *suite) {
	c := s.claim(s.key("a"), long, idempotency.Claimed)
	s.confirm(c, nil)
	_ = s.store.Release(s.Context(), c) // whether it is an error is the store's choice
	s.claim(s.key("a"), long, idempotency.Done)
}

func tokensGrow(s *suite) {
	var last uint64
	for range 5 {
		c := s.claim(s.key("a"), long, idempotency.Claimed)
		if c.Token <= last {
			s.Fatalf("token %d after %d", c.Token, last)
		}
		last = c.Token
		s.release(c, nil)
	}
}
