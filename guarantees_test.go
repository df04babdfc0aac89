package runnel_test

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const guaranteesPage = "docs/GUARANTEES.md"

// TestGuarantees holds docs/GUARANTEES.md to its word: every promise names tests, and they exist.
// `make guarantees` fills in the names.
func TestGuarantees(t *testing.T) {
	page, err := os.ReadFile(guaranteesPage)
	if err != nil {
		t.Fatal(err)
	}
	tests := numberedTests(parseTree(t, os.DirFS(".")))
	if *update {
		page = []byte(nameTests(string(page), tests))
		writeFile(t, guaranteesPage, string(page))
	}
	for _, fault := range checkGuarantees(string(page), tests) {
		t.Error(fault)
	}
}

func TestGuaranteesFindFaults(t *testing.T) {
	const row = "# Page\n\nText.\n\n- **O1 No overlap.** One at\n  a time.\n"
	tests := map[string][]numberedTest{"O1": {{"TestO1_X", "stage/x_test.go"}}}
	for name, c := range map[string]struct {
		page string
		want string
	}{
		"fine":              {row + "  Tests: [`TestO1_X`](../stage/x_test.go)\n", ""},
		"not promised yet":  {row + "  Tests: [`TestO1_X`](../stage/x_test.go)\n- **B1 Runs.** *Not promised yet.* Text.\n", ""},
		"names none":        {row, "O1 names no test"},
		"partly unpromised": {row + "  *Not promised yet across processes.*\n", "O1 names no test"},
		"names one gone":    {row + "  Tests: [`TestO1_Y`](../stage/x_test.go)\n", "O1 names TestO1_Y"},
		"links elsewhere":   {row + "  Tests: [`TestO1_X`](../stage/y_test.go)\n", "O1 names TestO1_X"},
		"a test of no row":  {"- **O2 Order.** *Not promised yet.*\n", "TestO1_X proves O1"},
		"a number used twice": {
			strings.Repeat(row+"  Tests: [`TestO1_X`](../stage/x_test.go)\n\n", 2), "O1 stands there twice",
		},
		"no row": {"nothing", "no promises"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(checkGuarantees(c.page, tests), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("checkGuarantees = %q, want %q", got, c.want)
			}
		})
	}
}

func TestGuaranteesNameTests(t *testing.T) {
	const page = "- **O1 A.** One\n  two.\n  Tests: [`TestO1_Gone`](../x_test.go),\n  [`TestO1_Old`](../x_test.go)\n- **O2 B.** Three.\n\nText.\n- **O3 C.**\n"
	const want = "- **O1 A.** One\n  two.\n  Tests: [`TestO1_O2_Y`](../b_test.go),\n  [`TestO1_X`](../a_test.go)\n" +
		"- **O2 B.** Three.\n  Tests: [`TestO1_O2_Y`](../b_test.go)\n\nText.\n- **O3 C.**\n"
	x, y := numberedTest{"TestO1_X", "a_test.go"}, numberedTest{"TestO1_O2_Y", "b_test.go"}
	tests := map[string][]numberedTest{"O1": {y, x}, "O2": {y}}
	if got := nameTests(page, tests); got != want {
		t.Errorf("nameTests = %s\nwant %s", got, want)
	}
	if got := nameTests(want, tests); got != want {
		t.Errorf("nameTests again = %s\nwant %s", got, want)
	}
}

// numberedTest is a test that proves promises: its name begins with their numbers.
type numberedTest struct{ name, file string }

var testNumbers = regexp.MustCompile(`^Test((?:[ODRXILMSBT][0-9]+_)+)`)

// numberedTests lists, for each number, the tests that carry it.
func numberedTests(files []goFile) map[string][]numberedTest {
	tests := map[string][]numberedTest{}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !f.isTest() || fn.Recv != nil {
				continue
			}
			if m := testNumbers.FindStringSubmatch(fn.Name.Name); m != nil {
				for number := range strings.SplitSeq(strings.TrimSuffix(m[1], "_"), "_") {
					tests[number] = append(tests[number], numberedTest{fn.Name.Name, f.name})
				}
			}
		}
	}
	for _, list := range tests {
		slices.SortFunc(list, func(a, b numberedTest) int { return strings.Compare(a.name+a.file, b.name+b.file) })
	}
	return tests
}

var (
	// A promise is a list item that begins with its number, up to the next item, heading or empty line.
	guaranteeRow  = regexp.MustCompile(`(?m)^- \*\*([A-Z][0-9]+) .*\n(?:  .*\n)*`)
	unpromisedRow = regexp.MustCompile(`^- \*\*[^*]*\*\* \*Not promised yet\.\*`)
	rowTests      = regexp.MustCompile(`(?m)^  Tests: (?:.*\n)*`)
	testLink      = regexp.MustCompile("\\[`(\\w+)`\\]\\(([^)]*)\\)")
)

func checkGuarantees(page string, tests map[string][]numberedTest) (faults []string) {
	rows := guaranteeRow.FindAllStringSubmatch(page, -1)
	if len(rows) == 0 {
		faults = append(faults, guaranteesPage+" has no promises")
	}
	numbers := map[string]bool{}
	for _, row := range rows {
		text, number := row[0], row[1]
		if numbers[number] {
			faults = append(faults, fmt.Sprintf("%s: %s stands there twice", guaranteesPage, number))
		}
		numbers[number] = true
		faults = append(faults, checkRow(text, number, tests)...)
	}
	for number, list := range tests {
		if !numbers[number] {
			faults = append(faults, fmt.Sprintf("%s: %s proves %s, which %s does not promise", list[0].file, list[0].name, number, guaranteesPage))
		}
	}
	slices.Sort(faults)
	return faults
}

func checkRow(text, number string, tests map[string][]numberedTest) (faults []string) {
	links := testLink.FindAllStringSubmatch(rowTests.FindString(text), -1)
	if len(links) == 0 && !unpromisedRow.MatchString(text) {
		faults = append(faults, fmt.Sprintf("%s: %s names no test: write Test%s_…, then run `make guarantees`", guaranteesPage, number, number))
	}
	for _, l := range links {
		named := numberedTest{name: l[1], file: path.Join(path.Dir(guaranteesPage), l[2])}
		if !slices.Contains(tests[number], named) {
			faults = append(faults, fmt.Sprintf("%s: %s names %s in %s, which is not there: run `make guarantees`", guaranteesPage, number, named.name, named.file))
		}
	}
	return faults
}

// nameTests rewrites the tests that each promise names.
func nameTests(page string, tests map[string][]numberedTest) string {
	return guaranteeRow.ReplaceAllStringFunc(page, func(row string) string {
		number := guaranteeRow.FindStringSubmatch(row)[1]
		row = rowTests.ReplaceAllString(row, "")
		var links []string
		for _, test := range tests[number] {
			links = append(links, fmt.Sprintf("[`%s`](../%s)", test.name, test.file))
		}
		if len(links) == 0 {
			return row
		}
		return row + "  Tests: " + strings.Join(links, ",\n  ") + "\n"
	})
}
