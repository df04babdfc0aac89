package pipelinetest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// line makes an entry of a keyed stage named s. The event is named by its Seq.
func line(w pipelinetest.What, lane string, seq uint64, attempt int) pipelinetest.Entry {
	e := pipelinetest.Entry{What: w, Topic: "t", Seq: seq, Stage: "s", Lane: lane, Ordered: true, Attempt: attempt}
	if w == pipelinetest.Accepted {
		e.Stage, e.Lane, e.Ordered, e.Attempt = "", "", false, 0
	}
	return e
}

func accept(seq uint64) pipelinetest.Entry { return line(pipelinetest.Accepted, "", seq, 0) }

func start(lane string, seq uint64, attempt int) pipelinetest.Entry {
	return line(pipelinetest.Started, lane, seq, attempt)
}

func park(lane string, seq uint64, attempt int) pipelinetest.Entry {
	return line(pipelinetest.Parked, lane, seq, attempt)
}

func hold(lane string, seq uint64) pipelinetest.Entry {
	return line(pipelinetest.Held, lane, seq, 1)
}

func settle(lane string, seq uint64, attempt int) pipelinetest.Entry {
	return line(pipelinetest.Settled, lane, seq, attempt)
}

func postpone(e pipelinetest.Entry) pipelinetest.Entry { e.Postponed = true; return e }

func batched(e pipelinetest.Entry) pipelinetest.Entry { e.Batched = true; return e }

func loose(e pipelinetest.Entry) pipelinetest.Entry { e.Ordered, e.Lane = false, ""; return e }

func redrive(e pipelinetest.Entry) pipelinetest.Entry { e.Redrive = "letter"; return e }

func at(stage string, e pipelinetest.Entry) pipelinetest.Entry { e.Stage = stage; return e }

// calls, returns, store, behind and resolve are what a recorder's middleware and its letters add.
func calls(lane string, seq uint64, attempt int) pipelinetest.Entry {
	return line(pipelinetest.Called, lane, seq, attempt)
}

func returns(lane string, seq uint64, err error) pipelinetest.Entry {
	e := line(pipelinetest.Returned, lane, seq, 1)
	e.Err = err
	return e
}

func store(lane string, seq uint64) pipelinetest.Entry {
	return letter(pipelinetest.Stored, lane, seq)
}

func behind(lane string, seq uint64) pipelinetest.Entry {
	return letter(pipelinetest.Diverted, lane, seq)
}

func resolve(lane string, seq uint64) pipelinetest.Entry {
	return letter(pipelinetest.Resolved, lane, seq)
}

func letter(w pipelinetest.What, lane string, seq uint64) pipelinetest.Entry {
	e := line(w, lane, seq, 1)
	e.Letter, e.Holds = letterID(seq), true
	return e
}

func letterID(seq uint64) string { return fmt.Sprintf("letter %d", seq) }

func redriveOf(e pipelinetest.Entry) pipelinetest.Entry { e.Redrive = letterID(e.Seq); return e }

func cut(e pipelinetest.Entry) pipelinetest.Entry { e.Interrupted = true; return e }

func gap(e pipelinetest.Entry) pipelinetest.Entry { e.Holds = false; return e }

func final(e pipelinetest.Entry) pipelinetest.Entry { e.Final = true; return e }

func outcome(e pipelinetest.Entry, o stage.Outcome) pipelinetest.Entry { e.Outcome = o; return e }

// after is e at a time, with a delay.
func after(at time.Duration, e pipelinetest.Entry, delay time.Duration) pipelinetest.Entry {
	e.At, e.Delay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(at), delay
	return e
}

type history = pipelinetest.History

