package main

import "sync"

// perKey holds one T for each key. The map is shared by all keys and has a lock; what it holds is one
// key's, and a stage that keeps the order of keys never runs two events of a key at once: a T needs no
// lock of its own (GUARANTEES O3). The tests run this under the race detector.
type perKey[T any] struct {
	mu sync.RWMutex
	m  map[string]*T
}

// of returns the key's T, which is new at the first call.
func (p *perKey[T]) of(key string) *T {
	p.mu.RLock()
	v := p.m[key]
	p.mu.RUnlock()
	if v == nil {
		v = p.add(key)
	}
	return v
}

func (p *perKey[T]) add(key string) *T {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.m[key]; v != nil {
		return v
	}
	if p.m == nil {
		p.m = map[string]*T{}
	}
	v := new(T)
	p.m[key] = v
	return v
}

// each calls f with every T. It is for the time when no event runs.
func (p *perKey[T]) each(f func(*T)) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, v := range p.m {
		f(v)
	}
}
