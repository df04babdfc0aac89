module github.com/runnel-go/runnel

go 1.26

require (
	github.com/cenkalti/backoff/v4 v4.3.0
	github.com/sourcegraph/conc v0.3.0
	pgregory.net/rapid v1.3.0
)
