package runnel_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite api/ (TestAPI), docs/GUARANTEES.md (TestGuarantees) or docs/FAULTS.md (TestFaults) from the code")

// TestAPI compares what every public package exports with the text in api/, so that the API changes
// on purpose only. `make api` rewrites the text.
func TestAPI(t *testing.T) {
	pkgs := loadExports(t)
	known := map[string]bool{}
	for _, p := range pkgs {
		golden := filepath.Join("api", filepath.FromSlash(strings.TrimPrefix(p.Path(), module+"/"))+".txt")
		known[golden] = true
		got := apiText(p)
		if *update {
			writeFile(t, golden, got)
			continue
		}
		want, err := os.ReadFile(golden)
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is missing: run `make api` and look at what it writes", golden)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if d := lineDiff(string(want), got); d != "" {
			t.Errorf("the API of %s is not what %s says; if that is meant, run `make api` and commit it:\n%s", p.Path(), golden, d)
		}
	}
	checkStale(t, known)
}

// checkStale finds texts of packages that are no longer there.
func checkStale(t *testing.T, known map[string]bool) {
	t.Helper()
	err := filepath.WalkDir("api", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".txt" || known[name] {
			return err
		}
		if *update {
			return os.Remove(name)
		}
		t.Errorf("%s is the text of no package: run `make api`", name)
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// loadExports reads, from what the compiler wrote for importers, every public package of every module
// in the workspace.
func loadExports(t *testing.T) []*types.Package {
	t.Helper()
	if os.Getenv("GOWORK") == "off" {
		t.Skip("the API is compared in the workspace only")
	}
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export,Name,DepOnly,Standard", "work")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	exports := map[string]string{}
	var public []string
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Export, Name string
			DepOnly, Standard        bool
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly && isPublic(p.ImportPath, p.Name) {
			public = append(public, p.ImportPath)
		}
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	slices.Sort(public)
	var pkgs []*types.Package
	for _, path := range public {
		p, err := imp.Import(path)
		if err != nil {
			t.Fatalf("import %s: %v", path, err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// isPublic reports whether others may import a package and build on it.
func isPublic(path, name string) bool {
	rel, ours := strings.CutPrefix(path, module+"/")
	return ours && name != "main" && !strings.Contains("/"+rel+"/", "/internal/") &&
		!slices.Contains([]string{"examples", "bench", "cmd"}, top(rel))
}

// apiText lists what a package exports, a line each, sorted: constants with their values, variables,
// functions, and types with their exported fields and methods. The parameters of functions are unnamed,
// as renaming one changes nothing for callers.
func apiText(p *types.Package) string {
	a := apiLines{pkg: p}
	for _, name := range p.Scope().Names() {
		if obj := p.Scope().Lookup(name); obj.Exported() {
			a.object(obj)
		}
	}
	slices.Sort(a.lines)
	return strings.Join(slices.Compact(a.lines), "\n") + "\n"
}

type apiLines struct {
	pkg   *types.Package
	lines []string
}

func (a *apiLines) add(format string, args ...any) {
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

func (a *apiLines) object(obj types.Object) {
	switch o := obj.(type) {
	case *types.Const:
		a.add("const %s %s = %s", o.Name(), a.typ(o.Type()), o.Val().ExactString())
	case *types.Var:
		a.add("var %s %s", o.Name(), a.typ(o.Type()))
	case *types.Func:
		a.add("func %s%s", o.Name(), a.signature(o))
	case *types.TypeName:
		a.typeName(o)
	}
}

func (a *apiLines) typeName(o *types.TypeName) {
	if o.IsAlias() {
		a.add("type %s = %s", a.typ(o.Type()), a.typ(types.Unalias(o.Type())))
		return
	}
	named := o.Type().(*types.Named)
	head := "type " + a.typ(named)
	switch u := named.Underlying().(type) {
	case *types.Struct:
		a.add("%s struct", head)
		a.fields(head, u)
	case *types.Interface:
		a.add("%s interface", head)
		a.interfaceMethods(head, u)
		return
	default:
		a.add("%s %s", head, a.typ(u))
	}
	a.methods(named)
}

// fields lists the exported fields of a struct, with those of the unexported structs that it embeds,
// and says whether there are others.
func (a *apiLines) fields(head string, s *types.Struct) {
	for f := range s.Fields() {
		if !f.Exported() {
			a.add("%s struct, with unexported fields", head)
		}
		switch {
		case f.Exported() && f.Embedded():
			a.add("%s struct, embeds %s", head, a.typ(f.Type()))
		case f.Exported():
			a.add("%s struct, %s %s", head, f.Name(), a.typ(f.Type()))
		case f.Embedded():
			if inner, ok := deref(f.Type()).Underlying().(*types.Struct); ok {
				a.fields(head, inner)
			}
		}
	}
}

func (a *apiLines) interfaceMethods(head string, i *types.Interface) {
	for e := range i.EmbeddedTypes() {
		a.add("%s interface, embeds %s", head, a.typ(e))
	}
	sealed := false
	for m := range i.Methods() {
		if m.Exported() {
			a.add("%s interface, %s%s", head, m.Name(), a.signature(m))
		}
		sealed = sealed || !m.Exported()
	}
	if sealed {
		a.add("%s interface, with unexported methods", head)
	}
}

// methods lists the exported methods, promoted ones included, with the receiver that suffices.
func (a *apiLines) methods(named *types.Named) {
	values := types.NewMethodSet(named)
	for sel := range types.NewMethodSet(types.NewPointer(named)).Methods() {
		m := sel.Obj().(*types.Func)
		if !m.Exported() {
			continue
		}
		star := "*"
		if values.Lookup(m.Pkg(), m.Name()) != nil {
			star = ""
		}
		a.add("method (%s%s) %s%s", star, a.typ(named), m.Name(), a.signature(m))
	}
}

func (a *apiLines) typ(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == a.pkg {
			return ""
		}
		return strings.TrimPrefix(p.Path(), module+"/")
	})
}

func (a *apiLines) signature(f *types.Func) string {
	s := f.Signature()
	var b strings.Builder
	if params := s.TypeParams(); params.Len() > 0 {
		var list []string
		for p := range params.TypeParams() {
			list = append(list, p.Obj().Name()+" "+a.typ(p.Constraint()))
		}
		b.WriteString("[" + strings.Join(list, ", ") + "]")
	}
	unnamed := types.NewSignatureType(nil, nil, nil, unnamed(s.Params()), unnamed(s.Results()), s.Variadic())
	b.WriteString(strings.TrimPrefix(a.typ(unnamed), "func"))
	return b.String()
}

func unnamed(vars *types.Tuple) *types.Tuple {
	var all []*types.Var
	for v := range vars.Variables() {
		all = append(all, types.NewParam(token.NoPos, v.Pkg(), "", v.Type()))
	}
	return types.NewTuple(all...)
}

func deref(t types.Type) types.Type {
	if p, ok := t.(*types.Pointer); ok {
		return p.Elem()
	}
	return t
}

// lineDiff lists the lines that only one of two sorted texts has.
func lineDiff(want, got string) string {
	wants, gots := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	for _, l := range wants {
		if !slices.Contains(gots, l) {
			b.WriteString("-" + l + "\n")
		}
	}
	for _, l := range gots {
		if !slices.Contains(wants, l) {
			b.WriteString("+" + l + "\n")
		}
	}
	return b.String()
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}
