package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
	"github.com/runnel-go/runnel/event"
)

// The letters of P13: so many callers put at once, and so many sequences are drained at once.
const (
	letterCallers   = 256
	letterSequences = 64
)

// letterbox is a place for letters under measurement: a store, or the driver that it uses.
type letterbox interface {
	put(from, n int) error // as letterCallers callers
	drain(n int) error     // all of them, letterSequences at once
	close() error
}

// postOffice is a database in which letters can be kept in two ways.
type postOffice struct {
	name   string
	store  func() (letterbox, error)
	driver func() (letterbox, error)
}

// errNoServer is a database that is not there.
var errNoServer = errors.New("there is no server")

// p13 puts dead letters and drains them, in a store and by the driver's own batched statements. What is
// acknowledged is on the disk, on both sides: the driver puts 256 rows in a transaction, which are the callers
// of the store, and deletes 64, which are the sequences that a drain has in hand: the most that it can share
// without removing letters that were not handled yet.
func p13(c *config) (*report, error) {
	r := &report{notes: []string{
		fmt.Sprintf("%d callers put, %d sequences are drained at once. The base has the rows' columns, its key, and the two indexes "+
			"that tell a letter that is there and the head of a sequence; it groups, counts, fences and lists nothing.", letterCallers, letterSequences),
	}}
	for _, o := range []postOffice{sqliteOffice(), postgresOffice()} {
		figures, err := o.measure(c)
		if errors.Is(err, errNoServer) {
			r.figures = append(r.figures, absentFigure(o.name+": put", err), absentFigure(o.name+": drain", err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		r.figures = append(r.figures, figures...)
	}
	return r, nil
}

// drainSlack is what a quick run lets pass of a drain, which is known to miss its goal: docs/decisions/0006 has the reason.
const drainSlack = 6

func (o postOffice) measure(c *config) ([]figure, error) {
	own, err := o.store()
	if err != nil {
		return nil, err
	}
	base, err := o.driver()
	if err != nil {
		return nil, errors.Join(err, own.close())
	}
	n := max(c.events(4096)/letterCallers, 1) * letterCallers
	var put, drain compared
	err = o.round(own, base, 0, n, &compared{}, &compared{}) // files grow, plans are made
	for round := 1; err == nil && round <= min(c.rounds, longRounds); round++ {
		err = o.round(own, base, round*n, n, &put, &drain)
	}
	if err = errors.Join(err, own.close(), base.close()); err != nil {
		return nil, err
	}
	drained := drain.figure(o.name+": drain", n)
	drained.goal.slack = drainSlack
	return []figure{put.figure(o.name+": put", n), drained}, nil
}

// compared is the times of two sides, in turn.
type compared struct{ own, base, ratio []float64 }

func (c *compared) add(own, base time.Duration) {
	c.own, c.base = append(c.own, float64(own)), append(c.base, float64(base))
	c.ratio = append(c.ratio, float64(own)/float64(base))
}

func (c *compared) figure(what string, n int) figure {
	f := plainFigure(what, atMost(2), c.ratio)
	f.ns, f.base = median(c.own)/float64(n), median(c.base)/float64(n)
	return f.noted("%.0f µs a letter, the driver %.0f", f.ns/1e3, f.base/1e3)
}

// round puts n letters and drains them, on both sides, in steps: the disk's moods hit both.
func (o postOffice) round(own, base letterbox, from, n int, put, drain *compared) error {
	var took [2][2]time.Duration
	for at := 0; at < n; at += letterCallers {
		for i, box := range []letterbox{own, base} {
			begin := time.Now()
			if err := box.put(from+at, letterCallers); err != nil {
				return err
			}
			took[0][i] += time.Since(begin)
		}
	}
	for i, box := range []letterbox{own, base} {
		begin := time.Now()
		if err := box.drain(n); err != nil {
			return err
		}
		took[1][i] = time.Since(begin)
	}
	put.add(took[0][0], took[0][1])
	drain.add(took[1][0], took[1][1])
	return nil
}

// letterOf is letter i: a payload of 200 bytes, of one of 64 keys and 4 causes.
func letterOf(i int) *deadletter.Letter {
	key, id := fmt.Sprintf("customer-%d", i%letterSequences), fmt.Sprintf("order-%09d", i)
	at := time.Now()
	return &deadletter.Letter{
		Stage: "charge", Topic: "orders", Key: key, Ordered: true, Holds: true,
		EventID: id, GivenID: id, Origin: 12345678901, TopicKey: key, Seq: uint64(i), Time: at,
		Header:  event.Header{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		Payload: make([]byte, 200), Codec: "json",
		Reason: deadletter.Exhausted, Error: "card service: 503 service unavailable", ErrorType: "*card.Error",
		Causes:      []deadletter.Cause{{Type: "*card.Error", Text: "card service: 503 service unavailable"}},
		Fingerprint: fmt.Sprintf("%08x", i%4), Attempts: 5,
		History: []deadletter.Attempt{{Number: 1, At: at, Error: "503"}, {Number: 2, At: at, Error: "503"}},
	}
}

// The columns of a letter as a program keeps them that writes SQL by hand.
const letterColumns = `stage, key, topic, ordered, holds, event_id, given_id, origin, topic_key, seq, time, header, payload, codec,
	follower, reason, error, error_type, causes, fingerprint, stack, attempts, history, redrives, state, dead_at, updated_at, notes,
	original`

func letterValues(l *deadletter.Letter) []any {
	now := time.Now().UnixMicro()
	return []any{
		[]byte(l.Stage), []byte(l.Key), []byte(l.Topic), l.Ordered, l.Holds, []byte(l.EventID), []byte(l.GivenID), int64(l.Origin),
		[]byte(l.TopicKey), int64(l.Seq), l.Time.UnixNano(), []byte(l.Header["traceparent"]), l.Payload, []byte(l.Codec),
		l.Follower, []byte(l.Reason), []byte(l.Error), []byte(l.ErrorType), []byte(l.Causes[0].Text), []byte(l.Fingerprint),
		[]byte(l.Stack), l.Attempts, []byte("503503"), l.Redrives, []byte("active"), now, now, []byte{}, nil,
	}
}

// storeBox keeps letters in a store.
type storeBox struct {
	store  deadletter.Store
	target deadletter.Target
	end    func() error
}

func newStoreBox(s deadletter.Store, end func() error) letterbox {
	done := func(context.Context, deadletter.Letter) error { return nil }
	return &storeBox{store: s, target: deadlettertest.NewTarget(s, 0, done), end: end}
}

func (b *storeBox) put(from, n int) error {
	var all sync.WaitGroup
	failed := make(chan error, n)
	for i := range n {
		all.Go(func() {
			if _, err := b.store.Put(context.Background(), letterOf(from+i)); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}

func (b *storeBox) drain(n int) error {
	r, err := deadletter.Drain(context.Background(), b.store, b.target, deadletter.DrainOptions{Parallel: letterSequences})
	if err == nil && r.Succeeded != n {
		err = fmt.Errorf("a drain of %d letters did %v", n, r.Counts)
	}
	return err
}

func (b *storeBox) close() error { return b.end() }
