package pipeline

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// stalled are the stages that stand still.
type stalled struct {
	mu sync.Mutex
	of []string
}

func (s *stalled) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.of)
}

// set notes whether a stage stands still and reports whether that is news.
func (s *stalled) set(name string, is bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.of, name)
	switch {
	case is && i < 0:
		s.of = append(s.of, name)
	case !is && i >= 0:
		s.of = slices.Delete(s.of, i, i+1)
	default:
		return false
	}
	return true
}

// watch looks after stages that stand still, if it is to, until the function it returns has returned. Go's
// own detection of deadlocks does not see them: it is off as soon as there is a timer or a socket.
func (p *Pipeline) watch(a *assembly) (stop func()) {
	if p.cfg.StallAfter <= 0 {
		return func() {}
	}
	end := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		tick := time.NewTicker(max(p.cfg.StallAfter/2, time.Millisecond))
		defer tick.Stop()
		seen := make([]motion, len(a.runtimes))
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			for i, r := range a.runtimes {
				n := r.Snapshot()
				p.look(&n, &seen[i])
			}
		}
	})
	return func() {
		close(end)
		watcher.Wait()
		for _, name := range p.stalled.names() {
			p.stalled.set(name, false)
		}
	}
}

// motion is when a stage was last seen to move.
type motion struct {
	ended uint64 // attempts
	at    time.Time
}

func (p *Pipeline) look(n *stage.Snapshot, m *motion) {
	ended := n.Attempts - min(n.Attempts, uint64(n.Running))
	if m.at.IsZero() || ended != m.ended || n.Running < n.Workers || n.Running == 0 {
		*m = motion{ended, time.Now()}
		if p.stalled.set(n.Name, false) {
			p.cfg.Logger.Info("runnel: the stage goes on", "stage", n.Name)
		}
		return
	}
	if since := time.Since(m.at); since >= p.cfg.StallAfter && p.stalled.set(n.Name, true) {
		p.cfg.Logger.Error("runnel: a stage stands still: all its workers are busy and no attempt ends",
			"stage", n.Name, "workers", n.Workers, "queued", n.Queued, "for", since, "stacks", stacks())
	}
}

// maxStacks bounds the stacks that are logged.
const maxStacks = 64 << 10

func stacks() string {
	buf := make([]byte, maxStacks)
	return string(buf[:runtime.Stack(buf, true)])
}
