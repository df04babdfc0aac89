package middleware

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// The header names of W3C Trace Context, level 1.
const (
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
)

// Trace carries the trace of an event on, as W3C Trace Context has it: the attempt is a new span of the
// trace in the event's traceparent header, and what is published with the handler's context, or
// emitted by its stage, carries that span in its own headers. So a trace goes through topics, dead letters
// and redrives with no more than headers. An event without a valid trace begins one, marked as sampled.
//
// TraceParent reads the span from the handler's context, for the header of a call to another service. Trace
// records nothing itself: that is a telemetry adapter's work. It stands outermost. It costs four
// allocations for each attempt.
func Trace() stage.Middleware {
	return stage.Middleware{
		Name:    "trace",
		Outside: []string{"log", "deadletter", "deadline", "idempotent", "retry", "timeout", "recover"},
		Promise: "what is published in a handler carries on the trace of its event",
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				h := event.Header{HeaderTraceParent: childSpan(d.Header[HeaderTraceParent])}
				if state := d.Header[HeaderTraceState]; state != "" && validParent(d.Header[HeaderTraceParent]) {
					h[HeaderTraceState] = state
				}
				return next(event.Carry(ctx, h), d)
			}
		},
	}
}

// TraceParent is the span of the attempt that ctx belongs to, as the traceparent header of a call made in
// it; empty where no Trace is at work.
func TraceParent(ctx context.Context) string { return event.Carried(ctx)[HeaderTraceParent] }

// traceID is the part of TraceParent that is the same all along a trace.
func traceID(ctx context.Context) string {
	if p := TraceParent(ctx); len(p) >= parentLength {
		return p[3:35]
	}
	return ""
}

// parentLength is how long version 00 of "version-trace-span-flags" is.
const parentLength = 2 + 1 + 32 + 1 + 16 + 1 + 2

// childSpan is a new span of the parent's trace, or of a new one where there is no valid parent.
func childSpan(parent string) string {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails since Go 1.24
	b := make([]byte, parentLength)
	if validParent(parent) {
		copy(b, parent)
		copy(b, "00-")
	} else {
		copy(b, "00-")
		hex.Encode(b[3:35], random[8:])
		b[35] = '-'
		copy(b[52:], "-01")
	}
	hex.Encode(b[36:52], random[:8])
	return string(b)
}

// validParent reports whether p may be continued. Versions to come may be longer, and begin as this one.
func validParent(p string) bool {
	if len(p) < parentLength || p[2] != '-' || p[35] != '-' || p[52] != '-' || p[:2] == "ff" {
		return false
	}
	if len(p) > parentLength && (p[:2] == "00" || p[parentLength] != '-') {
		return false
	}
	return isHex(p[:2]) && isHex(p[3:35]) && isHex(p[36:52]) && isHex(p[53:55]) &&
		strings.Trim(p[3:35], "0") != "" && strings.Trim(p[36:52], "0") != ""
}

// isHex reports whether s is hexadecimal in lower case, as the format demands.
func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