func TestCheckPassesGoodHistories(t *testing.T) {
	for name, h := range map[string]history{
		"nothing":            {},
		"one after another":  {start("a", 1, 1), settle("a", 1, 1), start("a", 2, 1), settle("a", 2, 1)},
		"lanes side by side": {start("a", 2, 1), start("b", 1, 1), settle("b", 1, 1), settle("a", 2, 1)},
		"stages side by side": {
			start("a", 1, 1), at("other", start("a", 1, 1)), settle("a", 1, 1), at("other", settle("a", 1, 1)),
		},
		"a retry": {
			start("a", 1, 1), park("a", 1, 1), start("b", 2, 1), start("a", 1, 2), settle("b", 2, 1), settle("a", 1, 2), start("a", 3, 1),
		},
		"a wait that is no attempt": {
			start("a", 1, 1), postpone(park("a", 1, 1)), start("a", 1, 1), park("a", 1, 1), start("a", 1, 2), settle("a", 1, 2),
		},
		"afresh after a release":      {start("a", 1, 1), park("a", 1, 1), start("a", 1, 2), hold("a", 1), start("a", 1, 1), settle("a", 1, 1)},
		"dropped before any attempt":  {start("a", 1, 1), settle("a", 2, 1), settle("a", 1, 1), start("a", 3, 1)},
		"no order among the loose":    {loose(start("", 2, 1)), loose(start("", 1, 1)), loose(settle("", 1, 1)), loose(settle("", 2, 1))},
		"a letter comes later":        {start("a", 1, 1), settle("a", 1, 1), start("a", 2, 1), settle("a", 2, 1), redrive(start("a", 1, 1)), redrive(settle("a", 1, 1))},
		"a letter before one parked":  {start("a", 2, 1), park("a", 2, 1), redrive(start("a", 1, 1)), redrive(settle("a", 1, 1)), start("a", 2, 2), settle("a", 2, 2)},
		"a letter that comes twice":   {redrive(start("a", 1, 1)), redrive(settle("a", 1, 1)), redrive(start("a", 1, 1)), redrive(settle("a", 1, 1))},
		"accepted after it has begun": {start("a", 1, 1), accept(1), settle("a", 1, 1)},
		"a letter and its follower": {
			start("a", 1, 1), calls("a", 1, 1), returns("a", 1, errBoom), store("a", 1), outcome(settle("a", 1, 1), stage.OutcomeDeadLettered),
			start("a", 2, 1), behind("a", 2), outcome(settle("a", 2, 1), stage.OutcomeDiverted),
			redriveOf(start("a", 1, 1)), redriveOf(calls("a", 1, 1)), redriveOf(returns("a", 1, nil)), resolve("a", 1), redriveOf(settle("a", 1, 1)),
			redriveOf(start("a", 2, 1)), redriveOf(calls("a", 2, 1)), redriveOf(returns("a", 2, nil)), resolve("a", 2), redriveOf(settle("a", 2, 1)),
			start("a", 3, 1), calls("a", 3, 1), returns("a", 3, nil), settle("a", 3, 1),
		},
		"a gap":                 {gap(store("a", 1)), calls("a", 2, 1)},
		"no lane, no followers": {loose(store("", 1)), loose(calls("", 2, 1))},
		"a run in a batch": {
			batched(start("a", 1, 1)), batched(start("a", 2, 1)), batched(settle("a", 1, 1)), batched(settle("a", 2, 1)),
		},
		"a run that goes back": {
			batched(start("a", 1, 1)), batched(start("a", 2, 1)), batched(park("a", 1, 1)), batched(postpone(park("a", 2, 1))),
			batched(start("a", 1, 2)), batched(settle("a", 1, 2)), batched(start("a", 2, 1)), batched(settle("a", 2, 1)),
		},
		"a call in a batch that comes back untried": {
			store("a", 1), batched(calls("a", 2, 1)), batched(returns("a", 2, stage.Postpone(0, errBoom))), behind("a", 2),
		},
		"what an operator opens": {store("a", 1), line(pipelinetest.Discarded, "a", 1, 1), calls("a", 2, 1)},
		"tried once when it drains": {
			start("a", 1, 1), after(0, park("a", 1, 1), time.Minute), final(after(time.Second, start("a", 1, 2), 0)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := h.Check(); err != nil {
				t.Errorf("Check = %v, want nil, of\n%v", err, h)
			}
		})
	}
}

