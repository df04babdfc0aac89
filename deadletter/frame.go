package deadletter

import (
	"iter"
	"strings"
)

// runnel is the module path, as it stands in the names of functions.
const runnel = "github.com/runnel-go/runnel/"

// machinery is the packages between a panic and the code that is to blame.
var machinery = []string{
	"runtime.", "runtime/", "internal/runtime/", "panic", "github.com/sourcegraph/conc",
	runnel + "stage.", runnel + "stage/", runnel + "middleware.", runnel + "pipeline.",
	runnel + "deadletter.",
}

// TopFrame returns the name of the function of the user's code that panicked: the first one of the
// stack, as runtime/debug.Stack writes it, below the panic that is neither of the runtime nor of
// runnel's own machinery. It has no line number, so that it outlives the next release. A stack without
// such a frame gives "".
func TopFrame(stack string) string {
	if _, below, ok := strings.Cut(stack, "\npanic("); ok {
		stack = below
	}
	for name := range functions(stack) {
		if !isMachinery(name) {
			return name
		}
	}
	return ""
}

// functions yields the names of a stack's functions, without their arguments.
func functions(stack string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(stack) {
			line = strings.TrimRight(line, "\r\n")
			end := strings.LastIndexByte(line, '(')
			if end <= 0 || line[0] == '\t' || strings.HasPrefix(line, "created by ") {
				continue
			}
			if !yield(line[:end]) {
				return
			}
		}
	}
}

func isMachinery(name string) bool {
	for _, prefix := range machinery {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
