package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/runnel-go/runnel/event"
)

// fileSource brings in the lines of the file, one event each.
type fileSource struct {
	in     *input
	tally  *tally
	settle func(error) // tally.settle, made once and not once a line
}

func newFileSource(in *input, t *tally) *fileSource {
	return &fileSource{in: in, tally: t, settle: t.settle}
}

// Receive implements event.Source.
func (s *fileSource) Receive(ctx context.Context, emit event.Emit[Line]) error {
	defer s.tally.end()
	stop := context.AfterFunc(ctx, s.in.interrupt)
	defer stop()
	for ctx.Err() == nil {
		raw, err := s.in.lines.next()
		switch {
		case errors.Is(err, io.EOF):
			s.tally.complete.Store(true)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("%s: line %d: %w", s.in.name, s.in.lines.number, err)
		case raw.text == "":
			continue // an empty line tells nothing
		}
		if err := s.emit(ctx, raw, emit); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (s *fileSource) emit(ctx context.Context, raw rawLine, emit event.Emit[Line]) error {
	in := incoming(raw)
	in.Settled = s.settle
	s.tally.begin()
	if err := emit(ctx, in); err != nil {
		s.tally.end() // it was not accepted: Settled is not called
		return err
	}
	s.tally.rows.Add(1)
	if in.Err != nil {
		s.tally.malformed.Add(1)
	}
	return nil
}

// incoming makes an event of a line. One that cannot be read is an event too: each stage makes it a dead
// letter, with the line's text. Its key is its own: whose line it was is not known, so nobody waits for it.
func incoming(raw rawLine) event.Incoming[Line] {
	l, err := parseRaw(raw)
	if err == nil {
		return event.Incoming[Line]{Payload: l}
	}
	number := strconv.Itoa(raw.number)
	return event.Incoming[Line]{
		Err: fmt.Errorf("line %s: %w", number, err),
		Raw: []byte(raw.text),
		Options: []event.PublishOption{
			event.WithID(raw.id),
			event.WithKey("line " + number),
			event.WithHeader("line", number),
		},
	}
}

func parseRaw(raw rawLine) (Line, error) {
	if raw.long {
		return Line{}, fmt.Errorf("is longer than %d bytes", maxLineBytes)
	}
	l, err := ParseLine(raw.text)
	l.Number, l.ID = raw.number, raw.id
	return l, err
}
