# Everything that is built, checked or run has a target here; .ci/run calls the same targets.

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
# For example: make test FILTER=BrokerWireTests
FILTER ?=
# What runs under the sanitizers in continuous integration; ROUNDS=all adds the real processes.
ROUNDS ?= layers client
FORMATTED = Sources Tests Package.swift Fuzz Benchmarks

.DEFAULT_GOAL := help
.PHONY: help sim build release test test-asan test-tsan check fmt fuzz-smoke bench bench-guard \
	bench-curves bench-allocations bench-build bench-peers demo install clean packages \
	test-packages install-service uninstall

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{ printf "make %-17s %s\n", $$1, $$2 }'

build: packages ## build everything, for debugging
	$(SWIFT) build

release: packages ## build the optimised binary, .build/release/broker
	$(SWIFT) build -c release --product broker

test: test-packages ## run all tests; FILTER=… runs some
	$(SWIFT) build --build-tests
	FILTER='$(FILTER)' .ci/test all

ASAN = --sanitize=address --scratch-path .build-asan

test-asan: packages ## run the tests with the address sanitizer
	$(SWIFT) build --build-tests $(ASAN)
	FILTER='$(FILTER)' ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=4 .ci/test '$(ROUNDS)' $(ASAN)

# The thread sanitizer's calls for structs that cannot be copied do not pass the compiler's own
# verifier (swiftlang/swift#86265), and swift-collections has such structs.
TSAN = --sanitize=thread --scratch-path .build-tsan \
	-Xswiftc -Xfrontend -Xswiftc -disable-llvm-verify

test-tsan: packages ## run the tests with the thread sanitizer
	$(SWIFT) build --build-tests $(TSAN)
	FILTER='$(FILTER)' .ci/test '$(ROUNDS)' $(TSAN)

check: packages ## format, size, import and naming rules
	$(SWIFT) format lint --strict -r $(FORMATTED)
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build --filter TidyTests </dev/null

fmt: ## format all Swift files
	$(SWIFT) format -i -r $(FORMATTED)

sim: packages ## simulate networks of brokers; SEEDS=10000, BROKER_TEST_SEED=… to begin there
	BROKER_SIM=1 $(SWIFT) build -c release --scratch-path .build-sim --product Simulate \
		-Xswiftc -enable-testing
	.build-sim/release/Simulate $(or $(SEEDS),10000)

fuzz-smoke: packages ## fuzz each target for a bounded number of inputs and a bounded time
	.ci/fuzz

BENCH = .build-bench/release/CoreBenchmark
SHIM = .build-bench/allocations.so

bench: bench-build ## time and allocations of the core for one message
	$(BENCH)

bench-guard: bench-build release $(SHIM) ## compare counts with those expected; ACCEPT=1 takes them
	Benchmarks/guard.py $(BENCH) Benchmarks/expected.json $(if $(ACCEPT),--accept)
	Benchmarks/allocations.py .build/release/broker $(SHIM) --messages 200000 --limit 0.01

bench-curves: bench-build release $(SHIM) ## cost as things grow, into Benchmarks/curves
	Benchmarks/curves/run.py $(BENCH) .build/release/broker $(SHIM) Benchmarks/curves

bench-allocations: release $(SHIM) ## heap allocations a message of broker and client library
	Benchmarks/allocations.py .build/release/broker $(SHIM)

# Counts the allocations of the program that it is preloaded into.
$(SHIM): Benchmarks/CMeasurement/CMeasurement.c Benchmarks/CMeasurement/include/CMeasurement.h
	mkdir -p $(@D)
	clang -O2 -Wall -Wextra -Werror -shared -fPIC -I Benchmarks/CMeasurement/include $< -o $@

# Without the debugging information of C, which is newer than what Debian's valgrind can read.
bench-build: packages
	BROKER_BENCHMARKS=1 $(SWIFT) build -c release --scratch-path .build-bench \
		--product CoreBenchmark -Xlinker --strip-debug

# For example: make bench-peers PEERS='--quick --only one-to-one'
PEERS ?=

bench-peers: release ## compare with redis, nats, mosquitto and dbus; PEERS=--quick, --help, …
	@.ci/packages peers
	@mkdir -p .build/peers
	python3 Benchmarks/peers/peers.py --broker .build/release/broker --json .build/peers/peers.json \
		--table .build/peers/peers.md --svg .build/peers/peers.svg $(PEERS)

demo: release ## show the broker at work, with several users where root
	.ci/demo

# Where bash-completion, zsh and fish look for completions, and systemd for services.
SHARE = $(DESTDIR)$(PREFIX)/share
BASH_COMPLETION = $(SHARE)/bash-completion/completions/broker
ZSH_COMPLETION = $(SHARE)/zsh/site-functions/_broker
FISH_COMPLETION = $(SHARE)/fish/vendor_completions.d/broker.fish
UNIT = $(DESTDIR)$(PREFIX)/lib/systemd/system/broker.service
RULES = $(DESTDIR)/etc/broker/acl.toml

COMPLETION = .build/release/broker --generate-completion-script
# Whatever the umask: everybody may read it, and nobody else may write to it.
KEEP = install -D -m 644 /dev/stdin

install: release ## install program and completions below PREFIX, /usr/local if not set
	install -D -m 755 .build/release/broker $(DESTDIR)$(PREFIX)/bin/broker
	$(COMPLETION) bash | $(KEEP) $(BASH_COMPLETION)
	$(COMPLETION) zsh | $(KEEP) $(ZSH_COMPLETION)
	$(COMPLETION) fish | $(KEEP) $(FISH_COMPLETION)

install-service: ## install the service for systemd, and an access file without rules if there is none
	sed 's|/usr/local/|$(PREFIX)/|' Sources/broker/broker.service | $(KEEP) $(UNIT)
	[ -e $(RULES) ] || echo 'version = 1' | $(KEEP) $(RULES)
	@echo "start it: systemctl daemon-reload && systemctl enable --now broker"

uninstall: ## remove what was installed; rules and keys in /etc/broker stay
	rm -f $(DESTDIR)$(PREFIX)/bin/broker $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION) \
		$(UNIT)

clean: ## remove everything that was built
	rm -rf .build .build-asan .build-tsan .build-fuzz .build-bench .build-sim

packages:
	@.ci/packages

test-packages:
	@.ci/packages tests
