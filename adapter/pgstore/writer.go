package pgstore

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runnel-go/runnel/deadletter"
)

const (
	// maxBatch bounds the writes of one transaction, so that none waits for long.
	maxBatch = 256
	// attempts is how often a transaction is tried that the server or the network ended.
	attempts = 6
	// answerLimit is how long the server may take for one of a transaction's two answers.
	answerLimit = 30 * time.Second
)

// writer is the one goroutine that writes, and its connection. It takes the writes that wait, runs them in
// one transaction, commits, and then answers all of them: a commit costs a flush of the server's disk, however
// many writes it has. It alone takes lanes out of what MayHold says, in the order of the commits.
type writer struct {
	store   *Store
	config  *pgx.ConnConfig
	conn    *pgx.Conn          // nil: there is none now
	queue   chan *write        // unbuffered: a write is taken, or it has not happened
	ending  context.Context    //nolint:containedctx // of what shall not outlive the store
	end     context.CancelFunc // by Store.Close
	done    sync.WaitGroup
	id      pgtype.UUID   // of this store's row in commits
	serial  int64         // of the last transaction
	last    int           // writes of the last batch
	took    time.Duration // the last commit
	commits atomic.Uint64
	seen    atomic.Int64 // meta.change up to which held has what others did
	unheld  atomic.Bool  // lanes were taken out of held since the watcher looked
}

// write is one change. It may run more than once: what it leaves in its caller's variables counts only when
// the answer is nil.
type write struct {
	foresee func(*needs)
	run     func(*tx) error
	lease   bool  // it changes nothing but claims
	refused error // what run answered instead of changing anything
	answer  chan error
}

// do has the writer run a change and waits until it is durable. What foresee names is read before; a change
// that asks for more costs a round trip of its own. When run returns an error of deadletter, it has changed
// nothing, and that is the answer; any other error undoes the transaction.
func (s *Store) do(foresee func(*needs), run func(*tx) error) error {
	return s.writer.do(&write{foresee: foresee, run: run, answer: make(chan error, 1)})
}

// lease is do for a change of claims. A transaction of nothing else does not wait for the server's disk: a claim that
// a crash of the server takes is lost, and fenced off, like any other that was lost.
func (s *Store) lease(foresee func(*needs), run func(*tx) error) error {
	return s.writer.do(&write{foresee: foresee, run: run, lease: true, answer: make(chan error, 1)})
}

func (w *writer) do(o *write) error {
	select {
	case w.queue <- o:
	case <-w.ending.Done():
		return ErrClosed
	}
	return <-o.answer
}

// nothing is foreseen.
func nothing(*needs) {}

// refusals are the answers of a write that leave the transaction as it was.
var refusals = []error{
	deadletter.ErrNotFound, deadletter.ErrClaimed, deadletter.ErrClaimLost,
	deadletter.ErrFull, deadletter.ErrSequenceFull, deadletter.ErrTooLarge,
}

// try runs the change and returns what the server has against it.
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
			w.serve(w.gather(o))
		case <-w.ending.Done():
			w.hangUp()
			return
		}
	}
}

// gather takes the writes that wait. Those who were answered together are about to write again together, as the
// workers of a drain are, so it waits for as many, for a part of what a commit takes.
func (w *writer) gather(first *write) []*write {
	batch := []*write{first}
	defer func() { w.last = len(batch) }()
	var late <-chan time.Time
	for idle := 0; len(batch) < maxBatch; {
		select {
		case o := <-w.queue:
			batch, idle = append(batch, o), 0
			continue
		default:
		}
		if idle++; idle <= 3 {
			runtime.Gosched()
			continue
		}
		if len(batch) >= w.last {
			return batch
		}
		if late == nil {
			late = time.After(min(w.took/4, time.Millisecond))
		}
		select {
		case o := <-w.queue:
			batch, idle = append(batch, o), 0
		case <-late:
			return batch
		}
	}
	return batch
}

// serve runs a batch. When something is wrong with what one of it writes, each runs in a transaction of its
// own, so that it fails alone.
func (w *writer) serve(batch []*write) {
	err := w.persist(batch)
	for _, o := range batch {
		alone := err
		if err != nil && len(batch) > 1 && !passing(err) {
			alone = w.persist([]*write{o})
		}
		if alone == nil {
			alone = o.refused
		} else {
			alone = w.store.fault("write", alone)
		}
		o.answer <- alone
	}
}

// persist runs a batch until it is committed, and again where a transaction ended for a reason that passes.
func (w *writer) persist(batch []*write) (err error) {
	for i := range attempts {
		if err = w.transaction(batch); err == nil || !passing(err) {
			return err
		}
		select {
		case <-time.After(backoff(i)):
		case <-w.ending.Done():
			return err
		}
	}
	return err
}

// backoff is how long attempt i waits.
func backoff(i int) time.Duration { return 20 * time.Millisecond << i }

func (w *writer) transaction(batch []*write) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	t, err := w.open(ctx)
	if err != nil {
		return err
	}
	err = t.decide(batch)
	asked, began := false, time.Now()
	if err == nil {
		asked, err = t.commit()
		w.took = time.Since(began)
	}
	if err != nil {
		err = w.abandon(err)
	}
	if asked && errors.Is(err, errLost) {
		err = w.resolveDoubt(err)
	}
	if err == nil {
		t.publish()
	}
	return err
}

// open begins nothing yet.
func (w *writer) open(ctx context.Context) (*tx, error) {
	if w.conn == nil {
		conn, err := w.dial(ctx)
		if err != nil {
			return nil, err
		}
		w.conn = conn
	}
	w.serial++
	return w.store.newTx(ctx, w.conn), nil
}

// decide reads what the batch needs and runs it.
func (t *tx) decide(batch []*write) error {
	n := &needs{}
	for _, o := range batch {
		o.foresee(n)
	}
	if err := t.begin(n); err != nil {
		return err
	}
	if err := t.learnHeld(); err != nil {
		return err
	}
	t.lax = true
	for _, o := range batch {
		if err := o.try(t); err != nil {
			return err
		}
		t.lax = t.lax && o.lease
	}
	return nil
}

// learnHeld learns which lanes other processes made held.
func (t *tx) learnHeld() error {
	if t.m.change <= t.writer.seen.Load() {
		return nil
	}
	return t.addHeld(t.ctx, t.conn, t.writer.seen.Load())
}

// commit writes what was decided, and reports whether it asked the server to commit it.
func (t *tx) commit() (asked bool, err error) {
	b := &pgx.Batch{}
	t.queuePending(b)
	t.news = t.news || b.Len() > 0 || t.m != t.found
	if t.m != t.found {
		m := t.m
		b.Queue(sqlMeta, m.last, m.change, m.letters, m.lanes, m.held)
	}
	if t.news {
		b.Queue(sqlCommitted, t.writer.id, t.writer.serial)
	}
	t.queueAhead(b)
	if t.lax {
		b.Queue("SET LOCAL synchronous_commit = off")
	}
	b.Queue("COMMIT")
	return t.news, t.conn.SendBatch(t.ctx, b).Close()
}

// publish makes what was committed known to MayHold and Head.
func (t *tx) publish() {
	w := t.writer
	if t.news {
		w.commits.Add(1)
	}
	w.seen.Store(t.m.change)
	out := false
	for at, l := range t.touched {
		rows, known := t.lanes[at]
		held := known && total(rows).holding > 0
		t.held.Set(l.stage, l.key, held)
		out = out || !held
	}
	if out {
		w.unheld.Store(true)
	}
	t.Store.ahead.learn(t)
}
