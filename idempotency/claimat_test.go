package idempotency_test

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel/idempotency"
)

func TestClaimAtLeavesNothingOfAnEarlierClaim(t *testing.T) {
	m := idempotency.NewMemory()
	r := idempotency.Request{Key: key(1), Lease: time.Minute, Digest: 7}
	for _, want := range []idempotency.State{idempotency.Claimed, idempotency.Busy} {
		used := idempotency.Claim{Key: key(2), State: idempotency.Done, Token: 99, Until: time.Unix(1, 0), Digest: 99}
		m.ClaimAt(&r, &used)
		asked, err := m.Claim(t.Context(), idempotency.Request{Key: key(1), Lease: time.Minute, Digest: 7})
		if err != nil {
			t.Fatal(err)
		}
		if used.State != want || used.Key != key(1) || used.Token == 99 || used.Digest == 99 || used.Until.Equal(time.Unix(1, 0)) {
			t.Errorf("ClaimAt = %+v, want %v and nothing of what was there", used, want)
		}
		if want == idempotency.Busy && (used.Token != 0 || used.Until != asked.Until || used.Digest != asked.Digest) {
			t.Errorf("ClaimAt = %+v, Claim %+v", used, asked)
		}
	}
}
