# Everything a contributor runs. Needs Go 1.26, make, git and bash; `make test`
# gets what else its tests use.

SHELL := /bin/bash
export CGO_ENABLED := 0

GO ?= go
CACHE := $(CURDIR)/.cache
LINT_VERSION := $(shell sed -n 's,.*golangci/golangci-lint/v2 \(v[0-9.]*\).*,\1,p' tools/go.mod | head -1)
LINT := $(CACHE)/golangci-lint-$(LINT_VERSION)

# Packages are tested with this limit, each. Tests themselves have smaller ones.
TEST_TIMEOUT ?= 8m
# Time for each fuzz target, in `make fuzz` and `make soak`.
FUZZ_TIME ?= 10s
SOAK_TIME ?= 10m
# Steps of the model of IMAP in `make fuzz`, and the time after which there are no more.
MODEL_STEPS ?= 2000000
MODEL_TIME ?= 30m
# Arguments for `make run`, as in: make run ARGS="-dir /tmp/mail -pedantic"
ARGS ?=

.PHONY: build run test race check fmt tidy vet lint cross fuzz soak bench microbench gen upgradedata clean

# The server, as ./mox.
build:
	$(GO) build -trimpath -ldflags='-s -w' -o mox .

# A mail server for trying things out, in the foreground.
run: build
	./mox localserve $(ARGS)

# All tests, in random order.
test:
	scripts/install-test-deps.sh
	$(GO) test -shuffle=on -timeout $(TEST_TIMEOUT) ./...
	$(GO) test -C mailbench -timeout $(TEST_TIMEOUT) ./...

# All tests with the race detector, which needs cgo and a C compiler.
race:
	CGO_ENABLED=1 $(GO) test -race -short -shuffle=on -timeout 30m ./...

# What must hold of the code besides its tests.
check: fmt tidy vet lint cross

fmt:
	@bad=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if test -n "$$bad"; then echo "not formatted with gofmt:"; echo "$$bad"; exit 1; fi

tidy:
	$(GO) mod tidy -diff

vet:
	GOOS=linux $(GO) vet ./...
	GOOS=linux $(GO) vet -C mailbench ./...
	GOOS=windows $(GO) vet ./...
	GOARCH=386 $(GO) vet ./...

lint: $(LINT)
	$(LINT) run --allow-serial-runners --timeout 10m ./...

$(LINT): tools/go.mod
	@echo "building golangci-lint $(LINT_VERSION), once"
	mkdir -p $(CACHE)
	cd tools && $(GO) build -trimpath -ldflags='-s -w' -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# Binaries for other systems, in dist/. They share compiled packages with vet, so
# that both together take little longer than one.
cross:
	GOOS=windows GOARCH=amd64 $(GO) build -ldflags='-s -w' -o dist/mox-windows-amd64.exe .
	GOOS=darwin GOARCH=arm64 $(GO) build -ldflags='-s -w' -o dist/mox-darwin-arm64 .

# Each fuzz target for a moment: that it runs, and holds for what is found at once.
# Then the model of IMAP for long, in memory: what fsync does is looked at elsewhere.
fuzz:
	scripts/fuzz.sh $(FUZZ_TIME)
	if test -w /dev/shm; then export TMPDIR=/dev/shm; fi; \
	$(GO) test -count=1 -timeout 6h ./test/imapmodel -run 'Model|Together' -args -model.steps=$(MODEL_STEPS) -model.time=$(MODEL_TIME)

# What takes hours: fuzzing, kills and power cuts, mail for weeks of virtual time, a backup of a million messages,
# and the model of the store; and what takes much to install: Thunderbird. What came out stands in docs/soak.md.
soak:
	scripts/install-test-deps.sh soak
	$(GO) test -count=1 -timeout 10m ./test/interop -run Thunderbird -args -thunderbird
	scripts/fuzz.sh $(SOAK_TIME)
	$(GO) test -count=1 -timeout 6h ./internal/crashtest -args -crash.rounds=300
	$(GO) test -count=1 -timeout 6h ./internal/sim -args -sim.rounds=300
	$(GO) test -count=1 -timeout 6h ./backup -run Large -v -args -backup.messages=1000000
	$(GO) test -count=1 -timeout 6h ./store -run Model -args -model.steps=200000

# Figures against other mail servers; see docs/performance.md.
bench: build
	bench/run.sh

# Go benchmarks of single packages.
microbench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Files made from code: generated sources, then examples and help texts.
gen:
	$(GO) generate ./...
	$(GO) test . ./config -run Golden -update

# Data of the current format for versions to come: see testdata/upgrade/README.md.
upgradedata:
	$(GO) test . -run 'TestUpgradeData$$' -upgradedata

clean:
	rm -rf mox mox.exe dist
