# The whole vocabulary of this repository. Every target works in a fresh clone on a machine with Go, Python and Node.js, uses
# the network only for package registries, and writes only below .cache, bin and internal/e2e/*/node_modules.
#
#   make demo     the edge in front of a real Synapse on this machine, proved and ready to be used (ONCE=1: only proved)
#   make test     everything that has to hold: lint, unit and end-to-end tests; nothing is skipped
#   make build    bin/caddy
#   make unit, make e2e, make lint, make fuzz, make bench, make golden    the parts
#
# SYNAPSE=1.136.0 runs demo and e2e against another Synapse; RUN=Regexp runs only the end-to-end tests of such a name,
# with $$ for each $ (make's own): RUN='^TestLock$$|^TestKill$$';
# ONLY=gate,refresh picks rows of make bench, which wants a quiet machine and about 25 minutes for all.

SYNAPSE ?= 1.163.2
RUN     ?= .
FUZZTIME ?= 30s

# One set of flags, so that xcaddy's build, the tests and the linters share Go's build cache. xcaddy builds without cgo.
TAGS := nobadger,nomysql,nopgx
export GOFLAGS := -trimpath -buildvcs=false -tags=$(TAGS)
export CGO_ENABLED := 0

export E2E_SYNAPSE := $(CURDIR)/.cache/synapse-$(SYNAPSE)/bin/python
export E2E_NIO     := $(CURDIR)/.cache/nio/bin/python
export E2E_JS      := $(CURDIR)/internal/e2e/js
export E2E_OAUTHJS := $(CURDIR)/internal/e2e/oauthjs
export E2E_CADDY   := $(CURDIR)/bin/caddy
export E2E_RACE    := $(CURDIR)/bin/caddy-race
export E2E_XCADDY  := $(CURDIR)/.cache/bin/xcaddy
export E2E_CHROMIUM ?= /usr/bin/chromium

SOURCES := caddymodule cmd internal oidcprovider store tools imports.go structure_test.go conformance_test.go

.PHONY: demo test build unit e2e lint fuzz bench golden tools race synapse clients need-go need-test

demo: need-go synapse build
	@go build -o .cache/bin/demo ./internal/demo
	@.cache/bin/demo

test: need-test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory e2e
	@echo "make test: lint, unit and end-to-end tests with Synapse $(SYNAPSE) passed, none was skipped"

build: tools
	@.cache/bin/build -config xcaddy.json -output bin/caddy

unit: tools
	@tools/need.sh cc
	@echo "== unit tests, with the race detector"
	@CGO_ENABLED=1 .cache/bin/gotest -race -shuffle=on ./...
	@cd tools && ../.cache/bin/gotest ./...

e2e: need-test synapse clients build race
	@echo "== end-to-end tests with Synapse $(SYNAPSE)"
	@.cache/bin/gotest -each -tags=$(TAGS),e2e -count=1 -parallel=12 -timeout=20m -run='$(RUN)' ./internal/e2e/...

lint: tools
	@echo "== gofmt, go vet, staticcheck"
	@test -z "$$(gofmt -l $(SOURCES))" || { echo "not formatted:"; gofmt -l $(SOURCES); exit 1; }
	@if grep -rl --include=package-lock.json --exclude-dir=node_modules '"resolved"' . ; then echo "a lock file carries download addresses"; exit 1; fi
	@go vet ./... && go vet -tags=$(TAGS),e2e ./internal/e2e/... && go -C tools vet ./...
	@.cache/bin/staticcheck -tags=$(TAGS),e2e ./... && cd tools && ../.cache/bin/staticcheck ./...

# Every fuzz target in turn, for FUZZTIME each; the seeds alone are part of unit.
fuzz: need-go
	@tools/fuzz.sh $(FUZZTIME)

bench: need-go
	@go build -o .cache/bin/bench ./internal/bench
	@.cache/bin/bench

# Writes the golden files anew: look at the difference before committing it.
golden: need-go
	@go test -count=1 $$(grep -rl --include='*_test.go' 'flag.Bool("update"' $(SOURCES) | xargs -n1 dirname | sort -u | sed 's|^|./|') -args -update

tools: need-go
	@mkdir -p .cache/bin
	@GOBIN=$(CURDIR)/.cache/bin go -C tools install ./build ./gotest tool

race: tools
	@tools/need.sh cc
	@.cache/bin/build -config xcaddy.json -output bin/caddy-race -race

synapse:
	@tools/need.sh python
	@mkdir -p .cache
	@tools/venv.sh .cache/synapse-$(SYNAPSE) matrix-synapse==$(SYNAPSE)

clients: synapse
	@tools/need.sh node
	@tools/venv.sh .cache/nio matrix-nio==0.26.0
	@for dir in internal/e2e/js internal/e2e/oauthjs; do (cd $$dir && if ! cmp -s package-lock.json node_modules/.pins; then \
		echo "installing $$dir from npm" && npm ci --loglevel=error && cp package-lock.json node_modules/.pins; fi) || exit 1; done

need-go:
	@tools/need.sh go

need-test:
	@tools/need.sh go python node cc chromium
