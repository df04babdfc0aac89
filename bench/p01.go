package main

import "github.com/runnel-go/runnel/stage"

// p1 is the least that a stage does: no order, no middleware.
func p1(c *config) (*report, error) {
	w := work{events: c.events(1_000_000), keys: 1000, ids: 1 << 10, mask: sampled}
	ours := runnelSide("runnel", plainTopic, nil, oneStage(plainTopic, stage.WithOrder(stage.Unordered)))
	sides := []side{ours}
	if c.peers {
		sides = append(sides, kelindarBus(1), concPool(), pondPool(), concStream(), goStreams(1, workers),
			eventBus(1), watermillPlain(1))
	}
	all, err := compare(c, w, bare(workers), sides...)
	if err != nil {
		return nil, err
	}
	return &report{
		figures: []figure{figureOf("", atMost(1.75), all[0], all[1]).withoutAllocs()},
		peers:   peersOf(all[2:]),
	}, nil
}
