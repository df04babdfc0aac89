package sqlitestore

import "github.com/runnel-go/runnel/deadletter"

// sight is what a letter meets in the file.
type sight struct {
	letters, lanes int
	lane           int64 // 0: there is none yet
	live, holding  int   // in its lane
	old            existing
}

// existing is the letter of the same stage and event; its n is 0 when there is none.
type existing struct {
	n, id int64
	live  bool
}

// uncounted are the letters that were added since the counters were brought up to date: counting them
// all at once costs a tenth of counting each.
type uncounted struct {
	first   int64 // the place of the first
	letters int
	lanes   map[int64]*laneCount
}

type laneCount struct {
	live, holding int
	head          *deadletter.Letter // of the lane, once it was asked for
}

func (u *uncounted) lane(id int64) *laneCount {
	c := u.lanes[id]
	if c == nil {
		c = &laneCount{}
		u.lanes[id] = c
	}
	return c
}

// look finds what l meets, letters that are not counted yet included.
func (t *tx) look(l *deadletter.Letter) (at sight, err error) {
	err = t.row(sqlLook, blob(l.Stage), blob(l.Key), l.Ordered, blob(l.EventID)).Scan(
		&at.letters, &at.lanes, &at.lane, &at.live, &at.holding, &at.old.n, &at.old.id, &at.old.live)
	if c := t.new.lanes[at.lane]; c != nil {
		at.live, at.holding = at.live+c.live, at.holding+c.holding
	}
	at.letters += t.new.letters
	return at, err
}

// head is the first letter of a held lane.
func (t *tx) head(l *deadletter.Letter, at sight) (*deadletter.Letter, error) {
	c := t.new.lane(at.lane)
	if c.head == nil {
		head, err := t.store.readLight(t.row(sqlHeadCause, nil, blob(l.Stage), blob(l.Key)))
		if err != nil {
			return nil, err
		}
		c.head = &head.Letter
	}
	return c.head, nil
}

// added remembers a letter that was inserted.
func (t *tx) added(n, laneID int64, l *deadletter.Letter) {
	if t.new.first == 0 {
		t.new.first = n
	}
	t.new.letters++
	if !live(l) {
		return
	}
	c := t.new.lane(laneID)
	c.live++
	if l.Holds {
		c.holding++
		t.note(lane{l.Stage, l.Key}, true)
	}
}

// count brings the counters up to date, and forgets what was remembered of lanes and facets. It comes
// before every change of letters, which counts by triggers and may take lanes and facets with it.
func (t *tx) count() error {
	first := t.new.first
	t.new = uncounted{lanes: map[int64]*laneCount{}}
	clear(t.facets)
	if first == 0 {
		return nil
	}
	for _, query := range sqlCount {
		if _, err := t.exec(query, first); err != nil {
			return err
		}
	}
	return nil
}
