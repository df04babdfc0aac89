package main

import (
	"go/parser"
	"go/token"
	"testing"
)

// TestMutantsFitTheCode: a mutant whose place is no longer there would prove nothing.
func TestMutantsFitTheCode(t *testing.T) {
	list, whats := all(), map[string]bool{}
	if len(list) < 40 {
		t.Errorf("%d mutants, want at least 40", len(list))
	}
	for _, m := range list {
		broken, err := m.apply("../..")
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, broken, 0); err != nil {
			t.Errorf("%s: %s: %v", m.file, m.what, err)
		}
		if whats[m.file+m.what] {
			t.Errorf("%s: %s stands there twice", m.file, m.what)
		}
		whats[m.file+m.what] = true
	}
}
