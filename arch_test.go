package runnel_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/runnel-go/runnel"

// floors says, for each package of the root module, which packages of ours it may import. A package
// that is not listed belongs to the nearest one above it in the tree that is, and may import what lies
// below that one too (stage/internal/lane is part of stage). A package on no floor is a fault: find it
// one.
var floors = map[string][]string{
	".": {}, // documentation and tests of the whole

	"event": {},

	"stage":       {"event"},
	"deadletter":  {"event"},
	"idempotency": {"event"},

	"middleware": {"event", "stage", "deadletter", "idempotency"},
	"pipeline":   {"event", "stage", "deadletter"},

	"pipelinetest": {"event", "stage", "deadletter", "idempotency", "middleware", "pipeline"},
}

// stdOnly are the packages that import nothing but the standard library and, below them, ours.
var stdOnly = []string{"event"}

// What the root module may import from others, in its code and in its tests.
var (
	thirdParty     = []string{"github.com/sourcegraph/conc", "github.com/cenkalti/backoff/v4"}
	thirdPartyTest = []string{"pgregory.net/rapid"}
)

// outer are the trees of modules of their own, each with the trees that it may import beside the whole
// of the root module. A tree imports itself only when listed here.
var outer = map[string][]string{
	"adapter":  {},
	"console":  {},
	"cmd":      {"adapter", "console", "cmd"},
	"examples": {"adapter", "console", "examples"},
	"bench":    {"adapter", "console", "bench"},
	"internal": {},
}

func TestFloors(t *testing.T) {
	files := parseTree(t, os.DirFS("."))
	for _, fault := range checkFloors(files) {
		t.Error(fault)
	}
}

func TestFloorsPackagesAreDocumented(t *testing.T) {
	files := parseTree(t, os.DirFS("."))
	for _, fault := range checkDocumented(files) {
		t.Error(fault)
	}
}

func TestFloorsTestsDoNotSleep(t *testing.T) {
	files := parseTree(t, os.DirFS("."))
	for _, fault := range checkSleep(files) {
		t.Error(fault)
	}
}

// TestFloorsFindFaults plants one fault at a time: a checker that finds nothing proves nothing.
func TestFloorsFindFaults(t *testing.T) {
	imports := func(name, pkg, path string) fstest.MapFS {
		return fstest.MapFS{name: {Data: fmt.Appendf(nil, "// Package doc.\npackage %s\n\nimport _ %q\n", pkg, path)}}
	}
	ours := func(p string) string { return module + "/" + p }
	good := map[string]fstest.MapFS{
		"a floor below":                imports("middleware/retry.go", "middleware", ours("stage")),
		"its own insides":              imports("stage/stage.go", "stage", ours("stage/internal/lane")),
		"insides may import as it may": imports("stage/internal/lane/lane.go", "lane", ours("event")),
		"a kit imports what it tests":  imports("deadletter/deadlettertest/run.go", "deadlettertest", ours("deadletter")),
		"an outside test":              imports("middleware/x_test.go", "middleware_test", ours("pipeline")),
		"an inside test with its kit":  imports("idempotency/x_test.go", "idempotency", "pgregory.net/rapid"),
		"a dependency":                 imports("middleware/retry.go", "middleware", "github.com/cenkalti/backoff/v4"),
		"a part of a dependency":       imports("pipeline/run.go", "pipeline", "github.com/sourcegraph/conc/panics"),
		"an adapter and its driver":    imports("adapter/x/x.go", "x", "example.com/driver"),
		"an adapter and the root":      imports("adapter/x/x.go", "x", ours("deadletter")),
		"an adapter and its insides":   imports("adapter/x/x.go", "x", ours("adapter/x/internal/schema")),
		"the command and an adapter":   imports("cmd/runnel/main.go", "main", ours("adapter/sqlitestore")),
		"the root's tests":             imports("arch_test.go", "runnel_test", ours("pipelinetest")),
	}
	for name, tree := range good {
		t.Run(name, func(t *testing.T) {
			if got := checkFloors(parseTree(t, tree)); len(got) > 0 {
				t.Errorf("checkFloors = %q, want no fault", got)
			}
		})
	}
	bad := map[string]fstest.MapFS{
		"upwards":                       imports("stage/stage.go", "stage", ours("pipeline")),
		"sideways on floor 1":           imports("stage/stage.go", "stage", ours("deadletter")),
		"sideways on floor 1, back":     imports("idempotency/x.go", "idempotency", ours("stage")),
		"middleware meets pipeline":     imports("middleware/retry.go", "middleware", ours("pipeline")),
		"pipeline meets middleware":     imports("pipeline/run.go", "pipeline", ours("middleware")),
		"pipeline meets idempotency":    imports("pipeline/run.go", "pipeline", ours("idempotency")),
		"middleware's inside tests too": imports("middleware/x_test.go", "middleware", ours("pipeline")),
		"another's insides":             imports("pipeline/run.go", "pipeline", ours("stage/internal/lane")),
		"insides go upwards":            imports("stage/internal/lane/lane.go", "lane", ours("pipeline")),
		"a dependency on floor 0":       imports("event/event.go", "event", "github.com/sourcegraph/conc"),
		"a new dependency":              imports("stage/stage.go", "stage", "golang.org/x/sync/errgroup"),
		"a test library in code":        imports("stage/stage.go", "stage", "pgregory.net/rapid"),
		"an assertion library in tests": imports("stage/x_test.go", "stage", "github.com/stretchr/testify/require"),
		"the root module uses adapters": imports("pipelinetest/x.go", "pipelinetest", ours("adapter/pgstore")),
		"its outside tests do":          imports("pipeline/x_test.go", "pipeline_test", ours("examples/retail")),
		"an adapter uses another":       imports("adapter/x/x.go", "x", ours("adapter/y")),
		"an adapter uses the console":   imports("adapter/x/x.go", "x", ours("console")),
		"a package on no floor":         imports("util/util.go", "util", "fmt"),
		"code in the root package":      imports("runnel.go", "runnel", ours("stage")),
	}
	for name, tree := range bad {
		t.Run(name, func(t *testing.T) {
			if got := checkFloors(parseTree(t, tree)); len(got) != 1 {
				t.Errorf("checkFloors = %q, want one fault", got)
			}
		})
	}
}