// TestCheckFindsFaults plants one fault at a time: a checker that finds nothing proves nothing.
func TestCheckFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		h    history
		want string
	}{
		"two of a lane at once": {
			history{start("a", 1, 1), start("a", 2, 1)}, "it overlaps: started t/1",
		},
		"a retry beside the next": {
			history{start("a", 1, 1), park("a", 1, 1), start("a", 2, 1), start("a", 1, 2)}, "it overlaps: started t/2",
		},
		"two attempts at one event at once": {
			history{loose(start("", 1, 1)), loose(start("", 1, 1))}, "another attempt at it is executing",
		},
		"a letter beside a live event": {
			history{start("a", 2, 1), redrive(start("a", 1, 1))}, "it overlaps: started t/2",
		},
		"a live event beside a letter": {
			history{redrive(start("a", 1, 1)), start("a", 2, 1)}, "it overlaps: started t/1",
		},
		"the next while one is parked": {
			history{start("a", 1, 1), park("a", 1, 1), start("a", 2, 1)}, "it overtakes one that has not settled: started t/1",
		},
		"the next while one is held": {
			history{start("a", 1, 1), hold("a", 1), start("a", 2, 1)}, "it overtakes one that has not settled: started t/1",
		},
		"the wrong order": {
			history{start("a", 2, 1), settle("a", 2, 1), start("a", 1, 1)}, "its place was before t/2",
		},
		"the wrong order, far apart": {
			history{start("a", 1, 1), settle("a", 1, 1), start("a", 9, 1), settle("a", 9, 1), start("a", 4, 1)}, "its place was before t/9",
		},
		"a batch overtakes what failed in it": {
			history{batched(start("a", 1, 1)), batched(start("a", 2, 1)), batched(park("a", 1, 1)), batched(settle("a", 2, 1))},
			"it overtakes one that has failed and not settled: started t/1",
		},
		"what a batch put back comes after what is behind it": {
			history{batched(start("a", 1, 1)), batched(postpone(park("a", 1, 1))), batched(start("a", 2, 1)), batched(start("a", 1, 1))},
			"it overtakes one that has not settled: started t/2",
		},
		"a letter beside a batch": {
			history{batched(start("a", 2, 1)), batched(redrive(start("a", 1, 1)))}, "it overlaps: started t/2",
		},
		"handled in the wrong order in a batch": {
			history{
				batched(calls("a", 1, 1)), batched(calls("a", 2, 1)), batched(returns("a", 2, nil)), batched(returns("a", 1, nil)),
			},
			"its place was before",
		},
		"handled past a letter of its key in a batch": {
			history{store("a", 1), batched(calls("a", 2, 1)), batched(returns("a", 2, nil))}, "its lane is held",
		},
		"settled twice": {
			history{start("a", 1, 1), settle("a", 1, 1), settle("a", 1, 1)}, "it had settled before",
		},
		"begun again after it settled": {
			history{loose(start("", 1, 1)), loose(settle("", 1, 1)), loose(start("", 1, 1))}, "it had settled before",
		},
		"an attempt left out": {
			history{start("a", 1, 1), park("a", 1, 1), start("a", 1, 3)}, "want attempt 2",
		},
		"an attempt counted that was none": {
			history{start("a", 1, 1), postpone(park("a", 1, 1)), start("a", 1, 2)}, "want attempt 1",
		},
		"a first attempt that is not the first": {history{start("a", 1, 2)}, "want attempt 1"},
		"attempts that go on after a release": {
			history{start("a", 1, 1), hold("a", 1), start("a", 1, 2)}, "want attempt 1",
		},
		"parked without an attempt": {history{park("a", 1, 1)}, "no attempt at it is executing"},
		"before it is due": {
			history{start("a", 1, 1), after(0, park("a", 1, 1), time.Minute), after(time.Second, start("a", 1, 2), 0)}, "not due for another 59s",
		},
		"handlers of a lane at once": {
			history{calls("a", 1, 1), calls("a", 2, 1)}, "it overlaps: called t/1",
		},
		"handlers in the wrong order": {
			history{calls("a", 2, 1), returns("a", 2, nil), calls("a", 1, 1)}, "its place was before called t/2",
		},
		"handlers of an event at once":   {history{loose(calls("", 1, 1)), loose(calls("", 1, 1))}, "another call for it is executing"},
		"an interruption that counts":    {history{start("a", 1, 1), cut(returns("a", 1, errBoom)), park("a", 1, 1)}, "which is no failure"},
		"an interruption that is stored": {history{start("a", 1, 1), cut(returns("a", 1, errBoom)), store("a", 1)}, "which is no failure"},
		"dead-lettered and not stored":   {history{named("x", store("b", 9)), outcome(settle("a", 1, 1), stage.OutcomeDeadLettered)}, "no letter of it was stored"},
		"run past a letter of its key":   {history{store("a", 1), calls("a", 2, 1)}, "its lane is held"},
		"diverted behind nothing":        {history{behind("a", 2)}, "nothing holds its lane"},
		"diverted behind what is gone":   {history{store("a", 1), resolve("a", 1), behind("a", 2)}, "nothing holds its lane"},
		"redriven out of turn":           {history{store("a", 1), behind("a", 2), redriveOf(calls("a", 2, 1))}, "a letter stands before it"},
		"resolved after a failure":       {history{store("a", 1), redriveOf(start("a", 1, 1)), redriveOf(returns("a", 1, errBoom)), resolve("a", 1)}, "its handler had failed"},
		"resolved what was resolved":     {history{store("a", 1), resolve("a", 1), resolve("a", 1)}, "the letter was not there"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.h.Check()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check = %v, want %q, of\n%v", err, c.want, c.h)
			}
		})
	}
}

