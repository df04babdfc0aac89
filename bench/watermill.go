package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// newGoChannel makes a GoChannel. One that waits for each message's acknowledgement keeps the order, is
// bounded, and handles one message at a time. One that does not starts goroutines for each message without
// bound, and they overtake each other.
func newGoChannel(waits bool) *gochannel.GoChannel {
	return gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: buffer, BlockPublishUntilSubscriberAck: waits}, watermill.NopLogger{})
}

const (
	watermillTopic  = "events"
	watermillPoison = "poison"
)

// messageOf writes the payload as 100 bytes.
func messageOf(p *payload) *message.Message {
	b := make([]byte, 100)
	binary.LittleEndian.PutUint32(b, p.Number)
	binary.LittleEndian.PutUint32(b[4:], p.KeyNo)
	copy(b[8:], p.Key)
	copy(b[40:], p.Body[:])
	return message.NewMessage(p.ID, b)
}

func numbersOf(m *message.Message) (number, key uint32) {
	return binary.LittleEndian.Uint32(m.Payload), binary.LittleEndian.Uint32(m.Payload[4:])
}

// publishingMessages sends events one after the other.
func publishingMessages(f *feed, pub message.Publisher) func(int) error {
	return func(n int) error {
		var p payload
		for range n {
			f.next(&p)
			if err := pub.Publish(watermillTopic, messageOf(&p)); err != nil {
				return err
			}
		}
		return nil
	}
}

// watermillPlain is a GoChannel without a router.
func watermillPlain(subscribers int) side {
	return side{name: "Watermill GoChannel, no router", lacks: "one event at a time; no retry but at once, no dead letters",
		share: 64, ordered: subscribers == 1, open: func(j *job) (*line, error) {
			g := newGoChannel(true)
			for range subscribers {
				messages, err := g.Subscribe(context.Background(), watermillTopic)
				if err != nil {
					return nil, err
				}
				go func() {
					for m := range messages {
						j.probe.see(numbersOf(m))
						m.Ack()
					}
				}()
			}
			return &line{run: publishingMessages(j.feed, g), close: func(uint64) error { return g.Close() }}, nil
		}}
}

// watermillRouter is the nearest to the standard chain: PoisonQueue, Deduplicator, Retry, Recoverer.
func watermillRouter(waits bool) side {
	s := side{name: "Watermill", lacks: "no order, no bound; a failed event is its own duplicate", share: 64}
	if waits {
		s.name, s.lacks = "Watermill, publish waits for the ack", "one event at a time, a retry stops all; a failed event is its own duplicate"
		s.ordered = true
	}
	s.open = func(j *job) (*line, error) {
		g := newGoChannel(waits)
		chain, err := watermillChain(g)
		if err != nil {
			return nil, err
		}
		r, err := startRouter(g, chain, func(m *message.Message) error {
			j.probe.see(numbersOf(m))
			return nil
		})
		if err != nil {
			return nil, err
		}
		return &line{run: publishingMessages(j.feed, g), close: func(uint64) error { return r.Close() }}, nil
	}
	return s
}

func watermillChain(pub message.Publisher) ([]message.HandlerMiddleware, error) {
	poison, err := middleware.PoisonQueue(pub, watermillPoison)
	if err != nil {
		return nil, err
	}
	seen, err := middleware.NewMapExpiringKeyRepository(time.Second)
	if err != nil {
		return nil, err
	}
	dedup := middleware.Deduplicator{
		KeyFactory: func(m *message.Message) (string, error) { return m.UUID, nil },
		Repository: seen, Timeout: time.Minute,
	}
	retry := middleware.Retry{MaxRetries: 4, InitialInterval: 100 * time.Millisecond, MaxInterval: time.Minute, Multiplier: 2, RandomizationFactor: 0.2}
	return []message.HandlerMiddleware{poison, dedup.Middleware, retry.Middleware, middleware.Recoverer}, nil
}

// startRouter starts a router of one handler. Its publisher and subscriber is g.
func startRouter(g *gochannel.GoChannel, chain []message.HandlerMiddleware, handle message.NoPublishHandlerFunc) (*message.Router, error) {
	r, err := message.NewRouter(message.RouterConfig{CloseTimeout: 5 * time.Second}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	r.AddMiddleware(chain...)
	r.AddConsumerHandler("handle", watermillTopic, g, handle)
	failed := make(chan error, 1)
	go func() { failed <- r.Run(context.Background()) }()
	select {
	case <-r.Running():
		return r, nil
	case err := <-failed:
		return nil, errors.Join(fmt.Errorf("the router did not start: %w", err), g.Close())
	}
}
