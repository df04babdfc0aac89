package lane

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// job is what the engines of these tests run: it says itself what each of its attempts comes to.
type job struct {
	id       int
	key      string // "" runs in no order
	redrive  bool
	steps    []step // one an attempt; after the last it settles
	attempts int
}

// tells reports whether the engine is to tell of the job's end: not of each, so that some rides end by themselves.
func (j *job) tells() bool { return j.redrive || j.id%4 == 1 }

type step struct {
	action Action
	delay  time.Duration // of Park
	takes  time.Duration // how long the attempt runs
	goexit bool          // it ends its goroutine
}

// what happened to a job.
type what uint8

const (
	sent what = iota
	redriven
	began
	parked
	kept
	held
	released
	settled
	pausing
	resumed
)

func (w what) String() string {
	return [...]string{"sent", "redriven", "began", "parked", "kept", "held", "released", "settled", "pausing", "resumed"}[w]
}

// line is one of the history.
type line struct {
	what what
	job  *job
	key  string
	at   time.Time
	due  time.Time // of parked
}

// rig is an engine and the history of what it did.
type rig struct {
	*Engine[*job]
	took, idle int // calls of Config.Took and Config.Idle
	room       chan struct{}

	mu      sync.Mutex
	history []line
	next    int
}

// newRig makes an engine that is not started.
func newRig(workers, inlet, room int) *rig {
	r := &rig{room: make(chan struct{}, 1)}
	r.Engine = New(Config[*job]{
		Workers: workers, Inlet: inlet, Room: room,
		Key:       func(j **job) (string, bool) { return (*j).key, (*j).key != "" },
		NewRunner: func() Runner[*job] { return &rigRunner{r} },
		Took: func() bool {
			r.locked(func() { r.took++ })
			select {
			case r.room <- struct{}{}:
				return true
			default:
				return false
			}
		},
		Idle: func() { r.locked(func() { r.idle++ }) },
	})
	return r
}

// bubble runs f in a bubble with an engine at work, and ends the engine.
func bubble(t *testing.T, workers, inlet, room int, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(workers, inlet, room)
		r.Start()
		f(t, r)
		r.End()
		r.Wait()
		if err := r.check(); err != nil {
			t.Error(err)
		}
	})
}

func (r *rig) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *rig) add(n line) { r.locked(func() { r.history = append(r.history, n) }) }

func (r *rig) note(w what, j *job) {
	n := line{what: w, job: j, at: time.Now()}
	if j != nil {
		n.key = j.key
	}
	r.add(n)
}

// job makes one with the next id.
func (r *rig) job(key string, steps ...step) *job {
	r.next++
	return &job{id: r.next, key: key, steps: steps}
}

// send puts jobs into the channel and waits while it is full.
func (r *rig) send(jobs ...*job) {
	for _, j := range jobs {
		r.note(sent, j)
		for !r.Admits() {
			<-r.room
		}
		r.Send(j)
	}
}

// feed sends an item, in real time, and lets others run while the inlet is full.
func feed[T any](e *Engine[T], item T) {
	for !e.Admits() {
		runtime.Gosched()
	}
	e.Send(item)
}

// offer is send, unless nothing is admitted.
func (r *rig) offer(j *job) {
	if r.Admits() {
		r.send(j)
	}
}

func (r *rig) redo(j *job) bool {
	j.redrive = true
	r.note(redriven, j)
	return r.Redrive(j)
}

func (r *rig) free(key string) int {
	return r.Release(key, func(j **job) { r.note(released, *j) }) // noted as it is done: a job may be on its way to be held
}

func (r *rig) pause(on bool) {
	if !on {
		r.note(resumed, nil)
	}
	r.Pause(on)
	synctest.Wait() // what had begun to start has started
	if on {
		r.note(pausing, nil)
	}
}

// order lists the jobs that did what, in order.
func (r *rig) order(w what) (ids []int) {
	r.locked(func() {
		for _, n := range r.history {
			if n.what == w {
				ids = append(ids, n.job.id)
			}
		}
	})
	return ids
}

type rigRunner struct{ r *rig }

func (x *rigRunner) Run(item **job, d *Decision) {
	j := *item
	x.r.note(began, j)
	s := step{}
	if j.attempts < len(j.steps) {
		s = j.steps[j.attempts]
	}
	if s.takes > 0 {
		time.Sleep(s.takes)
	}
	*d = Decision{Action: s.action, Delay: s.delay, Notify: s.action == Settle && j.tells()}
	switch s.action {
	case Settle:
		if !j.tells() {
			x.r.note(settled, j)
		}
	case Park:
		now := time.Now()
		x.r.add(line{what: parked, job: j, key: j.key, at: now, due: now.Add(s.delay)})
	case Keep:
		x.r.note(kept, j)
	case Hold, Stop:
		x.r.note(held, j)
	}
	if s.goexit {
		runtime.Goexit()
	}
}

