module github.com/runnel-go/runnel/adapter/ratelimit

go 1.26.0

require (
	github.com/runnel-go/runnel v0.0.0
	golang.org/x/time v0.16.0
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/sourcegraph/conc v0.3.0 // indirect
)

replace github.com/runnel-go/runnel => ../../
