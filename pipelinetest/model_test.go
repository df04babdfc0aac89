package pipelinetest_test

import (
	"cmp"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

// A tape is a program: a setting, a string of operations on a pipeline, and, in its last bytes, how it is shut
// down. Every string of bytes is one: each part takes as many bytes as it needs, and bytes that are not there are
// zero. So one interpreter serves rapid, which draws programs, and the fuzzer, which mutates them.
type tape struct {
	code []byte
	at   int
}

// endBytes is how many bytes say how a program ends: so it does not depend on how long it is.
const endBytes = 4

// more reports whether there is another operation.
func (p *tape) more() bool { return p.at < len(p.code)-endBytes }

// toEnd goes to the bytes that say how the program ends.
func (p *tape) toEnd() { p.at = max(len(p.code)-endBytes, 0) }

// pick returns the next byte, below n.
func (p *tape) pick(n int) int {
	p.at++
	if p.at > len(p.code) {
		return 0
	}
	return int(p.code[p.at-1]) % n
}

func (p *tape) flip() bool { return p.pick(2) == 1 }

// one in n programs gets true; for what is rare, or spoils much.
func (p *tape) rare(n int) bool { return p.pick(n) == n-1 }

// warmth is what the pipeline has handled before, so that the engine has settled into a gait.
type warmth int

const (
	cold  warmth = iota
	brisk        // runs of some microseconds
	fast         // runs that take no time
)

// setting is what a program's pipeline is like.
type setting struct {
	order     stage.Order
	policy    deadletter.Policy
	overflow  stage.Overflow
	onDrain   stage.DrainPolicy
	workers   int
	buffer    int
	maxPerKey int
	attempts  int
	redrives  int
	noKeys    bool // events without a key
	twins     bool // a second stage handles the same topic
	emits     bool // the stage is an Expand
	batch     int  // the stage is a Batch of so many, unless 0
	once      bool // it is idempotent
	timeout   bool
	blind     bool // no observer looks on, so that the engine takes its fastest ways
	warm      warmth
	limits    deadletter.MemoryConfig
}

func (p *tape) setting() (s setting) {
	s.order = []stage.Order{stage.PerKey, stage.PerKey, stage.Serial, stage.Unordered}[p.pick(4)]
	s.policy = []deadletter.Policy{deadletter.Park, deadletter.Continue, deadletter.Park, deadletter.Block, deadletter.Continue, deadletter.Park, deadletter.Block, deadletter.HaltStage}[p.pick(8)]
	s.overflow = stage.Overflow(p.pick(4))
	s.onDrain = stage.DrainPolicy(p.pick(4))
	s.workers = []int{1, 2, 3, 16, 8, 5, 4, 7}[p.pick(8)]
	s.buffer = []int{1, 2, 4, 100, 16, 3, 8, 32}[p.pick(8)]
	flags := p.pick(256)
	s.twins, s.emits, s.once, s.timeout = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
	s.noKeys = flags&0x30 == 0x30
	s.attempts = 1 + p.pick(4)
	s.redrives = p.pick(3)
	if flags&0xc0 == 0xc0 {
		s.limits = deadletter.MemoryConfig{MaxPerSequence: 1 + p.pick(4), MaxLetters: 2 + p.pick(8)}
	}
	s.blind = p.flip()
	s.warm = max(warmth(p.pick(16))-13, cold)
	if !s.emits && p.rare(3) {
		s.batch = 1 + p.pick(5)
		s.workers = max(s.workers, s.batch)
	}
	if s.order == stage.PerKey && s.overflow != stage.DropOldest && p.rare(4) {
		s.maxPerKey = 1 + p.pick(5)
	}
	return s
}

func (s setting) String() string {
	return fmt.Sprintf("%v, %v, %v, on drain %v, %d workers, buffer %d, max per key %d, %d attempts, %d redrives, no keys %v, twins %v, emits %v, batch %d, once %v, timeout %v, blind %v, warm %d, limits %+v",
		s.order, s.policy, s.overflow, s.onDrain, s.workers, s.buffer, s.maxPerKey, s.attempts, s.redrives, s.noKeys, s.twins, s.emits, s.batch, s.once, s.timeout, s.blind, s.warm, s.limits)
}

// play runs a program in a bubble of its own and carries the verdict out of it.
func play(t *testing.T, code []byte) (verdict error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { verdict = newWorld(t, &tape{code: code}).run() })
	return verdict
}

// complaint says what is wrong, and which program it was, as a file of the fuzzer's.
func complaint(code []byte, verdict error) string {
	return fmt.Sprintf("a pipeline that is %v:\n%v\n\ngo test fuzz v1\n[]byte(%q)", (&tape{code: code}).setting(), verdict, code)
}

const modelTestPrograms = 300

// modelLengths are the lengths of programs, in bytes; an operation takes some two to twenty.
var modelLengths = []int{20, 50, 100, 200, 400, 600}

// TestModel runs random programs and checks what was recorded of them by rules that know nothing of how a
// pipeline works. RUNNEL_MODEL says how many. A program that fails is printed as a file for
// testdata/fuzz/FuzzModel, where it is kept.
func TestModel(t *testing.T) {
	programs, err := strconv.Atoi(cmp.Or(os.Getenv("RUNNEL_MODEL"), strconv.Itoa(modelTestPrograms)))
	if err != nil {
		t.Fatalf("RUNNEL_MODEL: %v", err)
	}
	const shards = 4
	for name, value := range map[string]string{
		"rapid.checks":     strconv.Itoa((programs + shards - 1) / shards),
		"rapid.nofailfile": "true", // the fuzzer's corpus keeps them
	} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	var failed [shards]string // the smallest program so far, once more at the end: a history is long
	t.Run("programs", func(t *testing.T) {
		for i := range shards {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				trail := newTrail(t, programs > modelTestPrograms)
				rapid.Check(t, func(rt *rapid.T) {
					n := rapid.SampledFrom(modelLengths).Draw(rt, "length")
					code := rapid.SliceOfN(rapid.Byte(), n, n).Draw(rt, "program")
					trail.note(code)
					if err := play(t, code); err != nil {
						what, _, _ := strings.Cut(err.Error(), "\n")
						failed[i] = fmt.Sprintf("%s\n[]byte(%q)", what, code)
						rt.Fatalf("%s", complaint(code, err))
					}
				})
			})
		}
	})
	t.Logf("%d programs in %v", programs, time.Since(began).Round(time.Millisecond))
	for i, program := range failed {
		if program != "" {
			t.Logf("shard %d: %s", i, program)
		}
	}
}

// trail remembers, in long runs, the program that runs, for the case that it ends the whole process, as a
// deadlock in a bubble does.
type trail struct{ file *os.File }

func newTrail(t *testing.T, long bool) *trail {
	t.Helper()
	if !long {
		return &trail{}
	}
	f, err := os.CreateTemp("", "runnel-model-")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "the last program is in", f.Name())
	t.Cleanup(func() {
		f.Close()
		_ = os.Remove(f.Name())
	})
	return &trail{f}
}

func (r *trail) note(code []byte) {
	if r.file != nil {
		_, _ = r.file.WriteAt([]byte(hex.EncodeToString(code)+"\n"), 0)
	}
}

// FuzzModel is TestModel for the fuzzer. Programs that once failed are in testdata/fuzz/FuzzModel, and plain
// tests run them.
func FuzzModel(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("publish, park, redrive: the bytes of a text are a program like any other"))
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 600 {
			return
		}
		if err := play(t, code); err != nil {
			t.Error(complaint(code, err))
		}
	})
}
