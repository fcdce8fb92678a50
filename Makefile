# The two commands of a newcomer: `make demo` and `make test`. `make help` lists the rest.

PREFIX ?= /usr/local
CARGO ?= cargo
APT := $(shell command -v apt-get 2>/dev/null)
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo 2>/dev/null)

.PHONY: help demo test unit interop interop-full interop-matrix interop-yarn interop-kubernetes restarts-100 disk-failures soak page \
	spark-suites fuzz fuzz-smoke nightly lint docs deny bench bench-jobs bench-spark cost floor guard guard-update release install dist packages alerts systemd \
	setup setup-alerts setup-build setup-deny setup-dist setup-guard setup-page setup-strip

help: ## what there is
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# What comes is said before anything else is done: a first build is long.
demo: ## proves the whole path on loopback with generated secrets and data
	@echo "This builds sealed-shuffle and then lets it prove on loopback that blocks travel sealed and arrive whole."
	@echo "The first build takes about ten minutes on two processors and 2 GB of the disk, a later one seconds; the proof takes"
	@echo "some seconds. It needs Rust (rustup fetches the release that rust-toolchain.toml names) and a C compiler."
	@$(MAKE) --no-print-directory setup-build
	@$(CARGO) run --bin sealed-shuffle -- demo
	@echo "The program is target/debug/sealed-shuffle. The README's quick start goes on with it."

test: setup unit interop ## installs what the tests need and runs all of them, real Spark included

# Everything but the interop tests, for all that builds it: with other packages there would be other features, and much
# would be built twice.
OURS = --workspace --exclude sealed-shuffle-interop-tests

unit: setup-build ## everything but real Spark
	$(CARGO) test $(OURS) --all-targets --no-run
	$(CARGO) test $(OURS) --lib --bins --examples --benches
	$(CARGO) test $(OURS) $(addprefix --test ,$(UNIT_ALONE))
	$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs $(JOBS) $(UNIT_PROGRAMS) .unit-doc

# Programs of tests run side by side, since most of them wait more than they compute: for a disk, for a deadline, for Java. Not
# those that compare times or memory.
JOBS ?= 2
UNIT_ALONE = bandwidth crowd memory
test_programs = $(basename $(patsubst $(1)/%,%,$(patsubst %/main.rs,%,$(wildcard $(1)/*.rs $(1)/*/main.rs))))
UNIT_PROGRAMS = $(addprefix .unit-,$(filter-out $(UNIT_ALONE),$(sort $(foreach dir,$(filter-out interop-tests/%,$(wildcard tests */tests)),$(call test_programs,$(dir))))))

.unit-doc:
	@$(CARGO) test $(OURS) --doc

.unit-%:
	@$(CARGO) test $(OURS) --test $*

# The binary for the tests, with the very dependencies that `make unit` has built: a plain build would want them with
# other features, and compile most of them again.
OUR_BINARY = $(CARGO) test --quiet $(OURS) --test cli --no-run

# SPARK_HOME counts where it is given to `make interop`, not where it stands in the environment.
SPARKS :=
ifeq ($(MAKECMDGOALS) $(origin SPARK_HOME),interop command line)
SPARKS += --spark-home $(SPARK_HOME)
endif
ifeq ($(MAKECMDGOALS) $(origin SPARK_VERSION),interop command line)
SPARKS += $(addprefix --spark-version ,$(SPARK_VERSION))
endif
ifeq ($(MAKECMDGOALS) $(origin JAVA),interop command line)
SPARKS += --java $(JAVA)
endif

interop: setup ## a representative part of the matrix; with SPARK_HOME=DIR or SPARK_VERSION=4.1.4 every mode of that Spark
	$(OUR_BINARY)
ifneq ($(SPARKS),)
	$(CARGO) run --quiet --package sealed-shuffle-interop-tests --bin sealed-shuffle-interop -- \
		run $(SPARKS) --json target/interop.json --junit target/interop.xml
