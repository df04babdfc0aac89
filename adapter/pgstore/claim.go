package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

// Claim implements deadletter.Claimer. Leases are kept by the server's clock, to the microsecond. It costs a
// commit, shared with the writes that are on their way, which does not wait for the server's disk.
func (s *Store) Claim(_ context.Context, q deadletter.Sequence, owner string, lease time.Duration) (c deadletter.Claim, err error) {
	err = s.lease(func(n *needs) {
		n.claims.add(sequenceOf(q))
		if number, ok := s.number(q.Solo); ok {
			n.light.add(number)
		} else {
			n.lanes.add(laneOfSequence(q))
		}
	}, func(t *tx) (err error) {
		c, err = t.claim(q, owner, lease)
		return err
	})
	if err != nil {
		return deadletter.Claim{}, err
	}
	return c, nil
}

func (t *tx) claim(q deadletter.Sequence, owner string, lease time.Duration) (deadletter.Claim, error) {
	if err := t.claimable(q); err != nil {
		return deadletter.Claim{}, err
	}
	old, err := t.claimed(sequenceOf(q))
	if err != nil {
		return deadletter.Claim{}, err
	}
	if old != nil && old.owner != owner && old.until.After(t.now) {
		return deadletter.Claim{}, deadletter.ErrClaimed
	}
	c := &claimRow{owner: owner, token: t.next(), until: t.now.Add(lease)}
	t.setClaim(sequenceOf(q), c)
	claim := deadletter.Claim{Sequence: q, Owner: owner, Token: uint64(c.token), Until: c.until} //nolint:gosec // it counts
	t.look(claim)
	return claim, nil
}

// claimable returns ErrNotFound for a sequence without live letters.
func (t *tx) claimable(q deadletter.Sequence) error {
	if q.Solo != "" {
		r, err := t.find(q.Solo, false)
		if err == nil && (r.Sequence() != q || !live(&r.Letter)) {
			err = deadletter.ErrNotFound
		}
		return err
	}
	rows, err := t.lane(laneOfSequence(q))
	if err == nil && total(rows).live == 0 {
		err = deadletter.ErrNotFound
	}
	return err
}

// setClaim changes the claim of a sequence; nil: it has none.
func (t *tx) setClaim(q id, c *claimRow) {
	t.claims[q] = c
	t.pending.claims.add(q)
	t.left = append(t.left, q)
}

func (t *tx) queueClaims(b *pgx.Batch) {
	var gone, sequences ids
	var owners [][]byte
	var tokens []int64
	var until []time.Time
	for q := range t.pending.claims {
		c := t.claims[q]
		if c == nil {
			gone = append(gone, q)
			continue
		}
		sequences, owners = append(sequences, q), append(owners, blob(c.owner))
		tokens, until = append(tokens, c.token), append(until, c.until)
	}
	if len(gone) > 0 {
		b.Queue(sqlDropClaims, gone)
	}
	if len(sequences) > 0 {
		b.Queue(sqlSetClaims, sequences, owners, tokens, until)
		b.Queue(sqlForgetClaims)
	}
}

// valid is the row of a claim that nobody else took, or ErrClaimLost. Claims are not flushed, so a server that
// crashed may give a token again, but not to the same owner.
func (t *tx) valid(c deadletter.Claim) (*claimRow, error) {
	row, err := t.claimed(sequenceOf(c.Sequence))
	if err == nil && (row == nil || row.owner != c.Owner || row.token != int64(c.Token)) { //nolint:gosec // the store made it
		err = deadletter.ErrClaimLost
	}
	return row, err
}

// Renew implements deadletter.Claimer.
func (s *Store) Renew(_ context.Context, c deadletter.Claim, lease time.Duration) error {
	return s.lease(func(n *needs) { n.claims.add(sequenceOf(c.Sequence)) }, func(t *tx) error {
		row, err := t.valid(c)
		if err != nil {
			return err
		}
		t.setClaim(sequenceOf(c.Sequence), &claimRow{owner: row.owner, token: row.token, until: t.now.Add(lease)})
		return nil
	})
}

// Release implements deadletter.Claimer.
func (s *Store) Release(_ context.Context, c deadletter.Claim) error {
	return s.lease(func(n *needs) { n.claims.add(sequenceOf(c.Sequence)) }, func(t *tx) error {
		_, err := t.valid(c)
		if err == nil {
			t.setClaim(sequenceOf(c.Sequence), nil)
		}
		if errors.Is(err, deadletter.ErrClaimLost) {
			return nil
		}
		return err
	})
}

// Resolve implements deadletter.Keeper. It costs a commit, shared with the writes that are on their way.
func (s *Store) Resolve(_ context.Context, c deadletter.Claim, id string) error {
	return s.do(func(n *needs) {
		n.claims.add(sequenceOf(c.Sequence))
		n.lanes.add(laneOfSequence(c.Sequence))
		if number, ok := s.number(id); ok && !s.ahead.get(c).first(id) {
			n.light.add(number)
		}
	}, func(t *tx) error {
		if err := t.resolve(c, id); err != nil {
			return err
		}
		t.countOperation(c, id, nil)
		return nil
	})
}

func (t *tx) resolve(c deadletter.Claim, id string) error {
	if _, err := t.valid(c); err != nil {
		return err
	}
	g, err := t.certified(c, id)
	if err != nil {
		return err
	}
	if g != nil {
		if err = t.remove(g.letters[0]); err == nil {
			t.lookOn(c, g.letters[1:])
		}
		return err
	}
	r, err := t.ofClaim(c, id, false)
	if err == nil {
		err = t.remove(r)
	}
	if err == nil {
		t.look(c)
	}
	return err
}

// Fail implements deadletter.Keeper.
func (s *Store) Fail(_ context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	now := time.Now()
	return s.do(func(n *needs) {
		n.claims.add(sequenceOf(c.Sequence))
		n.lanes.add(laneOfSequence(c.Sequence))
		s.needLetters(n, []string{id})
	}, func(t *tx) error {
		r, err := t.ofClaim(c, id, true)
		if err != nil {
			return err
		}
		again := r.Letter
		again.Fail(f, c.By, now)
		if err := t.save(r, again); err != nil {
			return err
		}
		t.countOperation(c, id, &f)
		return nil
	})
}

// ofClaim is the letter of a claimed sequence. The transaction has the lock, so the claim stays valid until
// it ends.
func (t *tx) ofClaim(c deadletter.Claim, id string, full bool) (*record, error) {
	if _, err := t.valid(c); err != nil {
		return nil, err
	}
	r, err := t.find(id, full)
	if err == nil && r.Sequence() != c.Sequence {
		err = deadletter.ErrNotFound
	}
	return r, err
}

// save writes a letter that changed; its place stays.
func (t *tx) save(old *record, l deadletter.Letter) error {
	if err := t.remove(old); err != nil {
		return err
	}
	return t.insert(&record{n: old.n, id: old.id, size: l.Size(), Letter: l, full: true})
}
