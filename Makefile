# The verbs of the house. `make local` starts Trivet, `make test` passes its tests.

# One profile and one fixed folder for everything, so that RocksDB's C++ compiles once.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/trivet-target
CARGO := cargo
RELEASE := --release
BIN := $(CARGO_TARGET_DIR)/release

SEEDS ?= 2000
KILLS ?= 200
# How many of them every change must survive.
TEST_KILLS ?= 15
# How long each target is fed hostile input; a second of it is part of `unit`.
FUZZ_MS ?= 60000
# How long `make chaos` goes on, and what every change must survive.
MINUTES ?= 20
TEST_CHAOS_MINUTES ?= 0.7
# Every change is judged by the same plan of faults, so that a failure is the change's and not the dice's; `make chaos` throws them anew.
TEST_CHAOS_SEED ?= 1
IMAGE ?= trivet:dev
# Speaks kind's verbs where there is no kind.
KIND := $(or $(shell command -v kind),e2e/cluster/cluster)
LISTEN ?= 127.0.0.1:8000
DATA ?= ./trivet-data
PORCUPINE := $(CARGO_TARGET_DIR)/porcupine/porcupine
DYNALITE_FOLDER := $(CARGO_TARGET_DIR)/dynalite

.PHONY: crds kills local test verify fix lint unit sdk sim mutants fuzz crash chaos bench bench-failures bench-operator profile deny advisories setup setup-test setup-profile \
	setup-chaos setup-dynalite setup-cluster image cluster cluster-test chart e2e

# Starts Trivet: three zones, DynamoDB's API on LISTEN, data in DATA.
local: setup
	$(CARGO) build $(RELEASE) -p trivet
	exec $(BIN)/trivet local --listen $(LISTEN) --data $(DATA)

# Everything that must hold, ten minutes on a real Kubernetes cluster included (`make e2e` tells the whole story). From cold it took 33 minutes on
# two cores before Kubernetes was part of it, RocksDB's build most of them; the build of Kubernetes adds about ten. Needs root.
# The time of a take-over is `make crash`'s to judge: here other work may slow the machine.
# The binaries are those that `unit` has built: building them alone would choose other features and build much again.
test: setup setup-test setup-chaos setup-cluster lint unit
	/usr/bin/python3 e2e/chart/chart_test.py
	e2e/sdk/run $(BIN)/trivet
	$(BIN)/crash --trivet $(BIN)/trivet --kills $(TEST_KILLS) --gap-ms 15000
	e2e/kube/short $(BIN)/trivet $(CARGO_TARGET_DIR)/kube-logs
	cd e2e/porcupine && go vet ./... && go test ./...
	$(BIN)/chaos --trivet $(BIN)/trivet --porcupine $(PORCUPINE) --minutes $(TEST_CHAOS_MINUTES) --seed $(TEST_CHAOS_SEED)
	$(BIN)/bench --trivet $(BIN)/trivet --young --runs 1 --seconds 0.3 --warm-up 0 --connections 8 --items 400 --open 200 --open-scenario put

# The read-only gate of a change: the tests, and the licences of what we link.
verify: test deny

# The only target that rewrites files.
fix:
	$(CARGO) fmt
	$(CARGO) clippy $(RELEASE) --workspace --all-targets --fix --allow-dirty --allow-staged

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy $(RELEASE) --workspace --all-targets -- -D warnings
	$(CARGO) clippy $(RELEASE) -p sim -p replica --features sim/mutants --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RELEASE) --workspace --no-deps

# The second line puts known mistakes back, one at a time, and demands that the simulated worlds find them.
unit:
	$(CARGO) test $(RELEASE) --workspace
	$(CARGO) test $(RELEASE) -p sim --features mutants --test mutants

# The real binary under boto3 and the AWS CLI.
sdk: setup-test
	$(CARGO) build $(RELEASE) -p trivet
	e2e/sdk/run $(BIN)/trivet

# Many seeds of the simulated world: `make sim SEEDS=100000` for a night. Interrupted, the same command goes on where it was.
sim: setup
	$(CARGO) run $(RELEASE) -p sim -- --seeds $(SEEDS)

# Every known mistake, and what found it in how many seeds.
mutants: setup
	$(CARGO) run $(RELEASE) -p sim --features mutants -- --mutants

# The operator ends at each call that it makes, not only at a share of them as in `unit`.
kills: setup setup-cluster
	TRIVET_KILLS=all $(CARGO) test $(RELEASE) -p operator --test steady -- --nocapture ends_at_any_call

