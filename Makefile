# These are plain lines: each can be typed by hand, and make is never required.

.PHONY: run test lint bench fuzz mutants chaos chart image

# Serves the example mapping on this machine, with a certificate made on the spot.
run:
	cargo run --release -- serve --mapping docs/mapping.example.yaml

# Runs every test. The first run builds Kubernetes, containerd and Helm, and installs moto. The tests against the oldest
# supported API server, and those on a real node, come last. This machine becomes the node for that time,
# which takes Linux and root. With KUBECONFIG and IMAGE they run on a cluster of your own; NODE=0 leaves them
# out.
NODE ?= 1
test:
	./tests/kube/build $(if $(filter 0,$(NODE)),,node)
	./tests/moto/build
	cargo test --all-targets
	cargo test --doc
	cargo test --test api_server
	KUBE_APISERVER=kube-apiserver-1.30 cargo test --test api_server
	[ "$(NODE)" = 0 ] || cargo test --test node

# Runs the tests on the node with faults of FAULT_SECONDS (60) each, and 5,000 ServiceAccounts, and prints
# what was measured.
FAULT_SECONDS ?= 60
chaos:
	FAULT_SECONDS=$(FAULT_SECONDS) cargo test --test node -- --nocapture

# Makes the schema of the mapping, also in the chart's values.schema.json, then the chart's README, and the
# plain manifests in deploy/.
chart:
	./charts/schema
	./charts/readme >charts/gitlab-iam-webhook/README.md
	./deploy/make

# Makes the image for this machine's architecture as an archive, target/image.tar, without the Dockerfile's
# build stage, which needs a container engine. With such an engine, run docker buildx build --platform
# linux/amd64,linux/arm64 .
image:
	./tests/node/binary
	./tests/node/image gitlab-iam-webhook:dev target/image.tar

# Checks formatting, lints, documentation and licences.
lint:
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	cargo clippy --test api_server --test node --bench report -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps
	./tests/lint-dependencies

# Measures what the webhook costs beside what people would use instead, and writes docs/benchmarks.md and its
# pictures. It takes 25 minutes, after it has built what it measures. make bench SECTIONS="server memory"
# measures these alone. The variable PEER of the environment puts another webhook into the tables of the section `cluster`:
# benches/report/cluster/peer.rs tells how. It fails where a call takes more instructions than
# benches/respond/instructions.json says.
bench:
	./benches/report/build $(SECTIONS)
	./benches/respond/count
	cargo bench --bench report -- $(SECTIONS)

# Changes the engine word by word and says which changes no test notices, as .cargo/mutants.toml describes. It
# takes hours in all, so it takes one SHARD of many: 0/8 is the first of eight. A change that lives needs a
# test, or a reason in that file.
SHARD ?= 0/8
mutants:
	cargo mutants --version >/dev/null 2>&1 || cargo install cargo-mutants --locked --version 27.1.0
	cargo mutants --shard $(SHARD) --baseline skip --timeout 120 --output target

# Fuzzes each target for SECONDS (60).
SECONDS ?= 60
fuzz:
	./fuzz/run $(SECONDS)
