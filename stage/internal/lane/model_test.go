package lane

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A program is a string of operations on an engine. Every string of bytes is one: each operation takes
// as many bytes as it needs, and bytes that are not there are zero. So the same interpreter serves
// rapid, which draws programs, and the fuzzer, which mutates them.
type program struct {
	code []byte
	at   int
	gait gait
}

// An engine of a test goes as it finds best, or changes its gait over and over, unless it is always in one.
const (
	anyGait gait = 255 - iota
	changing
)

var gaits = map[string]gait{"as it finds best": anyGait, "changing": changing, "ridden alone": alone, "ridden together": together, "shared": share}

// force fixes the gait of an engine that is not started. There are three tracks then, whatever the machine has.
func force[T any](e *Engine[T], g gait) {
	e.tracks, e.wake = make([]track[T], 3), make(chan struct{}, 3)
	e.remark(attention)
	e.pace.riders = e.mostRiders()
	switch g {
	case anyGait:
	case changing:
		e.pace.fixed, e.pace.gait = true, together
	default:
		e.pace.fixed, e.pace.gait = true, g
	}
}

// shift changes the gait of an engine at work.
func shift[T any](e *Engine[T], g gait) {
	e.mu.Lock()
	if g != e.pace.gait {
		e.change(g)
	}
	e.unlock()
}

// leftUndone waits until all are blocked, and reports what somebody could do who sleeps.
func (r *rig) leftUndone() error {
	synctest.Wait()
	e := r.Engine
	e.mu.Lock()
	defer e.mu.Unlock()
	asleep := int(e.inlet.asleep.Load())
	if !e.started || e.blocked() || len(e.idle)+asleep == 0 {
		return nil
	}
	if e.hasReady() || e.Queued() > 0 && e.hasRoom() && e.riders == asleep {
		return fmt.Errorf("%d lanes are ready and %d queued, %d resident of %d and %d, but %d workers are idle and %d riders of %d sleep",
			e.ready.len(), e.Queued(), e.resident, e.cfg.Room, e.target, len(e.idle), asleep, e.riders)
	}
	return nil
}

func (p *program) more() bool { return p.at < len(p.code) }

// pick returns the next byte, below n.
func (p *program) pick(n int) int {
	p.at++
	if p.at > len(p.code) {
		return 0
	}
	return int(p.code[p.at-1]) % n
}

var modelKeys = []string{"a", "b", "c", ""}

func (p *program) key() string { return modelKeys[p.pick(len(modelKeys))] }

// steps reads up to three steps. Stop is not among them: after it there is nothing to test.
func (p *program) steps() []step {
	var all []step
	for range p.pick(4) {
		flags := p.pick(64)
		all = append(all, step{
			action: []Action{Settle, Park, Keep, Hold}[flags%4],
			takes:  []time.Duration{0, 10 * time.Millisecond, 70 * time.Microsecond}[flags/4%3],
			delay:  time.Duration(p.pick(5)) * 10 * time.Millisecond,
			goexit: flags/12 == 1,
		})
	}
	return all
}

