//go:build unix

package sqlitestore_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// One live program and two that only redrive, processes of their own over one file: each calls its handlers
// and says so on the parent's pipe; the parent checks the three records against each other.

func init() {
	children["live"] = liveChild
	children["redriver"] = func(d *diary, path string) { redriveChild(d, path, false) }
	children["drainer"] = func(d *diary, path string) { redriveChild(d, path, true) }
}

const (
	processKeys   = 16
	processEvents = 80 // a key
	processLease  = 2 * time.Second
)

// sale is an event of the live program.
type sale struct{ Key, Number int }

// shop is the pipeline that every one of the processes has.
type shop struct {
	d   *diary
	s   *sqlitestore.Store
	p   *pipeline.Pipeline
	out event.Publisher[sale]
}

func openShop(d *diary, path string) *shop {
	s, err := sqlitestore.Open(context.Background(), path, sqlitestore.Config{})
	if err != nil {
		d.died(err)
	}
	topic := event.NewTopic("sales", event.KeyBy(func(v sale) string { return fmt.Sprint("key-", v.Key) }),
		event.IDBy(func(v sale) string { return fmt.Sprintf("%d-%d", v.Key, v.Number) }))
	w := &shop{d: d, s: s, p: pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)})}
	w.p.Use(append(middleware.Standard(middleware.StandardConfig{Letters: s}), stage.Middleware{Name: "diary", Wrap: w.wrap})...)
	w.p.Add(stage.Handle(topic, "charge", func(context.Context, event.Event[sale]) error { return nil }, stage.Workers(4)))
	w.out = pipeline.NewPublisher(w.p, topic)
	return w
}

var errSold = stage.Permanent(errors.New("not sold"))

// wrap fails a live event in eleven for good, and of those each third once more when it is redriven.
func (w *shop) wrap(stage.Handler) stage.Handler {
	return func(_ context.Context, d *stage.Delivery) error {
		var key, number int
		if _, err := fmt.Sscanf(d.GivenID, "%d-%d", &key, &number); err != nil {
			w.d.died(err)
		}
		w.d.say("H", d.GivenID, d.Lane, number, time.Now().UnixNano(), token(d))
		<-time.After(time.Duration(rand.IntN(800)) * time.Microsecond)
		if d.Redrive != nil { // so that live events come meanwhile
			<-time.After(time.Duration(rand.IntN(8)) * time.Millisecond)
		}
		how, err := "F", error(nil)
		if d.Redrive == nil && (number+key)%11 == 3 || d.Redrive != nil && d.Redrive.Count == 1 && (number+key)%33 == 3 {
			how, err = "T", errSold
		}
		w.d.say("E", d.GivenID, d.Lane, number, time.Now().UnixNano())
		if d.Redrive == nil {
			how = strings.ToLower(how)
		}
		w.d.say(how, d.GivenID, d.Lane, number, time.Now().UnixNano())
		return err
	}
}

// token is that of the claim with which a letter is redriven, or 0 of a live event.
func token(d *stage.Delivery) uint64 {
	if d.Redrive == nil {
		return 0
	}
	return d.Redrive.Claim.(deadletter.Claim).Token
}

