# Plain lines: each can be typed by hand, and make is never required.

.PHONY: run test lint bench fuzz

# Serves the example mapping on this machine, with a certificate made on the spot.
run:
	cargo run --release -- serve --mapping docs/mapping.example.yaml

# Every test. The first time it builds a Kubernetes API server and Helm; then those against the oldest one that is supported.
test:
	./tests/kube/build
	cargo test --all-targets
	cargo test --doc
	KUBE_APISERVER=kube-apiserver-1.30 cargo test --test api_server

# Formatting, lints, documentation, licences.
lint:
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps
	./tests/lint-dependencies

# Speed and growth; read the ratios within one run.
bench:
	cargo bench
	./benches/memory

# Fuzzes each target for SECONDS (60).
SECONDS ?= 60
fuzz:
	./fuzz/run $(SECONDS)