// run runs the program in the current bubble and returns what the engine did wrong.
func (p *program) run() error {
	workers, inlet, room := 1+p.pick(3), 1+p.pick(4), p.pick(4)
	r := newRig(workers, inlet, room)
	force(r.Engine, p.gait)
	r.Start()
	most := workers // the most workers there were
	var faults []error
	for p.more() {
		switch p.pick(12) {
		case 0, 1, 2, 3:
			r.offer(r.job(p.key(), p.steps()...))
		case 4:
			synctest.Wait() // what has its worker already is before it
			r.redo(r.job(p.key(), p.steps()...))
		case 5:
			r.free(p.key())
		case 6:
			n := 1 + p.pick(4)
			most = max(most, n)
			r.Resize(n)
		case 7:
			r.pause(true)
		case 8:
			r.pause(false)
		case 9:
			time.Sleep(time.Duration(p.pick(4)) * 7 * time.Millisecond)
		case 10:
			faults = append(faults, r.leftUndone())
		case 11:
			key := p.key()
			synctest.Wait() // else one could park between the two
			r.due(key)
			r.Expedite(func(j **job) bool { return (*j).key == key })
		}
		if p.gait == changing && p.at%3 == 0 {
			shift(r.Engine, gait(p.at/3%3))
		}
		c := r.Count(nil)
		if c.Resident > room+most {
			faults = append(faults, fmt.Errorf("%d live jobs beyond the channel, want at most %d", c.Resident, room+most))
		}
		if c.Resident+c.Redrives < c.Parked+c.Held+c.Running {
			faults = append(faults, fmt.Errorf("the counts do not add up: %+v", c))
		}
	}
	if len(p.code)%4 == 1 {
		return errors.Join(append(faults, r.abandonAll())...)
	}
	return errors.Join(append(faults, r.settleAll())...)
}

// due takes the waits of a key's jobs out of the history, as Expedite does.
func (r *rig) due(key string) {
	r.locked(func() {
		for i := range r.history {
			if r.history[i].key == key {
				r.history[i].due = time.Time{}
			}
		}
	})
}

// settleAll lets everything go on until it has settled, and ends the engine.
func (r *rig) settleAll() error {
	r.pause(false)
	var faults []error
	for range 100 {
		time.Sleep(time.Second)
		faults = append(faults, r.leftUndone())
		if r.Count(nil).Held == 0 {
			break
		}
		for _, key := range modelKeys {
			r.free(key)
		}
	}
	faults = append(faults, r.checkRest())
	r.End()
	r.Wait()
	return errors.Join(faults...)
}

// abandonAll takes everything back, wherever it is, and checks that it is all there, in order.
func (r *rig) abandonAll() error {
	r.End()
	r.Wait()
	var faults []error
	back := map[*job]int{}
	last := map[string]int{}
	for _, left := range r.Abandon(7) {
		j := left.Item
		back[j]++
		if j.key == "" || j.redrive {
			continue
		}
		if j.id < last[j.key] {
			faults = append(faults, fmt.Errorf("job %d is handed back after %d of the same key", j.id, last[j.key]))
		}
		last[j.key] = j.id
	}
	var live uint64
	for _, n := range r.history {
		if n.what == settled {
			back[n.job]++
		}
	}
	for _, n := range r.history {
		if (n.what == sent || n.what == redriven) && back[n.job] != 1 {
			faults = append(faults, fmt.Errorf("job %d ended %d times, want once", n.job.id, back[n.job]))
		}
		if n.what == sent {
			live++
		}
	}
	if c := r.Count(nil); c.Live[0]+c.Live[7] != live || c.Resident+c.Lanes+c.Running+c.Parked+c.Held != 0 {
		faults = append(faults, fmt.Errorf("after the end of %d jobs the counts are %+v", live, c))
	}
	return errors.Join(append(faults, r.check())...)
}

// runProgram runs code in a bubble of its own and carries the verdict out of it.
func runProgram(t *testing.T, code []byte, g gait) (r error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { r = (&program{code: code, gait: g}).run() })
	return r
}

// TestModel runs random programs of sends, parks, holds, releases, redrives, pauses and changes of the
// number of workers, and compares what was recorded with what is promised.
func TestModel(t *testing.T) {
	for name, g := range gaits {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				n := rapid.SampledFrom([]int{10, 30, 60, 120, 250, 400}).Draw(rt, "length") // a free choice would be near 0
				code := rapid.SliceOfN(rapid.Byte(), n, n).Draw(rt, "program")
				if err := runProgram(t, code, g); err != nil {
					rt.Fatalf("%v", err)
				}
			})
		})
	}
}

func FuzzOps(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 2000 {
			return
		}
		for name, g := range gaits {
			if err := runProgram(t, code, g); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
