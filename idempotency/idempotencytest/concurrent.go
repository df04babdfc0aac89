package idempotencytest

import (
	"context"
	"fmt"
	"sync"

	"github.com/runnel-go/runnel/idempotency"
)

func exclusive(s *suite) {
	for i := range 20 {
		s.onlyOne(s.key(fmt.Sprint(i)))
	}
}

func exclusiveAfterRelease(s *suite) {
	for range 20 {
		s.release(s.onlyOne(s.key("a")), nil)
	}
}

// onlyOne has many claim k at once and returns the claim of the one that got it.
func (s *suite) onlyOne(k idempotency.Key) (winner idempotency.Claim) {
	s.Helper()
	var group sync.WaitGroup
	claims := make([]idempotency.Claim, 8)
	errs := make([]error, len(claims))
	start := make(chan struct{})
	for i := range claims {
		group.Go(func() {
			<-start
			claims[i], errs[i] = s.store.Claim(context.Background(), idempotency.Request{Key: k, Lease: long, Holder: uint64(i + 1)})
		})
	}
	close(start)
	group.Wait()
	won := 0
	for i, c := range claims {
		if errs[i] != nil {
			s.Fatalf("Claim = %v", errs[i])
		}
		if c.State == idempotency.Claimed {
			winner, won = c, won+1
		}
	}
	if won != 1 {
		s.Fatalf("%d of %d callers got the claim on %q", won, len(claims), k)
	}
	return winner
}
