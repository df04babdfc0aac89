package lane

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// crewJob is what the engines of these tests run. It waits with others of its key until the gate that is open when
// it comes is closed, as events wait for their batch.
type crewJob struct {
	id, lane int
	fails    int // so many attempts come back
	refuses  int // so many come back before they have joined
	redrive  bool
}

// crewRig is an engine whose runs of a key go together.
type crewRig struct {
	*Engine[*crewJob]
	rec  *crewRecord
	gate atomic.Pointer[gate]
}

type gate struct {
	sealed atomic.Bool
	closed chan struct{}

	mu   sync.Mutex // guards last
	last [4]int     // that joined, by lane
}

// joins notes that j joined, and reports whether none behind it did before.
func (g *gate) joins(j *crewJob) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.last[j.lane]
	g.last[j.lane] = j.id
	return before <= j.id
}

// crewRecord is what happened in each lane. The engine's order is its only lock, but for what a crew runs at once.
type crewRecord struct {
	settled [4][]int // in order, by lane
	solo    [4]atomic.Int32
	faults  chan string
}

func newCrewRig(workers int) *crewRig {
	r := &crewRig{rec: &crewRecord{faults: make(chan string, 1000)}}
	r.swing()
	r.Engine = New(Config[*crewJob]{
		Workers: workers, Inlet: 64, Room: 64,
		Key:       func(j **crewJob) (string, bool) { return fmt.Sprint((*j).lane), true },
		NewRunner: func() Runner[*crewJob] { return &crewRunner{r: r} },
		Took:      func() bool { return false }, Idle: func() {},
	})
	return r
}

// swing closes the gate and opens another.
func (r *crewRig) swing() {
	if old := r.gate.Swap(&gate{closed: make(chan struct{})}); old != nil {
		old.sealed.Store(true)
		close(old.closed)
	}
}

type crewRunner struct {
	r    *crewRig
	seat *Seat[*crewJob]
}

func (c *crewRunner) Sit(s *Seat[*crewJob]) { c.seat = s }

func (c *crewRunner) Run(p **crewJob, d *Decision) {
	j, rec := *p, c.r.rec
	g := c.r.gate.Load()
	behind := c.seat.Behind()
	if j.redrive && behind != nil {
		rec.faults <- fmt.Sprintf("letter %d began beside a crew", j.id)
	}
	if behind != nil && behind != &g.sealed {
		c.seat.Break()
		*d = Decision{Action: Keep}
		return
	}
	if behind == nil && rec.solo[j.lane].Add(1) != 1 {
		rec.faults <- fmt.Sprintf("job %d began beside a crew that it is not of", j.id)
	}
	if j.redrive {
		rec.solo[j.lane].Add(-1)
		*d = Decision{Action: Settle}
		return
	}
	if time.Sleep(time.Duration(j.id%3) * time.Millisecond); j.refuses > 0 {
		if behind == nil {
			rec.solo[j.lane].Add(-1)
		}
		j.refuses--
		c.seat.Break()
		*d = Decision{Action: Park, Delay: time.Millisecond}
		return
	}
	if g == c.r.gate.Load() && !g.joins(j) {
		rec.faults <- fmt.Sprintf("job %d joined before one ahead of it", j.id)
	}
	c.seat.Open(&g.sealed)
	<-g.closed
	ok := c.seat.Turn(context.Background())
	if behind == nil {
		defer rec.solo[j.lane].Add(-1)
	}
	switch {
	case !ok:
		*d = Decision{Action: Keep}
	case j.fails > 0:
		j.fails--
		*d = Decision{Action: Park, Delay: 5 * time.Millisecond}
	default:
		rec.settled[j.lane] = append(rec.settled[j.lane], j.id)
		*d = Decision{Action: Settle}
		return
	}
	c.seat.Break()
}

func (*crewRunner) Amend(**crewJob)             {}
func (*crewRunner) Settled(**crewJob, Decision) {}
func (*crewRunner) Gone(**crewJob)              {}

// TestACrewKeepsTheOrderOfItsLane plays programs: jobs come, gates swing, letters cut in, and some come back.
func TestACrewKeepsTheOrderOfItsLane(t *testing.T) {
	for range 20 { // programs are quick, and few of them are to the point
		rapid.Check(t, func(rt *rapid.T) { playAnyCrew(t, rt) })
	}
}

func playAnyCrew(t *testing.T, rt *rapid.T) {
	n := rapid.SampledFrom([]int{5, 15, 30, 60, 120}).Draw(rt, "length") // a free choice would be near 1
	program := rapid.SliceOfN(rapid.IntRange(0, 99), n, n).Draw(rt, "program")
	workers := rapid.IntRange(1, 12).Draw(rt, "workers")
	abandon := rapid.Bool().Draw(rt, "abandon")
	var faults []string
	synctest.Test(t, func(*testing.T) { faults = playCrew(program, workers, abandon) })
	for _, fault := range faults {
		rt.Error(fault)
	}
}

func playCrew(program []int, workers int, abandon bool) (faults []string) {
	r := newCrewRig(workers)
	r.Start()
	var sent [4][]int
	for i, op := range program {
		lane := op % 4
		switch {
		case op < 60:
			if len(sent[0])+len(sent[1])+len(sent[2])+len(sent[3]) < 64 {
				r.Send(&crewJob{id: i, lane: lane, fails: max(0, op/4%8-5), refuses: max(0, 1-op/4%6)})
				sent[lane] = append(sent[lane], i)
			}
		case op < 65:
			r.swing()
		case op < 75:
			r.Redrive(&crewJob{id: i, lane: lane, redrive: true})
		case op < 80:
			synctest.Wait()
		case op < 83:
			r.Pause(op == 80)
		case op < 86:
			r.Expedite(func(**crewJob) bool { return true })
		default:
			time.Sleep(4 * time.Millisecond)
		}
	}
	var left [4][]int
	if abandon {
		r.End()
		synctest.Wait()
		for _, l := range r.Abandon(6) {
			if !l.Redrive {
				left[l.Item.lane] = append(left[l.Item.lane], l.Item.id)
			}
		}
	}
	r.Pause(false)
	for range 200 { // each swing settles one job at least
		r.swing()
		time.Sleep(6 * time.Millisecond)
	}
	r.End()
	r.Wait()
	for lane := range sent {
		// What ran when it was handed back may have been done all the same.
		done := slices.DeleteFunc(slices.Clone(r.rec.settled[lane]), func(id int) bool { return slices.Contains(left[lane], id) })
		if got := append(done, left[lane]...); !slices.Equal(got, sent[lane]) {
			faults = append(faults, fmt.Sprintf("lane %d: sent %v, but %v settled and %v came back", lane, sent[lane], done, left[lane]))
		}
	}
	if c := r.Count(nil); c.Lanes+c.Resident+c.Running+c.Parked != 0 {
		faults = append(faults, fmt.Sprintf("something is left: %+v", c))
	}
	close(r.rec.faults)
	for f := range r.rec.faults {
		faults = append(faults, f)
	}
	return faults
}

func TestALetterBeginsWhenTheCrewOfItsLaneIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sends, redrives, waits = 4, 68, 99
		for _, fault := range playCrew([]int{sends, waits, redrives, sends, waits}, 8, false) {
			t.Error(fault)
		}
	})
}

func TestACrewIsJoinedInTheOrderOfItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sends, waits, lets = 4, 99, 77
		for _, fault := range playCrew([]int{sends, waits, sends, lets, sends, waits}, 8, false) { // the last is the quickest
			t.Error(fault)
		}
	})
}