func (x *rigRunner) Amend(item **job) { (*item).attempts++ }

func (x *rigRunner) Gone(**job) {}

func (x *rigRunner) Settled(item **job, _ Decision) { x.r.note(settled, *item) }

// check reads the history and returns what an engine must never do.
func (r *rig) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := checker{jobs: map[*job]*jobState{}, keys: map[string]*keyState{}}
	for i, n := range r.history {
		c.read(i, n)
	}
	return errors.Join(c.faults...)
}

// checkRest is check for an engine with nothing left: besides, every job has settled and no lane is
// there.
func (r *rig) checkRest() error {
	faults := []error{r.check()}
	ended := map[*job]int{}
	for _, n := range r.history {
		if n.what == settled {
			ended[n.job]++
		}
	}
	var live uint64
	for _, n := range r.history {
		if n.what == sent || n.what == redriven {
			if ended[n.job] != 1 {
				faults = append(faults, fmt.Errorf("job %d settled %d times, want once", n.job.id, ended[n.job]))
			}
		}
		if n.what == sent {
			live++
		}
	}
	c := r.Count(nil)
	if c.Live[0] != live || c.Resident+c.Redrives+c.Running+c.Parked+c.Held+c.Lanes != 0 {
		faults = append(faults, fmt.Errorf("at rest after %d jobs the counts are %+v, want all zero but Live", live, c))
	}
	for i := range indexPlaces {
		if p := r.lanes.places; p != nil && (p[i].lanes.Load() != 0 || p[i].here != nil) {
			faults = append(faults, fmt.Errorf("at rest the index counts %d lanes at %d and has %v, want none", p[i].lanes.Load(), i, p[i].here))
		}
	}
	return errors.Join(faults...)
}

type jobState struct {
	place   int // among the live jobs of its key
	running bool
	started bool
	settled bool
	held    bool
	due     time.Time
}

type keyState struct {
	sent     int  // live jobs
	first    int  // how many of them have begun for the first time
	open     *job // the live one that has begun and not settled
	running  *job
	redrives int // under way
}

type checker struct {
	jobs   map[*job]*jobState
	keys   map[string]*keyState
	paused bool
	faults []error
}

func (c *checker) read(i int, n line) {
	fault := func(format string, args ...any) {
		c.faults = append(c.faults, fmt.Errorf("line %d, %v of job %d, key %q: %s", i, n.what, n.job.id, n.key, fmt.Sprintf(format, args...)))
	}
	switch n.what {
	case pausing, resumed:
		c.paused = n.what == pausing
		return
	case released:
		c.jobs[n.job].held = false
		return
	}
	k := c.keys[n.key]
	if k == nil {
		k = &keyState{}
		c.keys[n.key] = k
	}
	j := c.jobs[n.job]
	if j == nil {
		j = &jobState{}
		c.jobs[n.job] = j
	}
	switch {
	case n.what == sent:
		k.sent++
		j.place = k.sent
		return
	case n.what == redriven:
		k.redrives++
		return
	case j.settled:
		fault("it has settled before")
	case n.what == began:
		c.began(n, j, k, fault)
		return
	case !j.running:
		fault("it does not run")
	}
	j.running = false
	if n.key != "" {
		k.running = nil
	}
	switch n.what {
	case parked:
		j.due = n.due
	case held:
		j.held = true
	case settled:
		j.settled = true
		if k.open == n.job {
			k.open = nil
		}
		if n.job.redrive {
			k.redrives--
		}
	}
}

func (c *checker) began(n line, j *jobState, k *keyState, fault func(string, ...any)) {
	switch {
	case c.paused:
		fault("the engine is paused")
	case j.running:
		fault("it overlaps with itself")
	case j.held:
		fault("it is held")
	case n.at.Before(j.due):
		fault("%v before it is due", j.due.Sub(n.at))
	}
	first := !j.started
	j.running, j.started = true, true
	if n.key == "" {
		return
	}
	if k.running != nil {
		fault("it overlaps with job %d", k.running.id)
	}
	k.running = n.job
	if n.job.redrive || !first {
		return
	}
	if k.open != nil {
		fault("job %d has not settled", k.open.id)
	}
	if k.first++; j.place != k.first {
		fault("it is the %d. of its key, want the %d.", j.place, k.first)
	}
	if k.redrives > 0 {
		fault("a redriven job of its key goes first")
	}
	k.open = n.job
}
