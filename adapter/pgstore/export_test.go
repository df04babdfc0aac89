package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Weaken has every store of this process commit with another synchronous_commit.
func Weaken(mode string) { commitMode = mode }

// Commits is how many transactions s has committed.
func (s *Store) Commits() uint64 { return s.writer.commits.Load() }

// Spoil has the writer run a change that fails.
func (s *Store) Spoil(err error) error { return s.do(nothing, func(*tx) error { return err }) }

// Garble has the writer run a statement whose argument the driver cannot encode, in the message that commits.
func (s *Store) Garble() error {
	return s.do(nothing, func(t *tx) error {
		t.later("SELECT $1::bigint", "not a number")
		return nil
	})
}

// Dawdle has the writer stop in the middle of its transaction, the first time that it runs.
func (s *Store) Dawdle(d time.Duration) error {
	stopped := false
	return s.do(nothing, func(*tx) error {
		if !stopped {
			stopped = true
			<-time.After(d)
		}
		return nil
	})
}

// DoubtFor has stores ask for so long what became of a commit, until undo.
func DoubtFor(d time.Duration) (undo func()) {
	was := doubtLimit
	doubtLimit = d
	return func() { doubtLimit = was }
}

// Cut is the first letters of some sizes that are read at once.
func Cut(sizes []int64, full bool) int {
	places := make([]place, len(sizes))
	for i := range sizes {
		places[i].size = sizes[i]
	}
	return len(cut(places, full))
}

// Look has s look now at what other processes made held, after a version, and returns the one it has seen.
func (s *Store) Look(after int64) int64 { return s.look(after) }

// Seen is the version that the writer has seen.
func (s *Store) Seen() int64 { return s.writer.seen.Load() }

// PublishLate makes known an older commit of s, which opened a lane.
func (s *Store) PublishLate(version int64, stage, key string) {
	t := s.newTx(context.Background(), nil)
	t.m.change = version
	at := laneOf(stage, key, true)
	t.touched[at], t.lanes[at] = lane{stage, key}, map[id]*laneRow{}
	t.publish()
}

// OnServer runs f with a connection of the pool.
func (s *Store) OnServer(ctx context.Context, f func(*pgx.Conn) error) error {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	return f(c.Conn())
}

// CommitMode is the synchronous_commit of the writer.
func (s *Store) CommitMode() (mode string) {
	_ = s.do(nothing, func(t *tx) error { return t.row("SELECT current_setting('synchronous_commit')").Scan(&mode) })
	return mode
}

// Setting is a setting of a connection, and where it came from: "client" is what the connection began with.
type Setting struct{ Value, Source string }

const sqlSetting = "SELECT current_setting(name), source FROM pg_settings WHERE name = $1"

// WriterSetting is a setting of the writer's connection.
func (s *Store) WriterSetting(name string) (v Setting, err error) {
	err = s.do(nothing, func(t *tx) error { return t.row(sqlSetting, name).Scan(&v.Value, &v.Source) })
	return v, err
}

// ReaderSetting is a setting of a connection of the pool.
func (s *Store) ReaderSetting(ctx context.Context, name string) (v Setting, err error) {
	err = s.pool.QueryRow(ctx, sqlSetting, name).Scan(&v.Value, &v.Source)
	return v, err
}

// Starve takes all connections that read, until release.
func (s *Store) Starve(ctx context.Context) (release func()) {
	all := s.pool.AcquireAllIdle(ctx)
	for s.pool.Stat().AcquiredConns() < s.pool.Stat().MaxConns() {
		c, err := s.pool.Acquire(ctx)
		if err != nil {
			break
		}
		all = append(all, c)
	}
	return func() {
		for _, c := range all {
			c.Release()
		}
	}
}

// FirstSchema is the schema of the first version, and SchemaVersion the newest.
const (
	FirstSchema   = schema1
	SchemaVersion = schemaVersion
)

// Statements are all that a store runs, but those that open it.
var Statements = map[string]string{
	"lock": sqlLock, "lanes": sqlLanes, "events": sqlEvents, "glean": sqlGlean, "get": sqlGet, "heads": sqlHeads, "ahead": sqlAhead,
	"head": sqlHead, "claimed": sqlClaimed, "claims": sqlClaims, "page": sqlPage, "skim": sqlSkim, "places": sqlPlaces,
	"of lanes": sqlOfLanes, "of facets": sqlOfFacets, "of age": sqlOfAge, "lanes of key": sqlLanesOfKey, "facets": sqlFacets,
	"groups": sqlGroups, "counts": sqlCounts, "last": sqlLast, "outdated": sqlOutdated, "change": sqlChange, "held": sqlHeld,
	"remove": sqlRemove, "count causes": sqlCountCauses, "take facets": sqlTakeFacets, "drop lanes": sqlDropLanes,
	"drop facets": sqlDropFacets, "add lanes": sqlAddLanes, "drop claims": sqlDropClaims, "forget claims": sqlForgetClaims,
	"meta": sqlMeta, "did commit": sqlDidCommit, "add letters": sqlAddLetters, "set lanes": sqlSetLanes, "add causes": sqlAddCauses,
	"add facets": sqlAddFacets, "set claims": sqlSetClaims,
	"operation": sqlOperation, "operations": sqlOperations, "failures": sqlFailures, "take": sqlTakeOperation, "forget": sqlForgetOperations,
	"count success": sqlCountSuccess, "add failure": sqlAddFailure,
}
