package main

import "fmt"

// scenario is one line of the table of goals.
type scenario struct {
	id    string
	title string
	run   func(*config) (*report, error)
}

// scenarios in the order of the table.
var scenarios = []scenario{
	{"P1", "publish → one unordered stage, 8 workers, no middleware ÷ a channel with 8 readers", p1},
	{"P2", "publish → one stage per key, 8 workers, 100,000 keys, DeadLetter, Retry, Recover ÷ a channel", p2},
	{"P3", "Watermill doing the nearest to P2 with Idempotent ÷ runnel", p3},
	{"P4", "handler waits 1 ms, per key, 10,000 keys, 256 workers ÷ 256 goroutines reading one channel", p4},
	{"P5", "1 % of the keys fail and are tried again every 100 ms: p99 of the other keys ÷ with none failing", p5},
	{"P6", "one key has 39 % of the events, handler 50 µs: the others' completion ÷ with no such key", p6},
	{"P7", "memory: 1,000,000 keys touched once; queued events", p7},
	{"P8", "memory: 100,000 events parked for an hour", p8},
	{"P9", "one publish → 4 stages ÷ 4 sends on channels", p9},
	{"P10", "5 Map stages in a row ÷ 5 goroutines and channels in a row", p10},
	{"P11", "2, 8 and 64 publishers against one", p11},
	{"P12", "the retail file through 4 stages ÷ a program by hand, 4 goroutines and channels", p12},
	{"P13", "dead letters to SQLite and to Postgres: put, and drain ÷ the driver's own batched statements", p13},
	{"P14", "one event through an idle pipeline, p50 ÷ a hand-over by a channel", p14},
	{"P15", "handler computes 1 to 100 µs, per key, 10,000 keys, a worker a core ÷ goroutines reading one channel", p15},
}

func (s scenario) measure(c *config) (*report, error) {
	r, err := s.run(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.id, err)
	}
	r.id, r.title = s.id, s.title
	return r, nil
}