else
	$(CARGO) test --package sealed-shuffle-interop-tests --no-run
	$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs $(JOBS) $(INTEROP_PROGRAMS)
	@cat target/spark-suites/summary/*
endif

# What takes longest is first, one that runs whole applications (two of them run at a time, in all programs together) before
# one that runs none.
INTEROP_FIRST = all_modes spark_suites push_shuffle tenants application matrix restarts
INTEROP_TESTS = $(call test_programs,interop-tests/tests)
INTEROP_PROGRAMS = $(addprefix .interop-test-,$(INTEROP_FIRST) $(filter-out $(INTEROP_FIRST),$(INTEROP_TESTS))) .interop-rest

.interop-test-%:
	@$(CARGO) test --package sealed-shuffle-interop-tests --test $* $(if $(filter $*,$(SLOW_TOO)),-- --include-ignored)

# Programs with tests that are ignored since they are slow and rarely red.
INTEROP_SLOW = $(basename $(notdir $(shell grep -l 'make nightly"' interop-tests/tests/*.rs)))

.interop-rest:
	@$(CARGO) test --package sealed-shuffle-interop-tests --lib --bins
	@$(CARGO) test --package sealed-shuffle-interop-tests --doc

interop-full: export SEALED_SHUFFLE_MATRIX = full
interop-full: export SLOW_TOO = $(INTEROP_SLOW)
interop-full: interop ## the whole matrix, and what is slow and rarely red

interop-matrix: export SEALED_SHUFFLE_MATRIX = full
interop-matrix: setup ## every mode of Spark 2.4 to 4.3 in both roles, as a table (target/interop-matrix.md)
	$(OUR_BINARY)
	$(CARGO) test --package sealed-shuffle-interop-tests --test matrix --test pem_clients
	@cat target/interop-matrix.md

# One application, which is asked after each restart what it did again.
restarts-100: export SEALED_SHUFFLE_RESTARTS = 200
restarts-100: export SEALED_SHUFFLE_RESTARTS_APART = 0
restarts-100: setup ## a hundred rounds of a drain and a kill under an application that pushes
	$(OUR_BINARY)
	$(CARGO) test --package sealed-shuffle-interop-tests --test restarts -- --exact --nocapture \
		restarts_under_an_application_that_pushes_cost_no_stage_retry

disk-failures: export SEALED_SHUFFLE_DISK_FAILURES = all
disk-failures: setup ## a disk of three fails under a Spark job, in each way in which disks fail
	$(OUR_BINARY)
	$(CARGO) test --package sealed-shuffle-interop-tests --test faulty_disks -- --nocapture

soak: setup ## five minutes (SEALED_SHUFFLE_SOAK=SECONDS) of restarts, disk failures and rotations under real Spark
	$(OUR_BINARY)
	$(CARGO) test --package sealed-shuffle-interop-tests --test soak -- --ignored --nocapture

interop-yarn: export SEALED_SHUFFLE_YARN = required
interop-yarn: setup ## a YARN cluster on hosts of their own: push, restarts, health, applications apart (root alone)
	$(OUR_BINARY)
	$(CARGO) test --package sealed-shuffle-interop-tests --test yarn_cluster -- --include-ignored --nocapture

# The first run builds the cluster's daemons, with Go, in some ten minutes of two cores.
interop-kubernetes: export SEALED_SHUFFLE_KUBERNETES = required
interop-kubernetes: setup setup-strip ## a Kubernetes cluster in name spaces of its own, with what deploy/ holds (root alone)
	$(OUR_BINARY)
	$(CARGO) test --package sealed-shuffle-interop-tests --test kubernetes -- --include-ignored --nocapture
	cd interop-tests/kubernetes/chart && go test ./...

page: export SEALED_SHUFFLE_PAGE = required
page: setup-page ## the operator's page in a browser (installs Chromium and playwright-core)
	$(CARGO) test --package sealed-shuffle --test page -- --nocapture

spark-suites: export SEALED_SHUFFLE_SUITES = required
spark-suites: setup ## Spark's own published suites, on our server and, as the control, on Spark's own
	$(OUR_BINARY)
	$(CARGO) test --package sealed-shuffle-interop-tests --test spark_suites -- --include-ignored
	@cat target/spark-suites/summary/*

FUZZ_TARGETS = $(basename $(notdir $(wildcard protocol/fuzz/fuzz_targets/*.rs)))
# libFuzzer wants a nightly compiler (rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz). New
# inputs go below protocol/fuzz/target; what is worth keeping is copied into the corpus by hand.
FUZZ = cd protocol/fuzz && mkdir -p $(FUZZ_TARGETS:%=target/corpus/%) && cargo +nightly fuzz run --fuzz-dir . --sanitizer $(or $(SANITIZER),address)

fuzz-smoke: setup-build ## a minute of each fuzz target
	@for target in $(FUZZ_TARGETS); do \
		( $(FUZZ) $$target target/corpus/$$target corpus/$$target -- -max_total_time=60 ) || exit 1; \
	done

fuzz: setup-build ## fuzzes one target until it is stopped (TARGET=frame, ARGS=-jobs=4)
	$(FUZZ) $(TARGET) target/corpus/$(TARGET) corpus/$(TARGET) -- $(ARGS)

nightly: setup-deny interop-full ## all of that, and known faults of dependencies
	$(CARGO) deny check advisories

lint: setup-build setup-deny ## formatting, clippy, documentation, features, licences and sources of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) fetch --locked
	$(CARGO) deny --offline check bans licenses sources
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) check --package sealed-shuffle --no-default-features
	$(CARGO) check --package sealed-shuffle --no-default-features --features program
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

docs: export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
docs: setup-build ## the book, in target/book (installs mdbook where it is absent)
	@command -v mdbook >/dev/null || $(CARGO) install --locked mdbook
	mdbook build docs

# Known faults (advisories) come from a network, and change without a change of ours: `make lint` leaves them out.
deny: setup-deny ## licences, bans, sources and known faults of dependencies
	$(CARGO) deny check

bench: ## codec, ciphers, index, loopback fetch
	$(CARGO) bench --package sealed-shuffle

cost: setup ## CPU and memory beside Spark's own service, same client, alternating (ARGS=--cold: both just started)
	$(CARGO) build --release --package sealed-shuffle --bin sealed-shuffle
	$(CARGO) bench --package sealed-shuffle-interop-tests --bench serve_cost -- $(ARGS)

floor: export SEALED_SHUFFLE_BIN = $(CURDIR)/target/release/sealed-shuffle
floor: setup-build ## what reading, ciphering and writing must cost here, and our server beside it (ARGS=--json)
	$(CARGO) build --release --package sealed-shuffle --bin sealed-shuffle
	$(CARGO) bench --package sealed-shuffle --bench floor -- $(ARGS)

# The same packages and profile as `make unit`, so that nothing is built twice.
GUARD = $(CARGO) test --quiet $(OURS) --bench guard --

guard: setup-guard ## counts instructions on the hot paths; a tenth more than the baseline fails
	$(GUARD) check

guard-update: setup-guard ## writes the baseline of `make guard` anew
	$(GUARD) update

# The program that starts jobs takes no part in them: it is built as the tests are.
bench-jobs: setup ## whole jobs without a service, with Spark's own and with ours, in turns: benches/JOBS.md (ARGS="--results")
	$(CARGO) build --release --package sealed-shuffle --bin sealed-shuffle
	SEALED_SHUFFLE_BIN=$(CURDIR)/target/release/sealed-shuffle $(CARGO) test --package sealed-shuffle-interop-tests --bench jobs -- $(ARGS)

bench-spark: setup ## all of it beside Spark's own service: docs/results.md with its picture (20 minutes)
	$(CARGO) build --release --package sealed-shuffle --bin sealed-shuffle
	$(CARGO) bench --package sealed-shuffle-interop-tests --bench serve_cost -- --results --pairs 10 $(ARGS)

# A program without what debuggers need, and that beside it: it is found by the link in the program (`.gnu_debuglink`).
# objcopy does it the same way on every release of cargo.
DIST = target/dist

release: setup-build setup-strip ## builds a release: target/dist/sealed-shuffle, and its debug file beside it
	$(CARGO) build --release --package sealed-shuffle --bin sealed-shuffle
	mkdir -p $(DIST)
	objcopy --only-keep-debug --compress-debug-sections target/release/sealed-shuffle $(DIST)/sealed-shuffle.debug
	chmod 0644 $(DIST)/sealed-shuffle.debug
	objcopy --strip-all --add-gnu-debuglink=$(DIST)/sealed-shuffle.debug target/release/sealed-shuffle $(DIST)/sealed-shuffle

install: release ## the same, installed below PREFIX
	install -D -m 0755 $(DIST)/sealed-shuffle $(DESTDIR)$(PREFIX)/bin/sealed-shuffle
	install -D -m 0644 $(DIST)/sealed-shuffle.debug $(DESTDIR)$(PREFIX)/bin/sealed-shuffle.debug

# All that a release consists of, in target/packages. The first target is one whose programs run here.
TARGETS ?= $(shell uname -m)-unknown-linux-gnu

dist: ## builds what a release consists of: tarball, .deb, .rpm, SBOM, checksums (TARGETS=aarch64-…)
	@deploy/packages/dist --able $(TARGETS)
	@$(MAKE) --no-print-directory setup-dist
	CARGO=$(CARGO) deploy/packages/dist $(TARGETS)

packages: ## packs each library as it would be published (target/package), without building it
	$(CARGO) package --locked --no-verify --allow-dirty $(addprefix --package sealed-shuffle-,protocol config transport client)

systemd: export SEALED_SHUFFLE_SYSTEMD = required
systemd: export SEALED_SHUFFLE_DEB = $(abspath $(DEB))
systemd: setup-build ## the unit, and with DEB=FILE the package, under a real systemd in name spaces of its own (root alone)
	$(CARGO) test $(OURS) --test installed -- --nocapture service::

alerts: export SEALED_SHUFFLE_ALERTS = required
alerts: setup-alerts setup-build ## checks the alerts and the metrics page with promtool, and runs the tests of the alerts
	$(CARGO) test $(OURS) --test installed -- --nocapture alerts::

# A C compiler for aws-lc and the linker.
setup-build:
	@command -v cc >/dev/null || $(MAKE) --no-print-directory .apt-build-essential

# Checks licences and sources of dependencies. The version is fixed: another one may judge otherwise. Not optimized, since
# it runs for a second and is built once.
setup-deny: setup-build
	@$(CARGO) deny --version >/dev/null 2>&1 || \
		CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install --quiet --locked --debug cargo-deny@0.20.2

# The versions are fixed: another one may pack other bytes. zig is the C compiler and the linker: it knows every C library.
# The tools themselves are hardly optimized: each runs for seconds.
DIST_TOOLS = target/tools/python
DIST_INSTALL = CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_OPT_LEVEL=1 $(CARGO) install --quiet --locked --debug

setup-dist: setup-build setup-strip
	@$(CARGO) deb --version >/dev/null 2>&1 || $(DIST_INSTALL) cargo-deb@3.8.0
	@$(CARGO) generate-rpm --version >/dev/null 2>&1 || $(DIST_INSTALL) cargo-generate-rpm@0.21.1
	@$(CARGO) cyclonedx --version >/dev/null 2>&1 || $(DIST_INSTALL) cargo-cyclonedx@0.5.9
	@python3 -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory .apt-python3-pip
	@[ -x $(DIST_TOOLS)/bin/cargo-zigbuild ] || \
		python3 -m pip install --quiet --no-deps --target $(DIST_TOOLS) cargo-zigbuild==0.24.1 ziglang==0.17.1

# promtool is in Debian's package prometheus, whose server nobody wants here: it is unpacked and not installed.
PROMTOOL = $(or $(shell command -v promtool),$(CURDIR)/target/tools/prometheus/usr/bin/promtool)

setup-alerts:
	@[ -x $(PROMTOOL) ] || { \
		[ -n "$(APT)" ] || { echo "install promtool (Prometheus) with your package manager"; exit 1; }; \
		$(SUDO) apt-get update -q && mkdir -p target/tools/prometheus && cd target/tools && \
		apt-get download prometheus && dpkg-deb -x prometheus_*.deb prometheus; }

# objcopy parts a program from what debuggers need.
setup-strip:
	@command -v objcopy >/dev/null || $(MAKE) --no-print-directory .apt-binutils

# Valgrind counts instructions.
setup-guard: setup-build
	@command -v valgrind >/dev/null || $(MAKE) --no-print-directory .apt-valgrind

# A browser, and what drives it.
setup-page: setup-build
	@command -v chromium >/dev/null || $(MAKE) --no-print-directory .apt-chromium
	@command -v npm >/dev/null || $(MAKE) --no-print-directory .apt-npm
	@mkdir -p target/tmp/page && cp tests/page/package.json target/tmp/page/ && \
		cd target/tmp/page && npm install --silent --no-audit --no-fund

# Spark 2.4 to 4.3 runs on Java 17; PySpark comes through pip, the test jars of Spark through Maven.
setup: setup-build
	@for jdk in "$$JAVA_HOME" /usr/lib/jvm/*17*; do [ -x "$$jdk/bin/javac" ] && exit 0; done; \
		$(MAKE) --no-print-directory .apt-openjdk-17-jdk-headless
	@python3 -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory .apt-python3-pip
	@command -v mvn >/dev/null || $(MAKE) --no-print-directory .apt-maven

.apt-%:
	@[ -n "$(APT)" ] || { echo "install $* with your package manager: the tests need it"; exit 1; }
	$(SUDO) apt-get update -q
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $*