func TestCheckRest(t *testing.T) {
	whole := history{accept(1), start("a", 1, 1), settle("a", 1, 1)}
	handedBack := stage.Unfinished{Stage: "s", Meta: event.Meta{Topic: "t", Seq: 2}}
	for name, c := range map[string]struct {
		h    history
		left []stage.Unfinished
		want string
	}{
		"all settled": {h: whole},
		"one handed back": {
			h: append(history{accept(2)}, whole...), left: []stage.Unfinished{handedBack},
		},
		"letters of another run": {h: append(history{redrive(start("a", 1, 1)), redrive(settle("a", 1, 1))}, whole...)},
		"one lost":               {h: append(history{accept(2)}, whole...), want: "t/2 ended 0 times at s"},
		"one lost by one stage": {
			h:    append(history{at("other", start("a", 1, 1))}, whole...),
			want: "t/1 ended 0 times at other",
		},
		"one settled and handed back": {
			h: append(history{accept(2), settle("a", 2, 1)}, whole...), left: []stage.Unfinished{handedBack},
			want: "t/2 ended 2 times at s",
		},
		"one out of nowhere":   {h: append(history{settle("a", 2, 1)}, whole...), want: "t/2 ended at s, but was not accepted"},
		"what Check finds too": {h: append(whole, settle("a", 1, 1)), want: "it had settled before"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.h.CheckRest(c.left...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("CheckRest = %v, want %q", err, c.want)
			}
		})
	}
}

func TestEntriesSayWhatHappened(t *testing.T) {
	e := park("ann", 7, 2)
	e.ID, e.Delay, e.Err = "A7", 1000, errors.New("boom")
	if got, want := e.String(), `parked t/7 A7 at s in lane "ann", attempt 2, for 1µs: boom`; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	e = redrive(loose(settle("", 7, 1)))
	e.ID, e.Outcome = "A7", stage.OutcomeDropped
	if got, want := e.String(), `settled t/7 A7 at s, attempt 1, redrive of letter letter, dropped`; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if got, want := accept(7).String(), "accepted t/7 "; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}
