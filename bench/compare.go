package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"time"
)

// side is one way of doing a scenario's work.
type side struct {
	name    string
	lacks   string // what it promises less than a stage of runnel
	share   int    // it is slow: it gets one event of so many; 0 is all
	ordered bool   // it promises the order of keys, and that is checked
	open    func(j *job) (*line, error)
}

// job is what a side is to do.
type job struct {
	feed  *feed
	probe *probe
}

// line is a side at work.
type line struct {
	// run sends n events made by the job's feed. It may return before they are handled.
	run func(n int) error
	// close ends it, and reports what is wrong given that so many events were sent.
	close func(total uint64) error
}

// work is what all sides of a scenario do.
type work struct {
	events int
	keys   int
	ids    int
	times  int    // how often each event is handled
	mask   uint32 // of the probes
}

// sample is one round of one side.
type sample struct {
	ns     float64 // an event
	allocs float64 // an event
}

// series is what came of a side.
type series struct {
	side
	ns     []float64
	allocs []float64
	ratio  []float64 // to the base, in time
}

// entry is a side under measurement.
type entry struct {
	side
	job   *job
	line  *line
	work  work
	total uint64
}

// compare sets the sides against the base, one after the other, each in turn with it. A side is open only while it is
// measured: some libraries have timers that go off while they are idle, which makes the readers of a channel faster.
func compare(c *config, w work, base side, others ...side) (all []series, err error) {
	if w.times == 0 {
		w.times = 1
	}
	b, err := openSide(base, w)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base.name, err)
	}
	defer func() { err = errors.Join(err, b.close()) }()
	all = []series{{side: base}}
	for _, s := range others {
		own, err := measure(c, w, b, s, &all[0])
		if err != nil {
			return nil, err
		}
		all = append(all, own)
	}
	return all, nil
}

// proofPatience is how long an event may come behind the sampled ones.
var proofPatience = 10 * time.Second

// openSide starts a side, has it prove that it does the work, and warms it up.
func openSide(s side, w work) (*entry, error) {
	s.share = max(s.share, 1)
	w.events = max(w.events/s.share/256, 1) * 256
	e := &entry{side: s, work: w, job: &job{feed: newFeed(w.keys, w.ids), probe: &probe{mask: w.mask}}}
	var err error
	labelled(e.name, func() { e.line, err = s.open(e.job) })
	if err != nil {
		return nil, err
	}
	if err := e.prove(); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// labelled runs f, and all goroutines that it starts, under a side's name in a profile.
func labelled(side string, f func()) {
	pprof.Do(context.Background(), pprof.Labels("side", side), func(context.Context) { f() })
}

// prove runs a round in which every event is recorded. It is a warm-up too.
func (e *entry) prove() error {
	r := newRecord(e.job.feed.number, e.work.events, e.work.keys, e.ordered)
	e.job.probe.record = r
	if _, err := e.round(); err != nil {
		return err
	}
	// The probe tells of the sampled events; give the others a moment.
	for deadline := time.Now().Add(proofPatience); !r.complete(e.work.times) && time.Now().Before(deadline); {
		pause(time.Millisecond)
	}
	pause(time.Millisecond) // for an event that comes once too often
	err := r.check(e.work.times)
	e.job.probe.record = nil
	return err
}

func (e *entry) round() (s sample, err error) {
	n := e.work.events
	e.job.probe.expect(n, e.work.times)
	runtime.GC()
	labelled(e.name, func() {
		before, start := mallocs(), time.Now()
		if err = e.line.run(n); err == nil {
			err = e.job.probe.wait()
		}
		took := time.Since(start)
		s = sample{ns: float64(took) / float64(n), allocs: float64(mallocs()-before) / float64(n)}
	})
	e.total += uint64(n)
	return s, err
}

func (e *entry) close() error {
	if e.line == nil {
		return nil
	}
	l := e.line
	e.line = nil
	if err := l.close(e.total); err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}

// measure runs the rounds of a side. Each is set against the base's round just before it.
func measure(c *config, w work, base *entry, other side, bases *series) (own series, err error) {
	own.side = other
	e, err := openSide(other, w)
	if err != nil {
		return own, fmt.Errorf("%s: %w", other.name, err)
	}
	defer func() { err = errors.Join(err, e.close()) }()
	for range c.turns() {
		b, err := base.round()
		if err != nil {
			return own, fmt.Errorf("%s: %w", base.name, err)
		}
		s, err := e.round()
		if err != nil {
			return own, fmt.Errorf("%s: %w", other.name, err)
		}
		bases.add(b, b)
		own.add(s, b)
	}
	return own, nil
}

func (s *series) add(own, base sample) {
	s.ns = append(s.ns, own.ns)
	s.allocs = append(s.allocs, own.allocs)
	s.ratio = append(s.ratio, own.ns/base.ns)
}

// pause waits.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}
