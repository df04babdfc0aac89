package runnel_test

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const faultsPage = "docs/FAULTS.md"

// TestFaults holds docs/FAULTS.md to its word: every fault names a test of its number, or says why there is
// none, and every test of a number stands there. `make faults` fills in the names.
func TestFaults(t *testing.T) {
	page, err := os.ReadFile(faultsPage)
	if err != nil {
		t.Fatal(err)
	}
	files := parseTree(t, os.DirFS("."))
	if *update {
		page = []byte(nameFaults(string(page), faultTests(files)))
		writeFile(t, faultsPage, string(page))
	}
	for _, fault := range checkFaults(string(page), files) {
		t.Error(fault)
	}
}

func TestFaultsFindFaults(t *testing.T) {
	file := func(name, code string) goFile { return parseTree(t, treeOf(name, "package x_test\n"+code))[0] }
	files := []goFile{file("a_test.go", "func TestFault07_X() {}"), file("b_test.go", "func TestCrash() {}")}
	const row = "- **7 Large.** Text\n  and text.\n"
	for name, c := range map[string]struct{ page, want string }{
		"fine":                {row + "  Tests: [`TestFault07_X`](../a_test.go)\n- **8 B.** *Limit.* So.\n- **9 C.** *Not built yet.*\n- **10 D.** See [`TestCrash`](../b_test.go).\n", ""},
		"names none":          {row, "fault 7 names no test"},
		"names one gone":      {row + "  Tests: [`TestFault07_Y`](../a_test.go)\n", "fault 7 names TestFault07_Y"},
		"links to one gone":   {"- **8 B.** See [`TestGone`](../b_test.go).\n", "fault 8 names TestGone"},
		"a test of no row":    {"- **8 B.** *Limit.* So.\n", "TestFault07_X shows fault 7"},
		"a number used twice": {strings.Repeat(row+"  Tests: [`TestFault07_X`](../a_test.go)\n\n", 2), "fault 7 stands there twice"},
		"a test not named":    {"- **7 A.** *Limit.* So.\n", "fault 7 does not name TestFault07_X"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(checkFaults(c.page, files), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("checkFaults = %q, want %q", got, c.want)
			}
		})
	}
	if got, want := nameFaults(row, faultTests(files)), row+"  Tests: [`TestFault07_X`](../a_test.go)\n"; got != want || nameFaults(got, faultTests(files)) != want {
		t.Errorf("nameFaults = %q, want %q", got, want)
	}
}

var (
	faultRow  = regexp.MustCompile(`(?m)^- \*\*([0-9]+) .*\n(?:  .*\n)*`)
	faultTest = regexp.MustCompile(`^TestFault([0-9]+)_`)
	excused   = regexp.MustCompile(`\*(Limit\.|Not built yet\.?)\*`)
)

// faultTests lists the tests of each number.
func faultTests(files []goFile) map[int][]numberedTest {
	tests := map[int][]numberedTest{}
	for _, test := range allTests(files) {
		if m := faultTest.FindStringSubmatch(test.name); m != nil {
			n, _ := strconv.Atoi(m[1])
			tests[n] = append(tests[n], test)
		}
	}
	for _, list := range tests {
		slices.SortFunc(list, func(a, b numberedTest) int { return strings.Compare(a.name+a.file, b.name+b.file) })
	}
	return tests
}

func allTests(files []goFile) (all []numberedTest) {
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.isTest() && fn.Recv == nil {
				all = append(all, numberedTest{fn.Name.Name, f.name})
			}
		}
	}
	return all
}

func checkFaults(page string, files []goFile) (faults []string) {
	all, tests, rows := allTests(files), faultTests(files), map[int]bool{}
	say := func(n int, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s: fault %d ", faultsPage, n)+fmt.Sprintf(format, args...))
	}
	for _, m := range faultRow.FindAllStringSubmatch(page, -1) {
		n, _ := strconv.Atoi(m[1])
		if rows[n] {
			say(n, "stands there twice")
		}
		rows[n] = true
		links := testLink.FindAllStringSubmatch(m[0], -1)
		if len(links) == 0 && !excused.MatchString(m[0]) {
			say(n, "names no test: write TestFault%02d_…, then run `make faults`", n)
		}
		var named []numberedTest
		for _, l := range links {
			test := numberedTest{l[1], path.Join(path.Dir(faultsPage), l[2])}
			named = append(named, test)
			if !slices.Contains(all, test) {
				say(n, "names %s in %s, which is not there: run `make faults`", test.name, test.file)
			}
		}
		for _, test := range tests[n] {
			if !slices.Contains(named, test) {
				say(n, "does not name %s in %s: run `make faults`", test.name, test.file)
			}
		}
	}
	for n, list := range tests {
		if !rows[n] {
			faults = append(faults, fmt.Sprintf("%s: %s shows fault %d, which %s does not list", list[0].file, list[0].name, n, faultsPage))
		}
	}
	slices.Sort(faults)
	return faults
}

// nameFaults rewrites the tests that each fault names.
func nameFaults(page string, tests map[int][]numberedTest) string {
	return faultRow.ReplaceAllStringFunc(page, func(row string) string {
		n, _ := strconv.Atoi(faultRow.FindStringSubmatch(row)[1])
		row = rowTests.ReplaceAllString(row, "")
		if len(tests[n]) == 0 {
			return row
		}
		var links []string
		for _, test := range tests[n] {
			links = append(links, fmt.Sprintf("[`%s`](../%s)", test.name, test.file))
		}
		return row + "  Tests: " + strings.Join(links, ",\n  ") + "\n"
	})
}

// treeOf is a tree of one file.
func treeOf(name, code string) fstest.MapFS { return fstest.MapFS{name: {Data: []byte(code)}} }
