package idempotencytest

import (
	"math"
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

// by is a request for key "a" by a holder.
func (s *suite) by(holder uint64, lease time.Duration) idempotency.Request {
	return idempotency.Request{Key: s.key("a"), Lease: lease, Holder: holder}
}

func lostReply(s *suite) {
	first := s.ask(s.by(7, short), idempotency.Claimed)
	again := s.ask(s.by(7, long), idempotency.Claimed)
	if again.Token != first.Token {
		s.Fatalf("the holder's own claim has token %d, asked again %d", first.Token, again.Token)
	}
	<-time.After(2 * short)
	s.ask(s.by(8, long), idempotency.Busy) // the second try began the lease anew
	s.confirm(again, nil)
	s.ask(s.by(8, long), idempotency.Done)
}

func nobody(s *suite) {
	s.ask(s.by(0, long), idempotency.Claimed)
	s.ask(s.by(0, long), idempotency.Busy)
	s.ask(s.by(7, long), idempotency.Busy)
}

func takenOver(s *suite) {
	first := s.ask(s.by(7, short), idempotency.Claimed)
	<-time.After(2 * short)
	second := s.ask(s.by(8, long), idempotency.Claimed)
	s.ask(s.by(7, long), idempotency.Busy)
	s.confirm(first, idempotency.ErrLost)
	s.release(second, nil)
	third := s.ask(s.by(7, long), idempotency.Claimed)
	if third.Token <= second.Token {
		s.Fatalf("token %d after %d", third.Token, second.Token)
	}
}

func doneForItself(s *suite) {
	s.confirm(s.ask(s.by(7, long), idempotency.Claimed), nil)
	s.ask(s.by(7, long), idempotency.Done)
}

func renewed(s *suite) {
	c := s.ask(s.by(7, short), idempotency.Claimed)
	s.renew(c, long, nil)
	<-time.After(2 * short)
	s.ask(s.by(8, long), idempotency.Busy)
	s.renew(c, short, nil) // a lease may be made shorter too
	s.claimOnceFree(s.key("a"))
}

func renewedLate(s *suite) {
	c := s.ask(s.by(7, short), idempotency.Claimed)
	<-time.After(2 * short)
	s.renew(c, long, nil)
	s.ask(s.by(8, long), idempotency.Busy)
	s.confirm(c, nil)
}

func lateRenew(s *suite) {
	first := s.ask(s.by(7, short), idempotency.Claimed)
	second := s.claimOnceFree(s.key("a"))
	s.renew(first, long, idempotency.ErrLost)
	s.release(second, nil)
	s.renew(first, long, idempotency.ErrLost)
	s.ask(s.by(8, long), idempotency.Claimed)
}

func renewAfterEnd(s *suite) {
	c := s.ask(s.by(7, long), idempotency.Claimed)
	s.release(c, nil)
	s.renew(c, long, idempotency.ErrLost)
	c = s.ask(s.by(7, long), idempotency.Claimed)
	s.confirm(c, nil)
	s.renew(c, short, idempotency.ErrLost)
	<-time.After(2 * short)
	s.ask(s.by(8, long), idempotency.Done)
}

func renewedThenDone(s *suite) {
	c := s.ask(s.by(7, long), idempotency.Claimed)
	s.renew(c, short, nil)
	s.confirm(c, nil)
	<-time.After(2 * short)
	s.ask(s.by(8, long), idempotency.Done)
}

// of is a request for key "a" with a digest.
func (s *suite) of(digest uint64) idempotency.Request {
	return idempotency.Request{Key: s.key("a"), Lease: long, Digest: digest}
}

func (s *suite) wantDigest(c idempotency.Claim, want uint64) {
	s.Helper()
	if c.Digest != want {
		s.Fatalf("the digest is %d, want %d", c.Digest, want)
	}
}

func digestOfBusy(s *suite) {
	s.ask(s.of(1), idempotency.Claimed)
	s.wantDigest(s.ask(s.of(2), idempotency.Busy), 1)
	s.wantDigest(s.ask(s.of(0), idempotency.Busy), 1)
}

func digestOfDone(s *suite) {
	s.confirm(s.ask(s.of(1), idempotency.Claimed), nil)
	s.wantDigest(s.ask(s.of(2), idempotency.Done), 1)
	s.wantDigest(s.ask(s.of(2), idempotency.Done), 1)
}

func digestOfNext(s *suite) {
	s.release(s.ask(s.of(1), idempotency.Claimed), nil)
	s.confirm(s.ask(s.of(2), idempotency.Claimed), nil)
	s.wantDigest(s.ask(s.of(1), idempotency.Done), 2)
}

func anyNumber(s *suite) {
	for i, n := range []uint64{1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		k := s.key(string(rune('a' + i)))
		r := idempotency.Request{Key: k, Lease: long, Holder: n, Digest: n}
		first := s.ask(r, idempotency.Claimed)
		if again := s.ask(r, idempotency.Claimed); again.Token != first.Token {
			s.Fatalf("holder %d is not recognised", n)
		}
		s.confirm(first, nil)
		s.wantDigest(s.ask(r, idempotency.Done), n)
	}
}