func TestFloorsFindUndocumented(t *testing.T) {
	tree := fstest.MapFS{
		"good/doc.go":     {Data: []byte("// Package good is documented.\npackage good\n")},
		"good/other.go":   {Data: []byte("package good\n")},
		"bad/bad.go":      {Data: []byte("package bad\n")},
		"bad/a_test.go":   {Data: []byte("// Package bad's tests do not count.\npackage bad\n")},
		"tests/x_test.go": {Data: []byte("package tests\n")},
	}
	if got := checkDocumented(parseTree(t, tree)); len(got) != 1 || !strings.HasPrefix(got[0], "bad: ") {
		t.Errorf("checkDocumented = %q, want one fault of bad", got)
	}
}

func TestFloorsFindSleep(t *testing.T) {
	test := func(importing, body string) *fstest.MapFile {
		return &fstest.MapFile{Data: fmt.Appendf(nil, "package x\nimport (\n%s\n)\nfunc f() {\n%s\n}\n", importing, body)}
	}
	tree := fstest.MapFS{
		"a_test.go": test(`"time"`, `time.Sleep(1)`),
		"b_test.go": test(`"time"; "testing/synctest"`, `time.Sleep(1)`),
		"c_test.go": test(`clock "time"`, `clock.Sleep(1)`),
		"d_test.go": test(`"time"`, `time.Sleep(1) //nolint:forbidigo // a process of its own has no bubble`),
		"e_test.go": test(`"time"`, `time.Now()`),
		"f.go":      test(`"time"`, `time.Sleep(1)`), // golangci-lint's work
	}
	got := checkSleep(parseTree(t, tree))
	if len(got) != 2 || !strings.HasPrefix(got[0], "a_test.go:") || !strings.HasPrefix(got[1], "c_test.go:") {
		t.Errorf("checkSleep = %q, want a_test.go and c_test.go", got)
	}
}

// goFile is one Go file of the tree.
type goFile struct {
	name string // from the root, with slashes
	set  *token.FileSet
	ast  *ast.File
}

func (f goFile) dir() string { return path.Dir(f.name) }

