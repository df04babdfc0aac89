package idempotencytest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

const (
	long  = time.Minute           // a lease that no test outlives
	short = 30 * time.Millisecond // a lease that tests wait for
)

// Run checks the stores that open makes against the rules of idempotency.Store, and of
// idempotency.Transactor where they are one. Each test opens one of its own, empty, with a retention of
// at least a minute; one more is opened to see what they are. Open registers what closes it with
// t.Cleanup. The tests take real time, some tenths of a second, since leases of durable stores do.
func Run(t *testing.T, open func(t *testing.T) idempotency.Store) {
	all := cases
	if _, ok := open(t).(idempotency.Transactor); ok {
		all = append(all[:len(all):len(all)], txCases...)
	}
	for _, c := range all {
		t.Run(c.fact, func(t *testing.T) { c.test(&suite{T: t, store: open(t)}) })
	}
}

var cases = []struct {
	fact string
	test func(*suite)
}{
	{"a new key is claimed", newKey},
	{"a claimed key is busy", busy},
	{"a confirmed key is done", done},
	{"a released key is new", released},
	{"a key is one stage and one identity", keysDiffer},
	{"any text is a key", anyText},
	{"of concurrent claims one wins", exclusive},
	{"of concurrent claims after a release one wins", exclusiveAfterRelease},
	{"a claim whose lease ended goes to the next, with a greater token", leaseEnds},
	{"a late holder cannot confirm", lateConfirm},
	{"a late holder cannot release", lateRelease},
	{"a late holder cannot confirm what the next released", lateConfirmAfterRelease},
	{"a holder past its lease confirms while nobody took the key", lateButAlone},
	{"the retention is not the lease", doneOutlivesLease},
	{"confirming twice is no error", confirmTwice},
	{"a release does not undo a confirm", releaseAfterConfirm},
	{"tokens grow", tokensGrow},
	{"a claim whose reply was lost is its holder's", lostReply},
	{"a claim without a holder is nobody's", nobody},
	{"a holder's claim that another took is not recognised", takenOver},
	{"what a holder completed is done for itself too", doneForItself},
	{"a lease is renewed", renewed},
	{"a holder past its lease renews while nobody took the key", renewedLate},
	{"a late holder cannot renew", lateRenew},
	{"what is confirmed or released is not renewed", renewAfterEnd},
	{"a renewal changes no window", renewedThenDone},
	{"the digest of a busy key is told", digestOfBusy},
	{"the digest of a completed key is told", digestOfDone},
	{"a new claim has its own digest", digestOfNext},
	{"any number is a digest and a holder", anyNumber},
}

// suite is one test and its store.
type suite struct {
	*testing.T
	store idempotency.Store
}

func (s *suite) key(id string) idempotency.Key { return idempotency.Key{Stage: "stage", ID: id} }

// claim claims k and fails the test unless it finds the state.
func (s *suite) claim(k idempotency.Key, lease time.Duration, want idempotency.State) idempotency.Claim {
	s.Helper()
	c, err := s.store.Claim(context.Background(), idempotency.Request{Key: k, Lease: lease})
	if err != nil {
		s.Fatalf("Claim(%q) = %v", k, err)
	}
	if c.State != want {
		s.Fatalf("Claim(%q) found state %d, want %d", k, c.State, want)
	}
	if c.Key != k {
		s.Fatalf("Claim(%q) answers for key %q", k, c.Key)
	}
	return c
}

// ask sends a request and fails the test unless it finds the state.
func (s *suite) ask(r idempotency.Request, want idempotency.State) idempotency.Claim {
	s.Helper()
	c, err := s.store.Claim(context.Background(), r)
	if err != nil {
		s.Fatalf("Claim(%+v) = %v", r, err)
	}
	if c.State != want {
		s.Fatalf("Claim(%+v) found state %d, want %d", r, c.State, want)
	}
	return c
}

func (s *suite) renew(c idempotency.Claim, lease time.Duration, want error) {
	s.Helper()
	if err := s.store.Renew(context.Background(), c, lease); !errors.Is(err, want) {
		s.Fatalf("Renew = %v, want %v", err, want)
	}
}

func (s *suite) confirm(c idempotency.Claim, want error) {
	s.Helper()
	if err := s.store.Confirm(context.Background(), c); !errors.Is(err, want) {
		s.Fatalf("Confirm = %v, want %v", err, want)
	}
}

func (s *suite) release(c idempotency.Claim, want error) {
	s.Helper()
	if err := s.store.Release(context.Background(), c); !errors.Is(err, want) {
		s.Fatalf("Release = %v, want %v", err, want)
	}
}

// claimOnceFree claims k as soon as the lease before it has ended.
func (s *suite) claimOnceFree(k idempotency.Key) idempotency.Claim {
	s.Helper()
	limit := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := s.store.Claim(context.Background(), idempotency.Request{Key: k, Lease: long})
		if err != nil {
			s.Fatalf("Claim(%q) = %v", k, err)
		}
		if c.State == idempotency.Claimed {
			return c
		}
		select {
		case <-tick.C:
		case <-limit:
			s.Fatalf("Claim(%q) still finds state %d long after the lease ended", k, c.State)
		}
	}
}
