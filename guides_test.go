package runnel_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestGuides compiles every Go block of the README and of docs/guides. The blocks of one page are one package, in
// their order: declarations stand as they are, and each run of statements becomes a function of its own. What a page
// needs and does not show stands in a comment that begins with "<!--go".
func TestGuides(t *testing.T) {
	pages, err := filepath.Glob("docs/guides/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("docs/guides has %d pages, %v", len(pages), err)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay := map[string]map[string]string{"Replace": {}}
	var packages []string
	for _, page := range append(pages, "README.md") {
		source, err := guideSource(page)
		if err != nil {
			t.Errorf("%s: %v", page, err)
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(filepath.Base(page), ".md"))
		file := filepath.Join(t.TempDir(), name+".go")
		if err := os.WriteFile(file, source, 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][filepath.Join(root, "internal", "guides", name, name+".go")] = file
		packages = append(packages, "./internal/guides/"+name)
	}
	buildOverlay(t, overlay, packages)
}

func buildOverlay(t *testing.T, overlay any, packages []string) {
	t.Helper()
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", append([]string{"build", "-overlay", file}, packages...)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("go build of the pages' code: %v\n%s", err, out)
	}
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$|^<!--go\n(.*?)^-->$")

// guideSource makes one Go file of a page.
func guideSource(page string) ([]byte, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	var body strings.Builder
	for _, m := range goBlock.FindAllSubmatchIndex(text, -1) {
		from, to := m[2], m[3]
		if from < 0 {
			from, to = m[4], m[5]
		}
		block := strings.ReplaceAll(string(text[from:to]), "{ … }", `{ panic("left out") }`)
		line := bytes.Count(text[:from], []byte("\n")) + 1
		declared := fmt.Sprintf("//line %s:%d\n%s\n", page, line, block)
		inFunc := fmt.Sprintf("func _() {\n//line %s:%d\n%s\n}\n", page, line, block)
		if parses(declared) {
			body.WriteString(declared)
			continue
		}
		if !parses(inFunc) {
			return nil, fmt.Errorf("line %d: a block is neither declarations nor statements", line)
		}
		body.WriteString(inFunc)
	}
	if body.Len() == 0 {
		return []byte("package guide\n"), nil
	}
	return withImports(body.String())
}

func parses(code string) bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", "package guide\n"+code, 0)
	return err == nil
}

// guideImports are the packages that pages use, by their last element.
var guideImports = []string{
	"context", "errors", "fmt", "iter", "log", "log/slog", "net/http", "os", "os/signal", "sync", "syscall", "testing", "time",
	"encoding/json", "github.com/cenkalti/backoff/v4", "github.com/jackc/pgx/v5/pgxpool",
	"deadletter", "event", "idempotency", "middleware", "pipeline", "pipelinetest", "stage", "adapter/pgstore", "adapter/sqlitestore",
}

func withImports(body string) ([]byte, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package guide\n"+body, 0)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok {
				used[id.Name] = true
			}
		}
		return true
	})
	var imports strings.Builder
	for _, path := range guideImports {
		name := path[strings.LastIndex(path, "/")+1:]
		if name == "v4" {
			name = "backoff"
		}
		if !used[name] {
			continue
		}
		if first, _, _ := strings.Cut(path, "/"); slices.Contains([]string{"deadletter", "event", "idempotency", "middleware", "pipeline", "pipelinetest", "stage", "adapter"}, first) {
			path = "github.com/runnel-go/runnel/" + path
		}
		fmt.Fprintf(&imports, "import %q\n", path)
	}
	return format.Source([]byte("package guide\n\n" + imports.String() + body))
}
