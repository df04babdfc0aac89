package runnel_test

import (
	"fmt"
	"go/ast"
	"os"
	"slices"
	"testing"
)

// engineDirs hold what decides when something happens. The one file that reads a time of day has to: event.At
// names one.
var engineDirs = []string{"event", "stage", "stage/internal/lane", "middleware", "idempotency", "deadletter", "pipeline"}

const timeOfDay = "event/delay.go"

// wallOnly are the calls that make a time without a monotonic part, or take that part away. A wall clock that jumps
// would move what is computed from one.
var wallOnly = map[string]bool{
	"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true,
	"Parse": true, "ParseInLocation": true, "Date": true, "Format": true, "AppendFormat": true,
}

// TestFault27_NothingInTheEngineReadsTheTimeOfDay: every delay, lease and limit is a difference of monotonic readings,
// so the wall clock may jump.
func TestFault27_NothingInTheEngineReadsTheTimeOfDay(t *testing.T) {
	for _, fault := range checkClocks(parseTree(t, os.DirFS("."))) {
		t.Error(fault)
	}
}

func TestClocksFindFaults(t *testing.T) {
	const code = "package x\nimport \"time\"\nvar wait = time.Until(time.Unix(1, 0))\nvar cut = time.Now().Round(0)\nvar fine = time.Since(time.Now())\n"
	for name, want := range map[string]int{"stage/x.go": 2, "stage/x_test.go": 0, "adapter/x/x.go": 0} {
		if got := checkClocks(parseTree(t, treeOf(name, code))); len(got) != want {
			t.Errorf("%s: %q, want %d faults", name, got, want)
		}
	}
}

func checkClocks(files []goFile) (faults []string) {
	for _, f := range files {
		if f.isTest() || !slices.Contains(engineDirs, f.dir()) || f.name == timeOfDay || !slices.Contains(f.imports(), "time") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, wall := wallCall(call); wall {
					faults = append(faults, fmt.Sprintf("%v: %s leaves no monotonic part; compare time.Now() and what is added to it", f.set.Position(call.Pos()), name))
				}
			}
			return true
		})
	}
	return faults
}

// wallCall reports whether a call is one of wallOnly. Rounding to nothing takes the monotonic part away; other rounding
// is a duration's.
func wallCall(call *ast.CallExpr) (name string, wall bool) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	name = sel.Sel.Name
	if name == "Round" && len(call.Args) == 1 {
		zero, is := call.Args[0].(*ast.BasicLit)
		return name, is && zero.Value == "0"
	}
	return name, wallOnly[name]
}
