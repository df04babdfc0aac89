package pipelinetest_test

import (
	"strings"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

func failedAt(e pipelinetest.Entry, o stage.Outcome, err error) pipelinetest.Entry {
	e.Outcome, e.Err = o, err
	return e
}

func named(id string, e pipelinetest.Entry) pipelinetest.Entry { e.ID = id; return e }

// TestCheckStage plants faults against each rule, and what only looks like one.
func TestCheckStage(t *testing.T) {
	three, inOrder, once := pipelinetest.Rules{Attempts: 3}, pipelinetest.Rules{InOrder: true}, pipelinetest.Rules{Once: true}
	for name, c := range map[string]struct {
		rules pipelinetest.Rules
		h     history
		want  string
	}{
		"as many as it gets":  {three, history{failedAt(settle("a", 1, 3), stage.OutcomeDeadLettered, errBoom)}, ""},
		"one too few":         {three, history{failedAt(settle("a", 1, 2), stage.OutcomeFailed, errBoom)}, "want 3 attempts"},
		"one too many":        {three, history{failedAt(settle("a", 1, 4), stage.OutcomeDone, nil)}, "want at most 3"},
		"permanent":           {three, history{failedAt(settle("a", 1, 1), stage.OutcomeDeadLettered, stage.Permanent(errBoom))}, ""},
		"while it drains":     {three, history{final(failedAt(settle("a", 1, 1), stage.OutcomeDeadLettered, errBoom))}, ""},
		"elsewhere":           {three, history{at("other", settle("a", 1, 9))}, ""},
		"in order":            {inOrder, history{settle("a", 1, 1), settle("b", 3, 1), settle("a", 2, 1)}, ""},
		"a letter fills gap":  {inOrder, history{settle("a", 2, 1), redriveOf(settle("a", 1, 1))}, "it is done after t/2"},
		"a gap of the loose":  {inOrder, history{loose(settle("", 2, 1)), loose(settle("", 1, 1))}, ""},
		"a gap that failed":   {inOrder, history{settle("a", 2, 1), outcome(settle("a", 1, 1), stage.OutcomeDeadLettered)}, ""},
		"once, and duplicate": {once, history{named("x", returns("a", 1, nil)), named("x", settle("a", 1, 1)), named("x", outcome(settle("a", 2, 1), stage.OutcomeDuplicate))}, ""},
		"twice": {once, history{
			named("x", returns("a", 1, nil)), named("x", settle("a", 1, 1)), named("x", returns("a", 2, nil)), named("x", settle("a", 2, 1)),
		}, "its identity was done before"},
		"duplicate of nothing": {once, history{named("x", outcome(settle("a", 2, 1), stage.OutcomeDuplicate))}, "no event of its identity has succeeded"},
		"duplicate of a failure": {once, history{
			named("x", returns("a", 1, errBoom)), named("x", outcome(settle("a", 2, 1), stage.OutcomeDuplicate)),
		}, "no event of its identity has succeeded"},
		"duplicate of a letter": {once, history{named("x", store("a", 1)), named("x", outcome(settle("a", 2, 1), stage.OutcomeDuplicate))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.h.CheckStage("s", c.rules)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("CheckStage = %v, want %q", err, c.want)
			}
		})
	}
}

func TestCheckUnfinished(t *testing.T) {
	left := func(key string, seq uint64, letter string) stage.Unfinished {
		return stage.Unfinished{Stage: "s", Meta: event.Meta{Topic: "t", Key: key, Seq: seq}, Letter: letter}
	}
	good := []stage.Unfinished{left("a", 5, "redriven"), left("a", 1, ""), left("b", 9, ""), left("a", 2, ""), left("", 1, "")}
	if err := pipelinetest.CheckUnfinished(good); err != nil {
		t.Errorf("CheckUnfinished = %v, want nil", err)
	}
	if err := pipelinetest.CheckUnfinished(append(good, left("b", 3, ""))); err == nil || !strings.Contains(err.Error(), "handed back after 9") {
		t.Errorf("CheckUnfinished = %v, want that 3 is handed back after 9", err)
	}
}