// redriver does what others ask for until ctx ends.
func (w *shop) redriver(ctx context.Context) {
	r := deadletter.NewRedriver(w.s, w.p, deadletter.RedriverConfig{
		Interval: 10 * time.Millisecond, Lease: processLease, Parallel: 3, Owner: fmt.Sprint(os.Getpid()),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err := r.Run(ctx); err != nil {
		w.d.died(err)
	}
}

// over waits until the parent closes the pipe that is the child's input.
func over() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ended
}

// liveChild publishes all events, and redrives what it is asked for, beside the others.
func liveChild(d *diary, path string) {
	w := openShop(d, path)
	ctx, cancel := context.WithCancel(context.Background())
	var redriver, running sync.WaitGroup
	running.Go(func() {
		if err := w.p.Run(context.Background()); err != nil {
			d.died(err)
		}
	})
	redriver.Go(func() { w.redriver(ctx) })
	d.say("R")
	for number := range processEvents {
		for key := range processKeys {
			if err := w.out.Publish(ctx, sale{key, number}); err != nil {
				d.died(err)
			}
		}
		<-time.After(10 * time.Millisecond)
		if number%20 == 19 { // letters pile up faster than they are redriven: an ebb lets keys open
			w.ebb()
		}
	}
	for w.resident() > 0 {
		<-time.After(time.Millisecond)
	}
	d.say("P") // from here on there are no more letters than those that are there
	<-over()
	cancel()
	redriver.Wait()
	if err := w.p.Shutdown(context.Background()); err != nil {
		d.died(err)
	}
	running.Wait()
	w.sums()
}

// ebb waits until all letters are gone.
func (w *shop) ebb() {
	for {
		n, err := w.s.Stats(context.Background())
		if err != nil {
			w.d.died(err)
		}
		if n.Active == 0 {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

// resident is how many events were accepted and have not settled.
func (w *shop) resident() int {
	s, _ := w.p.Snapshot().Stage("charge")
	return s.Resident()
}

// redriveChild has the same stages and no source.
func redriveChild(d *diary, path string, drains bool) {
	w := openShop(d, path)
	ctx, cancel := context.WithCancel(context.Background())
	var working, running sync.WaitGroup
	running.Go(func() {
		if err := w.p.Run(context.Background()); err != nil {
			d.died(err)
		}
	})
	if drains {
		working.Go(func() { w.drains(ctx) })
	} else {
		working.Go(func() { w.redriver(ctx) })
	}
	d.say("R")
	<-over()
	cancel()
	working.Wait()
	if err := w.p.Shutdown(context.Background()); err != nil {
		d.died(err)
	}
	running.Wait()
	w.sums()
}

// drains is a maintenance job after the other.
func (w *shop) drains(ctx context.Context) {
	for ctx.Err() == nil {
		_, err := deadletter.Drain(ctx, w.s, w.p, deadletter.DrainOptions{Parallel: 2, Lease: processLease})
		if err != nil && ctx.Err() == nil {
			w.d.died(err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// sums says what D1 says of the stage.
func (w *shop) sums() {
	n := w.p.Snapshot()
	if err := n.Sum(true); err != nil {
		w.d.died(err)
	}
	s, _ := n.Stage("charge")
	w.d.say("N", s.Accepted, s.Done, s.DeadLettered, s.Diverted, s.Redriven, s.RedrivenFailed)
	if err := w.s.Close(); err != nil {
		w.d.died(err)
	}
}

// shopRecord is what the three processes came to.
type shopRecord struct {
	accepted, done, dead, diverted, redriven, again int // of D1, summed
	by                                              map[string]int
	kills, killed                                   int // processes, and calls of handlers with them
	stale                                           int // calls that began after the lease had ended and another had claimed the key
	twice                                           int // successes with an event that another process had done, or did too
	operations, opSucceeded, opFailed               int
	goneOn                                          int // live events that ran after letters of their key
}

// TestX3_X4_X5_X10_ALiveProgramAndTwoRedrivingProcesses has nobody killed.
func TestX3_X4_X5_X10_ALiveProgramAndTwoRedrivingProcesses(t *testing.T) {
	r := sellTogether(t, 0)
	total := processKeys * processEvents
	if r.accepted != total || r.done+r.dead+r.diverted != total {
		t.Errorf("D1: accepted %d of %d: done %d, dead-lettered %d, diverted %d", r.accepted, total, r.done, r.dead, r.diverted)
	}
	if once := r.redriven - r.twice; r.done+once != total || r.dead+r.diverted != once {
		t.Errorf("D1 over the processes: %d done live, %d redriven, %d of them twice, of %d", r.done, r.redriven, r.twice, total)
	}
	for _, who := range []string{"live", "redriver", "drainer"} {
		if r.by[who] == 0 {
			t.Errorf("%s redrove nothing: %v", who, r.by)
		}
	}
	// Who lost a claim while it was at work, because the machine stood still for longer than its lease, has not done it for the operation.
	if lost := r.by["live"] + r.by["redriver"] - r.opSucceeded; lost < 0 || lost > r.twice {
		t.Errorf("the operations count %d successes, the programs that did them %d and %d", r.opSucceeded, r.by["live"], r.by["redriver"])
	}
}

// TestX5_X10_AKilledRedriveLeavesItsLetterToAnother kills those that redrive, at any moment.
func TestX5_X10_AKilledRedriveLeavesItsLetterToAnother(t *testing.T) {
	if r := sellTogether(t, 4); r.kills != 4 {
		t.Errorf("%d processes were killed", r.kills)
	}
}

// TestCrashRedriving does that more often.
func TestCrashRedriving(t *testing.T) {
	kills := times(t, "DRAIN_KILLS")
	var r shopRecord
	for r.kills < kills && !t.Failed() {
		one := sellTogether(t, min(10, kills-r.kills))
		if one.kills == 0 {
			t.Fatal("nobody was killed")
		}
		r.kills, r.killed, r.stale, r.accepted = r.kills+one.kills, r.killed+one.killed, r.stale+one.stale, r.accepted+one.accepted
	}
	if r.killed*10 < kills {
		t.Errorf("%d kills ended %d calls: too few to prove anything", r.kills, r.killed)
	}
	if t.Failed() {
		return
	}
	t.Logf("counts: %d kills of two redriving processes beside a live one, %d calls with them, %d stale calls: "+
		"%d events accepted, each done, in order", r.kills, r.killed, r.stale, r.accepted)
}

// sellTogether runs the three processes until every event is done, and judges their records.
func sellTogether(t *testing.T, kills int) *shopRecord {
	t.Helper()
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	r := &shopRecord{by: map[string]int{}}
	var all []*run
	var numbers atomic.Int32
	collect := func(role string, lines []string) {
		all = append(all, runs(t, int(numbers.Add(1)), r.sums(t, role, lines), time.Now().UnixNano())...)
	}
	live := startSelling(t, "live", path)
	<-live.ready
	others := []*child{startSelling(t, "redriver", path), startSelling(t, "drainer", path)}
	roles := []string{"redriver", "drainer"}
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for at := time.Now(); !sold(t, live, s); <-time.After(20 * time.Millisecond) {
		if time.Since(at) > 2*time.Minute {
			_ = live.cmd.Process.Kill() // it may wait for what the others do not do
			t.Error("after two minutes not everything is sold")
			break
		}
		if r.kills < kills {
			i := random.IntN(2)
			collect(roles[i], others[i].kill(random))
			r.kills++
			others[i] = startSelling(t, roles[i], path)
		}
		added, err := deadletter.RequestRedrive(t.Context(), s, deadletter.Operation{Who: "the parent", Why: "a test"})
		must(t, err)
		r.operations += len(added)
	}
	for i, c := range append(others, live) {
		must(t, c.input.Close())
		collect(append(roles, "live")[i], c.wait())
	}
	r.judge(t, all)
	r.judgeOperations(t, s)
	t.Logf("together accepted %d = done live %d + redriven %d; %d processes killed, %d calls with them, %d stale, %d done twice; "+
		"%d operations with %d successes and %d failures; %d live events ran after letters of their key",
		r.accepted, r.done, r.redriven, r.kills, r.killed, r.stale, r.twice, r.operations, r.opSucceeded, r.opFailed, r.goneOn)
	recount(t, path)
	return r
}

func startSelling(t *testing.T, role, path string) *child {
	return startWith(t, role, path, true)
}

// sold reports whether the live program has published everything and no letter is left.
func sold(t *testing.T, live *child, s *sqlitestore.Store) bool {
	t.Helper()
	select {
	case <-live.done:
	case <-live.ended:
		return true
	default:
		return false
	}
	n, err := s.Stats(t.Context())
	must(t, err)
	return n.Active+n.Quarantined == 0
}

// sums takes what a process said of D1 out of its lines, and tells live calls from redriven ones.
func (r *shopRecord) sums(t *testing.T, role string, lines []string) (rest []string) {
	t.Helper()
	for _, line := range lines {
		switch line[0] {
		case 'N':
			var n [6]int
			if _, err := fmt.Sscan(line[1:], &n[0], &n[1], &n[2], &n[3], &n[4], &n[5]); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			t.Logf("%-8s accepted %d = done %d + dead-lettered %d + diverted %d; redriven with success %d, failed again %d",
				role, n[0], n[1], n[2], n[3], n[4], n[5])
			if n[0] != n[1]+n[2]+n[3] {
				t.Errorf("D1: %s: what was accepted has not ended", role)
			}
			for i, sum := range []*int{&r.accepted, &r.done, &r.dead, &r.diverted, &r.redriven, &r.again} {
				*sum += n[i]
			}
			r.by[role] += n[4]
		default:
			rest = append(rest, line)
		}
	}
	return rest
}

// judge: no two calls of a key at once, its events done in the order in which they were accepted, each once,
// or again only where a process was killed. A process that stalled beyond its lease, between the store's answer and
// the handler's call, may call it late: nobody can keep it from that, and the token of its claim, older than one
// that was seen, tells.
func (r *shopRecord) judge(t *testing.T, all []*run) {
	t.Helper()
	keys := map[string][]*run{}
	for _, one := range all {
		keys[one.key] = append(keys[one.key], one)
		if one.how == "" {
			r.killed++
		}
	}
	for key, list := range keys {
		slices.SortFunc(list, func(a, b *run) int { return cmp.Compare(a.start, b.start) })
		redriven, next := false, uint64(0)
		var before *run
		newest := uint64(0)
		for _, one := range list {
			if one.token > 0 && one.token < newest {
				r.stale++
				if one.how == "F" {
					r.twice++
				}
				continue
			}
			newest = max(newest, one.token)
			if before != nil && one.start < before.end {
				t.Errorf("%s: %s began before %s had ended", key, one.id, before.id)
			}
			before = one
			switch {
			case one.how == "T" || one.how == "t" || one.how == "":
			case one.seq == next:
				next++
			case one.seq+1 == next:
				r.twice++
			default:
				t.Errorf("%s: %s was done where %d was due", key, one.id, next)
				next = one.seq + 1
			}
			if one.how == "F" {
				redriven = true
			} else if one.how == "f" && redriven {
				r.goneOn++
			}
		}
		if next != processEvents {
			t.Errorf("%s: %d of %d events were done", key, next, processEvents)
		}
	}
	if len(keys) != processKeys || r.goneOn == 0 {
		t.Errorf("%d keys, and %d live events ran after letters of their key", len(keys), r.goneOn)
	}
	// A process that is killed after its handler and before the letter is removed has it done again, and so has one that
	// stalls beyond its lease there.
	if r.twice > r.kills*5+len(all)/50 {
		t.Errorf("%d events were done again, %d processes were killed", r.twice, r.kills)
	}
	if r.stale > len(all)/50 {
		t.Errorf("%d of %d calls began with a claim that another had by then", r.stale, len(all))
	}
}

// judgeOperations: all have ended, none counts more than it selected.
func (r *shopRecord) judgeOperations(t *testing.T, s *sqlitestore.Store) {
	t.Helper()
	n := 0
	for o, err := range s.Operations(t.Context()) {
		must(t, err)
		n++
		r.opSucceeded, r.opFailed = r.opSucceeded+o.Succeeded, r.opFailed+o.Failed
		failures := 0
		for range s.OperationFailures(t.Context(), o.ID) {
			failures++
		}
		if o.Succeeded+o.Failed > o.Selected || failures != o.Failed || o.Who != "the parent" {
			t.Errorf("operation %+v with %d failures", o, failures)
		}
	}
	if n != r.operations || n == 0 {
		t.Errorf("%d operations are recorded, %d were asked for", n, r.operations)
	}
}
