module github.com/runnel-go/runnel/adapter/breaker

go 1.26.0

require (
	github.com/runnel-go/runnel v0.0.0
	github.com/sony/gobreaker/v2 v2.4.0
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/sourcegraph/conc v0.3.0 // indirect
)

replace github.com/runnel-go/runnel => ../../
