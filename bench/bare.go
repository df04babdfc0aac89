package main

import (
	"hash/maphash"
	"sync"
)

// bare is the limit: a buffered channel and the goroutines that read it.
func bare(readers int) side {
	s := side{name: "bare channel", lacks: "no order, retry or dead letters", ordered: readers == 1}
	s.open = func(j *job) (*line, error) {
		ch := make(chan payload, buffer)
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() { drain(ch, j.probe) })
		}
		run := func(n int) error {
			var p payload
			for range n {
				j.feed.next(&p)
				ch <- p
			}
			return nil
		}
		return &line{run: run, close: closing(&wg, ch)}, nil
	}
	return s
}

func drain(ch <-chan payload, p *probe) {
	for e := range ch {
		p.see(e.Number, e.KeyNo)
	}
}

// closing ends the readers of channels.
func closing(wg *sync.WaitGroup, channels ...chan payload) func(uint64) error {
	return func(uint64) error {
		for _, ch := range channels {
			close(ch)
		}
		wg.Wait()
		return nil
	}
}

// sharded is what many write by hand: a channel for each worker, chosen by a hash of the key.
func sharded() side {
	s := side{name: "hash of the key → 8 channels", lacks: "no retry or dead letters; a slow key stops an eighth of the keys", ordered: true}
	s.open = func(j *job) (*line, error) {
		channels := make([]chan payload, workers)
		var wg sync.WaitGroup
		for i := range channels {
			ch := make(chan payload, buffer/workers)
			channels[i] = ch
			wg.Go(func() { drain(ch, j.probe) })
		}
		seed := maphash.MakeSeed()
		run := func(n int) error {
			var p payload
			for range n {
				j.feed.next(&p)
				channels[maphash.String(seed, p.Key)%workers] <- p
			}
			return nil
		}
		return &line{run: run, close: closing(&wg, channels...)}, nil
	}
	return s
}