func (f goFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// isOutsideTest reports whether f belongs to a package of its own, x_test, which may import what
// imports x.
func (f goFile) isOutsideTest() bool {
	return f.isTest() && strings.HasSuffix(f.ast.Name.Name, "_test")
}

func (f goFile) imports() []string {
	var all []string
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// parseTree reads every Go file, of whatever build, in the order of their names.
func parseTree(t *testing.T, tree fs.FS) []goFile {
	t.Helper()
	var files []goFile
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "bin"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, goFile{name, set, parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func checkFloors(files []goFile) (faults []string) {
	for _, f := range files {
		for _, imported := range f.imports() {
			if why := forbidden(f, imported); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", f.name, imported, why))
			}
		}
		if _, outside := outer[top(f.dir())]; !outside && floorOf(f.dir()) == "" {
			faults = append(faults, fmt.Sprintf("%s: its package is on no floor: give it one in arch_test.go", f.name))
		}
	}
	return faults
}

// forbidden says why f must not import a package, or nothing when it may.
func forbidden(f goFile, imported string) string {
	rel, isOurs := strings.CutPrefix(imported, module+"/")
	_, outside := outer[top(f.dir())]
	switch {
	case imported == module:
		return "the root package is documentation only"
	case outside && isOurs:
		return forbiddenOutside(f, rel)
	case outside || floorOf(f.dir()) == "":
		return ""
	case isOurs:
		return forbiddenInside(f, rel)
	case !strings.Contains(top(imported), "."):
		return "" // the standard library
	default:
		return forbiddenThirdParty(f, imported)
	}
}

// forbiddenInside is the rule within the root module.
func forbiddenInside(f goFile, rel string) string {
	own, theirs := floorOf(f.dir()), floorOf(rel)
	if _, outside := outer[top(rel)]; outside {
		return "the root module imports no module beside it"
	}
	if own == theirs || f.isOutsideTest() {
		return "" // Go itself keeps another's insides away from an outside test
	}
	if rel != theirs && strings.Contains(rel+"/", "/internal/") {
		return fmt.Sprintf("it is an inside of %s", theirs)
	}
	if !slices.Contains(floors[own], theirs) {
		return fmt.Sprintf("%s may import of ours only %q", own, floors[own])
	}
	return ""
}

// forbiddenOutside is the rule for the modules around the root module.
func forbiddenOutside(f goFile, rel string) string {
	own, theirs := top(f.dir()), top(rel)
	if _, outside := outer[theirs]; !outside || slices.Contains(outer[own], theirs) || f.isOutsideTest() {
		return ""
	}
	if own == theirs && (own != "adapter" || adapterOf(f.dir()) == adapterOf(rel)) {
		return ""
	}
	return fmt.Sprintf("%s may import beside the root module only %q", own, outer[own])
}

func forbiddenThirdParty(f goFile, imported string) string {
	within := func(p string) bool { return imported == p || strings.HasPrefix(imported, p+"/") }
	switch {
	case f.isTest() && slices.ContainsFunc(thirdPartyTest, within):
		return ""
	case slices.Contains(stdOnly, floorOf(f.dir())):
		return "this floor imports the standard library only"
	case !slices.ContainsFunc(thirdParty, within):
		return fmt.Sprintf("the root module depends on %q only, its tests on %q too", thirdParty, thirdPartyTest)
	}
	return ""
}

// top is a path's first element: "adapter" of "adapter/pgstore".
func top(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

// adapterOf is a path's first two elements: the adapter that it is in.
func adapterOf(p string) string {
	parts := strings.SplitN(p, "/", 3)
	return path.Join(parts[:min(2, len(parts))]...)
}

// floorOf names the entry of floors that a folder belongs to, or "".
func floorOf(dir string) string {
	if dir == "." {
		return "."
	}
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := floors[dir]; ok {
			return dir
		}
	}
	return ""
}

func checkDocumented(files []goFile) (faults []string) {
	documented := map[string]bool{}
	for _, f := range files {
		if !f.isTest() {
			documented[f.dir()] = documented[f.dir()] || f.ast.Doc != nil
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			faults = append(faults, dir+": the package has no comment: add a doc.go")
		}
	}
	return faults
}

// checkSleep finds calls of time.Sleep in tests that run in no bubble. A line that must sleep says so
// as the linter wants it: //nolint:forbidigo // why.
func checkSleep(files []goFile) (faults []string) {
	for _, f := range files {
		name := timeName(f.ast)
		if !f.isTest() || name == "" || slices.Contains(f.imports(), "testing/synctest") {
			continue
		}
		excused := map[int]bool{}
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//nolint:forbidigo // ") {
					excused[f.set.Position(c.Pos()).Line] = true
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				at := f.set.Position(s.Pos())
				if x, ok := s.X.(*ast.Ident); ok && x.Name == name && !excused[at.Line] {
					faults = append(faults, fmt.Sprintf("%s:%d: time.Sleep outside a synctest bubble", f.name, at.Line))
				}
			}
			return true
		})
	}
	return faults
}

// timeName is the name under which a file imports the package time, or "".
func timeName(f *ast.File) string {
	for _, spec := range f.Imports {
		if spec.Path.Value == `"time"` {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return "time"
		}
	}
	return ""
}
