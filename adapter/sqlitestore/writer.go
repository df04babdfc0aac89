package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// maxBatch bounds the writes of one transaction, so that none waits for long.
const maxBatch = 256

// writer is the one goroutine that writes. It takes the writes that wait, runs them in one IMMEDIATE
// transaction, commits, and then answers all of them: a commit costs a flush of the disk, however many
// writes it has. What they decide, they decide one after the other, also against other processes.
//
// It never gives the driver a context that can end: a write that was interrupted leaves the connection
// in doubt.
type writer struct {
	store   *Store
	db      *sql.DB // of one connection
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	queue   chan *write   // unbuffered: a write is taken, or it has not happened
	closing chan struct{} // closed by Store.Close
	done    sync.WaitGroup
	last    int           // writes of the last transaction
	took    time.Duration // its commit
	commits atomic.Uint64
	seen    atomic.Int64 // totals.version up to which held has what others did
	unheld  atomic.Bool  // lanes were taken out of held since the watcher looked
}

// write is one change. It may run more than once: what it leaves in its caller's variables counts only
// when the answer is nil.
type write struct {
	run     func(*tx) error
	refused error // what run answered instead of changing anything
	answer  chan error
}

// do has the writer run a change and waits until it is durable. When run returns an error of
// deadletter, it has changed nothing, and that is the answer; any other error undoes the transaction.
func (w *writer) do(run func(*tx) error) error {
	o := &write{run: run, answer: make(chan error, 1)}
	select {
	case w.queue <- o:
	case <-w.closing:
		return ErrClosed
	}
	return <-o.answer
}

// refusals are the answers of a write that leave the transaction as it was.
var refusals = []error{
	deadletter.ErrNotFound, deadletter.ErrClaimed, deadletter.ErrClaimLost,
	deadletter.ErrFull, deadletter.ErrSequenceFull, deadletter.ErrTooLarge,
}

// try runs the change and returns what the database has against it.
func (o *write) try(t *tx) error {
	o.refused = nil
	err := o.run(t)
	if slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) }) {
		o.refused, err = err, nil
	}
	return err
}

func (w *writer) loop() {
	for {
		select {
		case o := <-w.queue:
			w.serve(o)
		case <-w.closing:
			return
		}
	}
}

// serve runs a batch that begins with first. When one write fails in it, each of them runs in a
// transaction of its own, so that it fails alone.
func (w *writer) serve(first *write) {
	batch, alone, err := w.together(first)
	for _, o := range batch {
		if alone {
			_, _, err = w.transaction([]*write{o}, false)
		}
		if err == nil {
			o.answer <- o.refused
		} else {
			o.answer <- err
		}
	}
}

func (w *writer) together(first *write) (batch []*write, alone bool, err error) {
	batch, failed, err := w.transaction([]*write{first}, true)
	return batch, failed && len(batch) > 1, err
}

// transaction runs batch, and what comes meanwhile when it may grow. Failed says that a write failed
// and not the transaction itself.
func (w *writer) transaction(batch []*write, grow bool) (_ []*write, failed bool, err error) {
	sqlTx, err := w.conn.BeginTx(context.Background(), nil)
	if err != nil {
		return batch, false, w.store.fault("begin", err)
	}
	t := &tx{writer: w, facets: map[facet]int64{}, new: uncounted{lanes: map[int64]*laneCount{}},
		glimpses: map[lane]*glimpse{}, forget: map[lane]bool{}}
	err = t.refresh()
	if err == nil {
		err = t.certify()
	}
	waited := false
	for i := 0; err == nil && i < len(batch); i++ {
		if err = batch[i].try(t); err != nil {
			failed = true
		} else if grow && i+1 == len(batch) && i+1 < maxBatch {
			batch = w.next(batch, &waited)
		}
	}
	if err == nil {
		err = t.finish()
	}
	if err != nil {
		_ = sqlTx.Rollback() // SQLite may have rolled back by itself
		return batch, failed, w.store.fault("write", err)
	}
	w.last = len(batch)
	began := time.Now()
	if err := sqlTx.Commit(); err != nil {
		return batch, false, w.store.fault("commit", err)
	}
	w.took = time.Since(began)
	w.commits.Add(1)
	t.publish()
	return batch, false, nil
}

// next adds the next write to the batch, if one waits. Those who were answered together are about to write again
// together, as the workers of a drain are, so it lets others run before it believes that none does, and waits for as
// many as the last time, once, for a part of what a commit takes.
func (w *writer) next(batch []*write, waited *bool) []*write {
	for range 2 {
		select {
		case o := <-w.queue:
			return append(batch, o)
		default:
			runtime.Gosched()
		}
	}
	if *waited || len(batch) >= w.last {
		return batch
	}
	late := time.NewTimer(min(w.took/4, time.Millisecond))
	defer late.Stop()
	select {
	case o := <-w.queue:
		return append(batch, o)
	case <-late.C:
		*waited = true
		return batch
	}
}

func (w *writer) closed() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// close ends the goroutine once what it has taken is done, and the connection.
func (w *writer) close() error {
	w.done.Wait()
	return errors.Join(closeStatements(w.stmts), w.conn.Close(), w.db.Close())
}

// tx is what a write may do in its transaction. It is the writer's own, and valid while the write runs.
type tx struct {
	*writer
	facets   map[facet]int64 // that are known to be there
	new      uncounted
	opened   []turn
	version  int64
	glimpses map[lane]*glimpse // what is known of claimed lanes when this is committed
	forget   map[lane]bool     // lanes of which nothing from before is
}

// turn is a lane that was found, or made, held or open.
type turn struct {
	lane
	held bool
}

func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	return t.stmts[query].ExecContext(context.Background(), args...)
}

func (t *tx) row(query string, args ...any) *sql.Row {
	return t.stmts[query].QueryRowContext(context.Background(), args...)
}

// note records whether a lane is held from now on.
func (t *tx) note(l lane, held bool) { t.opened = append(t.opened, turn{l, held}) }

// noteHolding looks whether a lane is held from now on.
func (t *tx) noteHolding(l lane) error {
	var n int
	err := t.row(sqlHolding, blob(l.stage), blob(l.key)).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	t.note(l, n > 0)
	return nil
}

// refresh learns which lanes other processes closed.
func (t *tx) refresh() error {
	if err := t.row(sqlVersion).Scan(&t.version); err != nil || t.version <= t.seen.Load() {
		return err
	}
	err := t.store.addHeld(context.Background(), t.stmts[sqlHeld], t.seen.Load())
	if err == nil {
		t.seen.Store(t.version)
	}
	return err
}

// finish counts, and notes how far this transaction itself brought the version.
func (t *tx) finish() error {
	if err := t.count(); err != nil {
		return err
	}
	if len(t.opened) == 0 {
		return nil
	}
	return t.row(sqlVersion).Scan(&t.version)
}

// publish makes what was committed known to MayHold.
func (t *tx) publish() {
	t.seen.Store(t.version)
	out := false
	for _, o := range t.opened {
		t.store.held.Set(o.lane.stage, o.lane.key, o.held)
		out = out || !o.held
	}
	t.store.ahead.learn(t)
	if out {
		t.unheld.Store(true)
	}
}

// find returns the letter with id, as query reads it: sqlGet or sqlGlean.
func (t *tx) find(query, id string) (*record, error) {
	n, ok := t.store.ids.number(id)
	if !ok {
		return nil, deadletter.ErrNotFound
	}
	read := t.store.readFull
	if query == sqlGlean {
		read = t.store.readLight
	}
	r, err := read(t.row(query, n))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, deadletter.ErrNotFound
	}
	return r, err
}
