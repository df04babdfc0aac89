package middleware

import (
	"context"
	"log/slog"

	"github.com/runnel-go/runnel/stage"
)

// Log writes a record for every attempt: what ended well at Debug, what was interrupted, postponed or
// diverted at Info, a failed attempt that will be repeated at Warn, and a failure that ends here, in a
// dead letter or not, at Error. Records carry stage, topic, id, key, seq, attempt and, where there is one,
// the error and the trace. It stands outermost, inside of Trace, so that it sees what became of the attempt. A nil logger is slog.Default().
//
// Where the level is off it costs a comparison and does not allocate.
func Log(logger *slog.Logger) stage.Middleware {
	return stage.Middleware{
		Name:    "log",
		Outside: []string{"deadletter", "deadline", "idempotent", "retry", "timeout", "recover"},
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				err := next(ctx, d)
				record(ctx, loggerOr(logger), d, err)
				return err
			}
		},
	}
}

func record(ctx context.Context, l *slog.Logger, d *stage.Delivery, err error) {
	if err == nil && !l.Enabled(ctx, slog.LevelDebug) {
		return
	}
	v := stage.VerdictOf(err)
	level, text := describe(v)
	if err != nil && stage.Interrupted(ctx) && v.Kind == stage.KindFailed {
		level, text = slog.LevelInfo, "interrupted"
	}
	if !l.Enabled(ctx, level) {
		return
	}
	all := attrs(d, v.Cause)
	if id := traceID(ctx); id != "" {
		all = append(all, slog.String("trace", id))
	}
	switch v.Kind {
	case stage.KindRetry, stage.KindPostpone:
		all = append(all, slog.Duration("delay", v.Delay))
	case stage.KindSkip:
		all = append(all, slog.String("reason", v.Reason))
	case stage.KindStored, stage.KindDiverted:
		all = append(all, slog.String("letter", v.Letter))
	}
	l.LogAttrs(ctx, level, text, all...)
}

func describe(v stage.Verdict) (slog.Level, string) {
	switch v.Kind {
	case stage.KindDone:
		return slog.LevelDebug, "done"
	case stage.KindSkip:
		return slog.LevelDebug, "skipped"
	case stage.KindRetry:
		return slog.LevelWarn, "attempt failed"
	case stage.KindPostpone:
		return slog.LevelInfo, "postponed"
	case stage.KindStored:
		return slog.LevelError, "dead letter"
	case stage.KindDiverted:
		return slog.LevelInfo, "diverted"
	case stage.KindHold:
		return slog.LevelError, "held"
	case stage.KindHalt:
		return slog.LevelError, "halted"
	default:
		return slog.LevelError, "failed"
	}
}

// attrs names a delivery, and an error by a text that is safe and bounded.
func attrs(d *stage.Delivery, err error) []slog.Attr {
	all := []slog.Attr{
		slog.String("stage", d.Stage), slog.String("topic", d.Topic), slog.String("id", d.ID()),
		slog.String("key", keyOf(d)), slog.Uint64("seq", d.Seq), slog.Int("attempt", d.Attempt),
	}
	if d.Redrive != nil {
		all = append(all, slog.Int("redrive", d.Redrive.Count))
	}
	if err != nil {
		all = append(all, slog.String("error", stage.ErrorText(err)))
	}
	return all
}

func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.Default()
	}
	return l
}

// LoggerOption is an option of every middleware that has something to report.
type LoggerOption interface {
	IdempotentOption
	DeadLetterOption
}

// WithLogger says where a middleware reports what it could not do and settled all the same: once an
// event, at Warn. Default slog.Default().
func WithLogger(l *slog.Logger) LoggerOption { return withLogger{l} }

type withLogger struct{ logger *slog.Logger }

func (w withLogger) applyIdempotent(i *idempotent) error {
	i.logger = w.logger
	return w.check()
}

func (w withLogger) applyDeadLetter(p *deadLetter) error {
	p.logger = w.logger
	return w.check()
}

func (w withLogger) check() error {
	return check(w.logger != nil, "WithLogger(nil); leave it out for slog.Default()")
}
