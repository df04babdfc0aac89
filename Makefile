# Everything that CI does is a target here; `make` lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

LINT_VERSION := v2.12.2
LINT := bin/golangci-lint-$(LINT_VERSION)
# A cache for each checkout: golangci-lint remembers findings with the path of the checkout that had them.
LINT_CACHE := $(CURDIR)/bin/lint-cache$(CURDIR)

# For each fuzz function; for a soak's fuzzing and its pipeline in real time, each; for that pipeline in CI; programs
# of the model; repetitions of the suite; seconds for each example.
FUZZTIME ?= 30s
SOAKTIME ?= 1h
ENDURE ?= 10s
MODEL ?= 20000
SOAK ?= 20
EXAMPLE_LIMIT ?= 120

# Of the crash tests: kills of a process that puts letters, replayed moments of a power loss, kills of one of two processes
# that redrive, kills of a Postgres of their own, and kills of a process between an effect and its mark.
KILLS ?= 50
POINTS ?= 300
DRAIN_KILLS ?= 60
SERVER_KILLS ?= 5
EFFECT_KILLS ?= 50

# For bench-compare.
REV ?= HEAD
PKG ?= ./stage/internal/lane
BENCH ?= .
COUNT ?= 10
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

# The folders of all modules in go.work.
MODULES = $(shell go list -m -f '{{.Dir}}')

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: ## test every module
	go test work

.PHONY: race
race: ## test every module under the race detector, in random order
	go test -race -shuffle=on work

.PHONY: fmt
fmt: ## fail when a file is not as gofmt writes it
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet: ## go vet every module
	go vet work

.PHONY: lint
lint: $(LINT) ## golangci-lint every module (built into bin/ once)
	@code=0; for m in $(MODULES); do \
		[ -n "$$(cd "$$m" && go list ./... 2>/dev/null)" ] || continue; \
		echo "golangci-lint: $$(basename "$$m")"; \
		(cd "$$m" && GOLANGCI_LINT_CACHE=$(LINT_CACHE) $(CURDIR)/$(LINT) run --allow-parallel-runners ./...) || code=1; \
	done; exit $$code

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION): minutes the first time, seconds once it is in the build cache"
	@rm -rf bin/lint.tmp && mkdir -p bin/lint.tmp
	GOWORK=off GOFLAGS= GOBIN=$(CURDIR)/bin/lint.tmp go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv bin/lint.tmp/golangci-lint $(LINT) && rmdir bin/lint.tmp

.PHONY: fuzz
fuzz: ## run every fuzz function for FUZZTIME, and print how many inputs each had
	@scripts/fuzz $(FUZZTIME)

.PHONY: model
model: ## run MODEL random programs on a pipeline, a fifth of them under the race detector
	RUNNEL_MODEL=$(MODEL) go test -count=1 -v -timeout=4h -run '^TestModel$$' ./pipelinetest
	RUNNEL_MODEL=$$(($(MODEL) / 5)) go test -race -count=1 -v -timeout=4h -run '^TestModel$$' ./pipelinetest

.PHONY: endure
endure: ## run a pipeline in real time for ENDURE under random faults, with its figures summed up each second
	RUNNEL_SOAK=$(ENDURE) go test -race -count=1 -v -timeout=4h -run '^TestSoak$$' ./pipelinetest

.PHONY: leaks
leaks: ## run the root module's tests and ask the runtime which goroutines nobody can wake any more
	@scripts/leaks

.PHONY: mutants
mutants: ## break the code in many small ways, one at a time, and print which test notices
	go run ./internal/mutants

.PHONY: crash
crash: ## run every crash test, with KILLS, POINTS, DRAIN_KILLS, SERVER_KILLS and EFFECT_KILLS, and print what they did
	@scripts/crash $(KILLS) $(POINTS) $(DRAIN_KILLS) $(SERVER_KILLS) $(EFFECT_KILLS)

.PHONY: goals
goals: ## measure every scenario of bench for a moment; fail on a lost promise of no allocation, and on what is twice as bad as its goal
	go run ./bench -quick

.PHONY: bench
bench: ## run every benchmark
	go test -run '^$$' -bench . -benchmem work

.PHONY: bench-compare
bench-compare: ## benchstat of the benchmarks that match BENCH in PKG: revision REV against the working tree, COUNT runs of each in turn
	@scripts/bench-compare "$(REV)" "$(PKG)" "$(BENCH)" "$(COUNT)" "$(BENCHSTAT)"

.PHONY: cover
cover: ## what the tests of the root module cover
	go test -coverpkg=./... -coverprofile=cover.out ./...
	@go tool cover -func=cover.out | tail -n 1

.PHONY: api
api: ## rewrite api/ from the code: the exported API as text
	go test -count=1 -run '^TestAPI$$' . -update

.PHONY: guarantees
guarantees: ## rewrite the tests that docs/GUARANTEES.md names from the code
	go test -count=1 -run '^TestGuarantees$$' . -update

.PHONY: faults
faults: ## rewrite the tests that docs/FAULTS.md names from the code
	go test -count=1 -run '^TestFaults$$' . -update

.PHONY: floors
floors: ## check who imports whom
	go test -count=1 -run '^TestFloors' .

.PHONY: examples
examples: ## run every example program
	@scripts/examples $(EXAMPLE_LIMIT)

.PHONY: tidy
tidy: ## go mod tidy in every module
	@for m in $(MODULES); do echo "go mod tidy: $$(basename "$$m")"; (cd "$$m" && go mod tidy); done

.PHONY: tidied
tidied: ## fail where go mod tidy would change something
	@for m in $(MODULES); do (cd "$$m" && GOWORK=off go mod tidy -diff) || exit 1; done

.PHONY: services
services: ## start the local services that the tests talk to, where they are down
	@scripts/services

.PHONY: ci
ci: ## everything that must hold before a change lands
	$(MAKE) fmt
	$(MAKE) vet
	$(MAKE) tidied
	$(MAKE) lint
	$(MAKE) floors
	$(MAKE) race
	$(MAKE) model
	$(MAKE) endure
	$(MAKE) examples
	$(MAKE) goals
	$(MAKE) fuzz FUZZTIME=5s
	$(MAKE) crash

.PHONY: soak
soak: ## hours: a million programs, a pipeline and fuzzing an hour each, the suite SOAK times, ten million letters, many kills
	$(MAKE) model MODEL=1000000
	$(MAKE) endure ENDURE=$(SOAKTIME)
	go test -race -shuffle=on -count=$(SOAK) -cpu=1,2,4 -timeout=4h work
	scripts/fuzz $(SOAKTIME) total
	RUNNEL_LETTERS=10000000 go test -C cmd/runnel -count=1 -v -timeout=4h -run '^TestSoak' .
	$(MAKE) crash KILLS=1000 POINTS=3000 DRAIN_KILLS=500 SERVER_KILLS=50 EFFECT_KILLS=500
