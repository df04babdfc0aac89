module github.com/runnel-go/runnel/internal/mutants

go 1.26
