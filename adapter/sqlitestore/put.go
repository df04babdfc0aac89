package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Put implements deadletter.Keeper. It blocks until the letter is flushed to the disk, together with
// all others that are on their way, and does not look at ctx. The letter is only read. A value that
// has no Payload (deadletter.Letter.Value) is not kept.
func (s *Store) Put(_ context.Context, l *deadletter.Letter) (r deadletter.Receipt, err error) {
	c := prepared(l)
	err = s.writer.do(func(t *tx) (err error) {
		again := *c
		r, err = t.put(&again)
		return err
	})
	if err != nil {
		return deadletter.Receipt{}, err
	}
	return r, nil
}

// Divert implements deadletter.Keeper. It asks the file, in the one transaction that stores the letter:
// what another process did counts. An open sequence costs no flush.
func (s *Store) Divert(_ context.Context, l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	if !l.Ordered {
		return deadletter.Receipt{}, false, nil
	}
	c := prepared(l)
	err = s.writer.do(func(t *tx) (err error) {
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

func (t *tx) divert(l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	at, err := t.look(l)
	if err != nil {
		return r, false, err
	}
	t.note(lane{l.Stage, l.Key}, at.holding > 0)
	if at.holding == 0 {
		return r, false, nil
	}
	head, err := t.head(l, at)
	if err != nil {
		return r, true, err
	}
	l.Follow(head)
	r, err = t.putAt(l, at)
	return r, true, err
}

// put stores l, unless it is there already.
func (t *tx) put(l *deadletter.Letter) (deadletter.Receipt, error) {
	at, err := t.look(l)
	if err != nil {
		return deadletter.Receipt{}, err
	}
	return t.putAt(l, at)
}

func (t *tx) putAt(l *deadletter.Letter, at sight) (deadletter.Receipt, error) {
	old := at.old
	if old.n != 0 && (old.live || !live(l)) {
		return deadletter.Receipt{ID: t.store.ids.text(old.id), Existed: true}, nil
	}
	if err := t.room(l, at); err != nil {
		return deadletter.Receipt{}, err
	}
	if old.n != 0 {
		return t.replace(l, old)
	}
	return t.insert(l, nil, at.lane)
}

// replace puts l in the stead of a discarded letter, at the end.
func (t *tx) replace(l *deadletter.Letter, old existing) (deadletter.Receipt, error) {
	before, err := t.find(sqlGet, t.store.ids.text(old.id))
	if err != nil {
		return deadletter.Receipt{}, err
	}
	l.Replace(&before.Letter, l.UpdatedAt)
	t.changed(before.laneName())
	if err := t.remove(old.n); err != nil {
		return deadletter.Receipt{}, err
	}
	at, err := t.look(l) // the lane may be gone
	if err != nil {
		return deadletter.Receipt{}, err
	}
	return t.insert(l, old.id, at.lane)
}

// insert adds the row of l, and that of its lane where laneID is 0. The row's id is nil where it is the
// letter's place.
func (t *tx) insert(l *deadletter.Letter, id any, laneID int64) (r deadletter.Receipt, err error) {
	if laneID == 0 {
		if laneID, err = t.inserted(sqlAddLane, blob(l.Stage), blob(l.Key), l.Ordered); err != nil {
			return r, err
		}
	}
	facet, err := t.facet(l)
	if err != nil {
		return r, err
	}
	n, err := t.inserted(sqlAddLetter, letterArgs(id, laneID, facet, l)...)
	if err != nil {
		return r, err
	}
	t.added(n, laneID, l)
	t.changed(lane{l.Stage, l.Key})
	if first, ok := id.(int64); ok {
		n = first
	}
	return deadletter.Receipt{ID: t.store.ids.text(n)}, nil
}

func (t *tx) inserted(query string, args ...any) (int64, error) {
	result, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// remove deletes a letter. The last of its lane or facet takes that with it.
func (t *tx) remove(n int64) error {
	if err := t.count(); err != nil {
		return err
	}
	_, err := t.exec(sqlRemove, n)
	return err
}

// room returns the limit that l would break.
func (t *tx) room(l *deadletter.Letter, at sight) error {
	letters, limits := at.letters+1, t.store.config
	if at.old.n != 0 {
		letters--
	}
	switch bytes := l.Size(); {
	case over(bytes, limits.MaxLetterBytes):
		return fmt.Errorf("%w: %d bytes, %d are allowed", deadletter.ErrTooLarge, bytes, limits.MaxLetterBytes)
	case l.Ordered && live(l) && over(at.live+1, limits.MaxPerSequence):
		return fmt.Errorf("%w: stage %s has %d letters of one key", deadletter.ErrSequenceFull, l.Stage, at.live)
	case over(letters, limits.MaxLetters):
		return fmt.Errorf("%w: %d letters", deadletter.ErrFull, at.letters)
	case l.Ordered && at.lane == 0 && over(at.lanes+1, limits.MaxSequences):
		return fmt.Errorf("%w: %d sequences", deadletter.ErrFull, at.lanes)
	}
	return nil
}

// facet is what a letter has in common with others.
type facet struct {
	stage, fingerprint, topic, errorType string
	reason                               deadletter.Reason
	state                                deadletter.State
	follower, ordered                    bool
}

// facet returns the number of l's facet, which it makes when there is none.
func (t *tx) facet(l *deadletter.Letter) (int64, error) {
	key := facet{l.Stage, l.Fingerprint, l.Topic, l.ErrorType, l.Reason, l.State, l.Follower, l.Ordered}
	if id, ok := t.facets[key]; ok {
		return id, nil
	}
	args := []any{
		blob(l.Stage), blob(l.Fingerprint), blob(l.Topic), blob(string(l.Reason)), blob(l.ErrorType),
		blob(string(l.State)), l.Follower, l.Ordered,
	}
	var id int64
	err := t.row(sqlFindFacet, args...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		if _, err = t.exec(sqlAddCause, args[:2]...); err == nil {
			id, err = t.inserted(sqlAddFacet, append(args, live(l))...)
		}
	}
	if err == nil {
		t.facets[key] = id
	}
	return id, err
}
