package middleware_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

const aParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

// traced is what a handler sees of the trace of an event with this header.
func traced(t *testing.T, h event.Header) (parent string, carried event.Header) {
	t.Helper()
	d := delivery("1", "ann")
	d.Header = h
	_ = stage.Chain(func(ctx context.Context, _ *stage.Delivery) error {
		parent, carried = middleware.TraceParent(ctx), event.Carried(ctx)
		return nil
	}, middleware.Trace())(t.Context(), d)
	return parent, carried
}

func TestTraceContinuesTheEventsTraceInANewSpan(t *testing.T) {
	seen := map[string]bool{aParent[36:52]: true}
	for range 100 {
		got, carried := traced(t, event.Header{"traceparent": aParent, "tracestate": "vendor=1"})
		if len(got) != len(aParent) || got[:36] != aParent[:36] || got[52:] != aParent[52:] || seen[got[36:52]] {
			t.Fatalf("the span is %s, want a new one of %s", got, aParent)
		}
		seen[got[36:52]] = true
		if carried["traceparent"] != got || carried["tracestate"] != "vendor=1" {
			t.Fatalf("carried on: %v", carried)
		}
	}
}

func TestTraceBeginsOneWhereThereIsNone(t *testing.T) {
	for _, parent := range []string{
		"", "x", aParent[:54], "ff" + aParent[2:], strings.ToUpper(aParent), aParent + "-more", aParent + "x",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		strings.ReplaceAll(aParent, "-", "_"), "01" + aParent[2:] + "more",
	} {
		got, carried := traced(t, event.Header{"traceparent": parent, "tracestate": "vendor=1"})
		if len(got) != 55 || got[3:35] == aParent[3:35] || !strings.HasPrefix(got, "00-") || !strings.HasSuffix(got, "-01") {
			t.Errorf("after %q the span is %s, want one of a new trace", parent, got)
		}
		if _, kept := carried["tracestate"]; kept {
			t.Errorf("after %q the state of another trace was kept", parent)
		}
		if again, _ := traced(t, event.Header{"traceparent": got}); again[3:35] != got[3:35] {
			t.Errorf("%s was not continued but became %s", got, again)
		}
	}
}

func TestTraceReadsVersionsToCome(t *testing.T) {
	got, _ := traced(t, event.Header{"traceparent": "cc" + aParent[2:] + "-what-comes"})
	if got[:36] != aParent[:36] || len(got) != 55 {
		t.Errorf("the span is %s, want one of the trace, in version 00", got)
	}
}

func TestLogNamesTheTrace(t *testing.T) {
	var out bytes.Buffer
	d := delivery("1", "ann")
	d.Header = event.Header{"traceparent": aParent}
	_ = stage.Chain(always(errBoom).handle, middleware.Trace(), middleware.Log(slog.New(slog.NewTextHandler(&out, nil))))(t.Context(), d)
	if !strings.Contains(out.String(), "trace="+aParent[3:35]) {
		t.Errorf("logged: %s", out.String())
	}
	if middleware.TraceParent(t.Context()) != "" {
		t.Error("there is a span where no Trace is at work")
	}
}

func FuzzTrace(f *testing.F) {
	f.Add(aParent)
	f.Add("")
	f.Fuzz(func(t *testing.T, parent string) {
		got, _ := traced(t, event.Header{"traceparent": parent})
		if again, _ := traced(t, event.Header{"traceparent": got}); len(got) != 55 || again[3:35] != got[3:35] {
			t.Errorf("%q became %q, which became %q", parent, got, again)
		}
	})
}
