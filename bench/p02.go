package main

import (
	"github.com/runnel-go/runnel/stage"
)

// chainKeys is how many keys P2 and P3 have.
const chainKeys = 100_000

// chainIDs is after how many events an identity comes again: long after it was forgotten.
const chainIDs = 1 << 20

func chainWork(c *config, keys int) work {
	return work{events: c.events(600_000), keys: keys, ids: chainIDs, mask: sampled}
}

func keyedChain() side {
	s := runnelSide("runnel", keyedTopic, standardChain, oneStage(keyedTopic, stage.WithOrder(stage.PerKey)))
	s.ordered = true
	return s
}

func idempotentSide() side {
	s := runnelSide("runnel with Idempotent", knownTopic, idempotentChain, oneStage(knownTopic, stage.WithOrder(stage.PerKey)))
	s.ordered = true
	return s
}

// p2 is what most stages are: the order of keys and the standard chain, and nothing fails.
func p2(c *config) (*report, error) {
	sides := []side{keyedChain(), idempotentSide()}
	if c.peers {
		sides = append(sides, sharded(), kelindarBus(1))
	}
	all, err := compare(c, chainWork(c, c.keys(chainKeys)), bare(1), sides...)
	if err != nil {
		return nil, err
	}
	return &report{
		figures: []figure{
			figureOf("", atMost(2.25), all[0], all[1]).withoutAllocs(),
			figureOf("with Idempotent", atMost(5), all[0], all[2]),
		},
		peers: peersOf(all[3:]),
		notes: []string{"The idempotency store is at its bound all the time: for each identity that comes in it forgets one. It is the stage's own, and has one shard."},
	}, nil
}

// p3 sets P2 against the nearest that Watermill does. The ratio is Watermill's time to ours.
func p3(c *config) (*report, error) {
	all, err := compare(c, chainWork(c, c.keys(chainKeys)), idempotentSide(), watermillRouter(false), watermillRouter(true))
	if err != nil {
		return nil, err
	}
	ours, r := all[0], &report{notes: []string{"Both with idempotency. Watermill: GoChannel, Router, PoisonQueue, Deduplicator, Retry, Recoverer. More is better."}}
	for i, what := range []string{"", "Publish waits for the ack, which keeps the order"} {
		theirs := all[i+1]
		f := figureOf(what, atLeast(50), theirs, ours)
		f.ratio, f.spread = median(theirs.ratio), spread(theirs.ratio)
		r.figures = append(r.figures, f.noted("Watermill allocates %s times an event; %s", short(median(theirs.allocs)), theirs.lacks))
	}
	return r, nil
}