# The resource definitions of Kubernetes, from the types that read them.
crds: setup
	$(CARGO) run $(RELEASE) -p trivet -- operator crds --out crds
	mkdir -p charts/trivet/crds && cp crds/*.yaml charts/trivet/crds/

# Hostile input for everything that reads, a minute for each target: `make fuzz FUZZ_MS=60000`.
fuzz: setup
	BOLERO_RANDOM_TEST_TIME_MS=$(FUZZ_MS) $(CARGO) test $(RELEASE) --workspace --lib --test fuzz --test hostile hostile_

# Real processes, killed at random under a checking client: `make crash KILLS=200`.
crash: setup
	$(CARGO) build $(RELEASE) -p trivet -p e2e
	$(BIN)/crash --trivet $(BIN)/trivet --kills $(KILLS)

# Real processes under every fault, with a record that two checkers judge: `make chaos MINUTES=20 CHAOS="--seed 7"`. Needs root.
chaos: setup setup-chaos
	$(CARGO) build $(RELEASE) -p trivet -p e2e
	$(BIN)/chaos --trivet $(BIN)/trivet --porcupine $(PORCUPINE) --minutes $(MINUTES) $(CHAOS)

# What operations cost and how long they take on this machine, in ten minutes: `make bench BENCH="--scenario put --connections 64"`.
# `--full` varies sizes, keys and partitions; DYNALITE=1 measures dynalite with the same client, in turns.
bench: setup $(if $(DYNALITE),setup-dynalite)
	$(CARGO) build $(RELEASE) -p trivet -p e2e
	$(BIN)/bench --trivet $(BIN)/trivet $(if $(DYNALITE),--beside dynalite --dynalite $(DYNALITE_FOLDER)) $(BENCH)

# How long failures last, by real processes that are killed, in ten minutes: `make bench-failures FAILURES="--parts lost,killed"`.
# `--full` is what is promised for, in half an hour: partitions of 1 GB, 100 kills, a node away for 60 s.
bench-failures: setup
	$(CARGO) build $(RELEASE) -p trivet -p e2e
	$(BIN)/failures --trivet $(BIN)/trivet $(FAILURES)

# What the operator costs at ten thousand partitions: the real API server, nodes in memory, in ten minutes; then what is promised in seconds
# of a small cluster, on a real one, which needs root: `make bench-operator OPERATOR="--partitions 500"`. All is measured, whichever promise
# is broken. A test of trivet's brings its binary, with the features that `unit` chooses: nothing compiles twice.
bench-operator: setup setup-test setup-cluster
	$(CARGO) test $(RELEASE) --workspace --test flags --no-run
	broken=0; \
	$(CARGO) bench --profile release --workspace --bench size -- --trivet $(BIN)/trivet $(OPERATOR) || broken=1; \
	e2e/kube/run $(BIN)/trivet $(CARGO_TARGET_DIR)/kube-logs --numbers || broken=1; \
	exit $$broken

# Where the servers' time goes: flame graphs and a table of functions in ./profile: `make profile LOAD="--scenario strong-get"`.
profile: setup setup-profile
	$(CARGO) build $(RELEASE) -p trivet -p e2e
	$(BIN)/profile --trivet $(BIN)/trivet --out ./profile $(LOAD)

# What the parts cost, each by itself, with its allocations. The profile is named, or RocksDB would compile once more.
bench-rooms: setup
	$(CARGO) bench --profile release -p model -p replica -p router -p node --bench items --bench step --bench put_item --bench disk

# Licences, sources and duplicates of what we link.
deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check licenses bans sources

# Known vulnerabilities; needs the way to the advisory database.
advisories:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check advisories

# The image, compiled inside; `make image TRIVET=PATH` takes a binary that is built, by this image's Debian or an older one.
image:
	$(if $(TRIVET),e2e/image "$(TRIVET)" $(IMAGE),docker build -t $(IMAGE) .)

# A Kubernetes cluster of three zones on this machine, called trivet; `e2e/cluster/cluster --help` says what may befall it. Needs root.
cluster: setup-cluster
	$(KIND) create cluster --name trivet --config e2e/cluster/kind.yaml

# The tool that makes it: power cuts, lost volumes, and that nothing of it is left behind.
cluster-test: setup-cluster
	/usr/bin/python3 e2e/cluster/cluster_test.py

# The chart as Helm renders it: who may do what, who may talk to whom.
chart: setup-cluster
	/usr/bin/python3 e2e/chart/chart_test.py

# Trivet on a real Kubernetes cluster, from installation to uninstallation, under clients that count what they were promised. Needs root.
# `make e2e STORY="--only a_node_pod_is_deleted --keep"`; logs are kept in a folder when a chapter fails.
e2e: setup setup-test setup-cluster
	$(CARGO) build $(RELEASE) -p trivet
	$(if $(STORY),,e2e/kube/run $(BIN)/trivet $(CARGO_TARGET_DIR)/kube-logs --first-look)
	e2e/kube/run $(BIN)/trivet $(CARGO_TARGET_DIR)/kube-logs $(STORY)

# What a build needs beyond Rust: the C++ compiler and libclang, for RocksDB.
setup:
	@e2e/setup build

# What the tests need besides: boto3 and the AWS CLI.
setup-test:
	@e2e/setup test

# Network namespaces, disks in files, and the independent checker (Go).
setup-chaos:
	@e2e/setup chaos
	cd e2e/porcupine && go build -o $(PORCUPINE) .

# Kubernetes' programs from their Go modules (ten minutes on two cores, once), and Debian's packages that run them.
setup-cluster:
	@e2e/setup cluster
	@e2e/cluster/cluster install
	@e2e/cluster/cluster get binaries >/dev/null

# perf.
setup-profile:
	@e2e/setup profile

# What Trivet is compared with; Node.js 20 or newer.
setup-dynalite:
	@e2e/setup dynalite $(DYNALITE_FOLDER)
