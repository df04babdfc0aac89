package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Put implements deadletter.Keeper. It blocks until the letter is committed, together with others that are
// on their way, and does not look at ctx. The letter is only read. A value that has no Payload
// (deadletter.Letter.Value) is not kept.
func (s *Store) Put(_ context.Context, l *deadletter.Letter) (r deadletter.Receipt, err error) {
	c := prepared(l)
	err = s.do(func(n *needs) { n.put(c) }, func(t *tx) (err error) {
		again := *c
		r, err = t.put(&again)
		return err
	})
	if err != nil {
		return deadletter.Receipt{}, err
	}
	return r, nil
}

// Divert implements deadletter.Keeper. It asks the server, in the one transaction that stores the letter:
// what another process did counts. An open sequence costs no flush of the server's disk.
func (s *Store) Divert(_ context.Context, l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	if !l.Ordered {
		return r, false, nil
	}
	c := prepared(l)
	err = s.do(func(n *needs) {
		n.put(c)
		n.heads.add(laneOf(c.Stage, c.Key, true))
	}, func(t *tx) (err error) {
		again := *c
		r, held, err = t.divert(&again)
		return err
	})
	if err != nil {
		return deadletter.Receipt{}, held, err
	}
	return r, held, nil
}

// prepared copies what Prepare would change in place, and no more: the caller waits until we are done.
func prepared(l *deadletter.Letter) *deadletter.Letter {
	c := *l
	c.Causes, c.History = slices.Clone(l.Causes), slices.Clone(l.History)
	c.Prepare(time.Now())
	return &c
}

func (n *needs) put(l *deadletter.Letter) {
	n.lanes.add(laneOf(l.Stage, l.Key, l.Ordered))
	if e := eventName(l.Stage, l.EventID); e != "" {
		n.events.add(e)
	}
}

func (t *tx) divert(l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	at := laneOf(l.Stage, l.Key, true)
	t.touched[at] = lane{l.Stage, l.Key}
	rows, err := t.lane(at)
	if err != nil || total(rows).holding == 0 {
		return r, false, err
	}
	head, err := t.head(at)
	if err != nil {
		return r, true, err
	}
	if head == nil {
		return r, true, fmt.Errorf("%w: a held sequence has no letters; restore a backup", ErrDamaged)
	}
	l.Follow(&head.Letter)
	r, err = t.put(l)
	return r, true, err
}

// put stores l, unless it is there already.
func (t *tx) put(l *deadletter.Letter) (deadletter.Receipt, error) {
	var old *record
	if e := eventName(l.Stage, l.EventID); e != "" {
		var err error
		if old, err = t.byEvent(e); err != nil {
			return deadletter.Receipt{}, err
		}
	}
	if old != nil && (live(&old.Letter) || !live(l)) {
		return deadletter.Receipt{ID: t.text(old.id), Existed: true}, nil
	}
	if err := t.room(l, old); err != nil {
		return deadletter.Receipt{}, err
	}
	r := &record{n: t.next(), full: true}
	r.id = r.n
	if old != nil {
		if err := t.replace(l, old); err != nil {
			return deadletter.Receipt{}, err
		}
		r.id = old.id
	}
	l.ID = t.text(r.id)
	r.Letter, r.size = *l, l.Size()
	return deadletter.Receipt{ID: l.ID}, t.insert(r)
}

// replace takes out the discarded letter in whose stead l comes.
func (t *tx) replace(l *deadletter.Letter, old *record) error {
	before, err := t.find(t.text(old.id), true)
	if err != nil {
		return err
	}
	l.Replace(&before.Letter, l.UpdatedAt)
	return t.remove(before)
}

// room refuses a letter that a limit forbids.
func (t *tx) room(l *deadletter.Letter, old *record) error {
	letters, limits := t.m.letters+1, t.config
	if old != nil {
		letters--
	}
	rows, err := t.lane(laneOf(l.Stage, l.Key, l.Ordered))
	if err != nil {
		return err
	}
	at := total(rows)
	switch size := l.Size(); {
	case over(size, limits.MaxLetterBytes):
		return fmt.Errorf("%w: %d bytes, %d are allowed", deadletter.ErrTooLarge, size, limits.MaxLetterBytes)
	case l.Ordered && live(l) && over(at.live+1, int64(limits.MaxPerSequence)):
		return fmt.Errorf("%w: stage %s has %d letters of one key", deadletter.ErrSequenceFull, l.Stage, at.live)
	case over(letters, int64(limits.MaxLetters)):
		return fmt.Errorf("%w: %d letters", deadletter.ErrFull, t.m.letters)
	case l.Ordered && at.letters == 0 && over(t.m.lanes+1, int64(limits.MaxSequences)):
		return fmt.Errorf("%w: %d sequences", deadletter.ErrFull, t.m.lanes)
	}
	return nil
}
