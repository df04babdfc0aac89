package deadletter

import (
	"context"
	"time"
)

// claims are the leases on sequences. A lease outlasts its sequence's letters until it is released or
// ends; what nobody released is swept when the leases have doubled, so no timer is needed.
type claims struct {
	of      map[Sequence]lease
	token   uint64
	sweepAt int
}

type lease struct {
	owner string
	token uint64
	until time.Time
}

func (c *claims) take(s Sequence, owner string, d time.Duration) (Claim, error) {
	now := time.Now()
	if held, ok := c.of[s]; ok && held.owner != owner && now.Before(held.until) {
		return Claim{}, ErrClaimed
	}
	c.sweep(now)
	c.token++
	l := lease{owner: owner, token: c.token, until: now.Add(d)}
	c.of[s] = l
	return Claim{Sequence: s, Owner: owner, Token: l.token, Until: l.until}, nil
}

func (c *claims) sweep(now time.Time) {
	if len(c.of) < c.sweepAt {
		return
	}
	for s, l := range c.of {
		if !now.Before(l.until) {
			delete(c.of, s)
		}
	}
	c.sweepAt = 2*len(c.of) + 64
}

func (c *claims) valid(claim Claim) bool {
	l, ok := c.of[claim.Sequence]
	return ok && l.token == claim.Token
}

// Claim implements Claimer.
func (m *Memory) Claim(_ context.Context, s Sequence, owner string, d time.Duration) (Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.sequences[s]; q == nil || len(q.line) == 0 {
		return Claim{}, ErrNotFound
	}
	return m.claims.take(s, owner, d)
}

// Renew implements Claimer.
func (m *Memory) Renew(_ context.Context, c Claim, d time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.claims.valid(c) {
		return ErrClaimLost
	}
	l := m.claims.of[c.Sequence]
	l.until = time.Now().Add(d)
	m.claims.of[c.Sequence] = l
	return nil
}

// Release implements Claimer.
func (m *Memory) Release(_ context.Context, c Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims.valid(c) {
		delete(m.claims.of, c.Sequence)
	}
	return nil
}

// Head implements Claimer.
func (m *Memory) Head(_ context.Context, c Claim) (Letter, error) {
	l, err := m.head(c)
	if err != nil {
		return Letter{}, err
	}
	return *l.Clone(), nil
}

func (m *Memory) head(c Claim) (*Letter, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.claims.valid(c) {
		return nil, ErrClaimLost
	}
	q := m.sequences[c.Sequence]
	if q == nil || len(q.line) == 0 {
		return nil, ErrNotFound
	}
	return q.line[0].l, nil
}

// claimed returns the letter of a claimed sequence. The caller holds mu.
func (m *Memory) claimed(c Claim, id string) (*entry, error) {
	if !m.claims.valid(c) {
		return nil, ErrClaimLost
	}
	e := m.letters[id]
	if e == nil || e.seq != c.Sequence {
		return nil, ErrNotFound
	}
	return e, nil
}
