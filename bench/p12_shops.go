package main

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
)

const clerks = 4 // workers of a stage

// handWritten is the program without runnel: four channels and four goroutines. It remembers the lines
// that it has seen in one place, before it sends them.
func handWritten(read func(func(*sale) error) error) (sums, error) {
	var wg sync.WaitGroup
	var sum sums
	open := func(work func(<-chan sale)) chan sale {
		ch := make(chan sale, buffer)
		wg.Go(func() { work(ch) })
		return ch
	}
	channels := []chan sale{
		open(func(in <-chan sale) {
			owed := map[string]int64{}
			for s := range in {
				owed[s.account()] += s.amount()
			}
			for _, v := range owed {
				sum.accounts++
				sum.owed += v
			}
		}),
		open(func(in <-chan sale) {
			units := map[string]int{}
			for s := range in {
				units[s.SKU] += s.Quantity
			}
			for _, v := range units {
				sum.skus++
				sum.units += v
			}
		}),
		open(func(in <-chan sale) {
			revenue := map[string]int64{}
			for s := range in {
				revenue[s.Country] += s.amount()
			}
			for _, v := range revenue {
				sum.countries++
				sum.revenue += v
			}
		}),
		open(func(in <-chan sale) {
			notices := map[string]int{}
			for s := range in {
				notices[s.account()]++
			}
			for _, v := range notices {
				sum.customers++
				sum.notices += v
			}
		}),
	}
	seen := map[string]struct{}{}
	err := read(func(s *sale) error {
		if _, ok := seen[s.Text]; ok {
			return nil
		}
		seen[s.Text] = struct{}{}
		for _, ch := range channels {
			ch <- *s
		}
		return nil
	})
	for _, ch := range channels {
		close(ch)
	}
	wg.Wait()
	return sum, err
}

var sales = event.NewTopic("sales",
	event.KeyBy(func(s sale) string { return s.account() }),
	event.IDBy(func(s sale) string { return s.Text }))

// perKey is the state of a stage that keeps the order of keys. The map has a lock; what it holds is one
// key's alone, and needs none.
type perKey[T any] struct {
	mu sync.RWMutex
	m  map[string]*T
}

func (k *perKey[T]) of(key string) *T {
	k.mu.RLock()
	v := k.m[key]
	k.mu.RUnlock()
	if v != nil {
		return v
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[string]*T{}
	}
	if k.m[key] == nil {
		k.m[key] = new(T)
	}
	return k.m[key]
}

// till is the state of the four stages.
type till struct {
	owed    perKey[int64]
	units   perKey[int]
	notices perKey[int]

	mu      sync.Mutex
	revenue map[string]int64
}

func (t *till) stages() []*stage.Stage {
	size := []stage.Option{stage.Workers(clerks), stage.Buffer(buffer)}
	handle := func(name string, do func(s *sale), opts ...stage.Option) *stage.Stage {
		return stage.Handle(sales, name, func(_ context.Context, e event.Event[sale]) error {
			do(&e.Payload)
			return nil
		}, append(opts, size...)...)
	}
	return []*stage.Stage{
		handle("billing", func(s *sale) { *t.owed.of(s.account()) += s.amount() }),
		handle("inventory", func(s *sale) { *t.units.of(s.SKU) += s.Quantity },
			stage.KeyBy(func(s sale) string { return s.SKU })),
		handle("analytics", func(s *sale) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.revenue[s.Country] += s.amount()
		}, stage.WithOrder(stage.Unordered)),
		handle("notify", func(s *sale) { *t.notices.of(s.account())++ }),
	}
}

func (t *till) sums() (sum sums) {
	for _, v := range t.owed.m {
		sum.accounts++
		sum.owed += *v
	}
	for _, v := range t.units.m {
		sum.skus++
		sum.units += *v
	}
	for _, v := range t.revenue {
		sum.countries++
		sum.revenue += v
	}
	for _, v := range t.notices.m {
		sum.customers++
		sum.notices += *v
	}
	return sum
}

// runnelShop is four stages with the standard chain.
func runnelShop(read func(func(*sale) error) error) (sums, error) {
	t := &till{revenue: map[string]int64{}}
	chain := middleware.Standard(middleware.StandardConfig{Letters: deadletter.NewMemory(), Idempotency: idempotency.NewMemory()})
	r := start(chain, t.stages()...)
	publisher, ctx := pipeline.NewPublisher(r.p, sales), context.Background()
	err := read(func(s *sale) error { return publisher.Publish(ctx, *s) })
	if stopped := r.p.Shutdown(ctx); err == nil {
		err = stopped
	}
	if err == nil {
		snapshot := r.p.Snapshot()
		err = snapshot.Sum(true)
	}
	return t.sums(), err
}
