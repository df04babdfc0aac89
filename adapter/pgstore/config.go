package pgstore

import (
	"log/slog"
	"time"
)

// Config bounds a Store. The zero value is fit for production: a field that is zero has its default, a
// negative one is no limit.
type Config struct {
	// Schema is the schema of the store's tables, made when it is not there. Default "runnel".
	Schema string
	// Existing has Open return ErrMissing for a schema that is not there, instead of making it.
	Existing bool
	// MaxLetters bounds all letters, discarded ones included. Default 10,000,000. Beyond it Put
	// returns deadletter.ErrFull.
	MaxLetters int
	// MaxSequences bounds the sequences that have an order; each that is held takes some 100 bytes of
	// this process's memory. Default 1,000,000. Beyond it Put returns deadletter.ErrFull for the
	// first letter of another one.
	MaxSequences int
	// MaxPerSequence bounds the letters of one sequence, without the discarded ones, so that one key
	// cannot fill the store. Default 100,000. Beyond it Put returns deadletter.ErrSequenceFull.
	MaxPerSequence int
	// MaxLetterBytes bounds the texts and bytes of one letter. Default 4 MiB. A larger one is refused
	// with deadletter.ErrTooLarge.
	MaxLetterBytes int64
	// Retention is how long a discarded letter can be restored, from when it was discarded. Open and
	// Sweep remove those that are older, for good, and log it. Letters that hold their sequence are
	// never removed by age. Default 30 days.
	Retention time.Duration
	// Watch is how often the store looks whether another process made a sequence held, so that MayHold
	// knows it. Default 100 ms; negative: with each write only.
	Watch time.Duration
	// Logger is told of what retention removes. Default slog.Default.
	Logger *slog.Logger
}

func (c Config) filled() Config {
	fill(&c.MaxLetters, 10_000_000)
	fill(&c.MaxSequences, 1_000_000)
	fill(&c.MaxPerSequence, 100_000)
	fill(&c.MaxLetterBytes, 4<<20)
	fill(&c.Retention, 30*24*time.Hour)
	fill(&c.Watch, 100*time.Millisecond)
	if c.Schema == "" {
		c.Schema = "runnel"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func fill[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// over reports whether n is more than limit allows.
func over[T int | int64](n, limit T) bool { return limit > 0 && n > limit }
