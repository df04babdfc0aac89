package middleware_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func logged(ctx context.Context, level slog.Level, err error) string {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
	_ = stage.Chain(always(err).handle, middleware.Log(log))(ctx, delivery("1", "ann"))
	return out.String()
}

func TestLogSaysWhatBecameOfEachAttempt(t *testing.T) {
	for _, c := range []struct {
		err  error
		want []string
	}{
		{nil, []string{"level=DEBUG", "msg=done", "stage=charge", "topic=orders", "id=1", "key=ann", "seq=7", "attempt=1"}},
		{stage.Skip("old"), []string{"level=DEBUG", "msg=skipped", "reason=old"}},
		{stage.RetryAfter(time.Second, errBoom), []string{"level=WARN", `msg="attempt failed"`, "delay=1s", "error=boom"}},
		{stage.Postpone(time.Second, errBoom), []string{"level=INFO", "msg=postponed", "delay=1s", "error=boom"}},
		{stage.Stored("x-1", errBoom), []string{"level=ERROR", `msg="dead letter"`, "letter=x-1", "error=boom"}},
		{stage.Diverted("x-1"), []string{"level=INFO", "msg=diverted", "letter=x-1"}},
		{stage.Hold(errBoom), []string{"level=ERROR", "msg=held", "error=boom"}},
		{stage.Halt(errBoom), []string{"level=ERROR", "msg=halted", "error=boom"}},
		{stage.Permanent(errBoom), []string{"level=ERROR", "msg=failed", "error=boom"}},
		{errBoom, []string{"level=ERROR", "msg=failed", "error=boom"}},
		{panicsInError{}, []string{"level=ERROR", "whose Error method panics"}},
	} {
		out := logged(context.Background(), slog.LevelDebug, c.err)
		for _, part := range c.want {
			if !strings.Contains(out, part) || strings.Count(out, "\n") != 1 {
				t.Errorf("the record lacks %s: %s", part, out)
			}
		}
	}
	if out := logged(interrupted(), slog.LevelDebug, errBoom); !strings.Contains(out, "level=INFO msg=interrupted") {
		t.Errorf("interrupted: %s", out)
	}
}

func TestLogIsSilentBelowItsLevel(t *testing.T) {
	for _, err := range []error{nil, stage.Skip("old"), stage.Postpone(time.Second, errBoom), stage.Diverted("x")} {
		if out := logged(context.Background(), slog.LevelWarn, err); out != "" {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func TestLogDoesNotAllocateWhereItsLevelIsOff(t *testing.T) {
	skip := stage.Skip("old")
	for _, err := range []error{nil, skip} {
		h := stage.Chain(always(err).handle, middleware.Log(quiet))
		d := delivery("1", "ann")
		if n := testing.AllocsPerRun(1000, func() { _ = h(context.Background(), d) }); n > 0 {
			t.Errorf("%v: %v allocations, want 0", err, n)
		}
	}
}
