# The image holds one static binary and nothing else: no shell, no libraries. No CA bundle either, because it speaks to the
# API server alone, whose CA is mounted into every Pod. For both architectures at once:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag gitlab-iam-webhook .

# On the building machine's own architecture for every target: an emulated compiler takes an hour. The version is that of
# rust-toolchain.toml, which is not copied, since it asks for clippy and rustfmt as well.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95.0-slim-bookworm AS build
ARG TARGETARCH

# There is C in aws-lc: the target's C compiler has to see musl's headers and not glibc's, as musl-dev's *-linux-musl-gcc does.
RUN case "$TARGETARCH" in \
        amd64) machine=x86_64 package=gcc-x86-64-linux-gnu ;; \
        arm64) machine=aarch64 package=gcc-aarch64-linux-gnu ;; \
        *) echo "no build for architecture '$TARGETARCH'" >&2; exit 1 ;; \
    esac \
    && echo "$machine" >/machine \
    && dpkg --add-architecture "$TARGETARCH" \
    && apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev "$package" "musl-dev:$TARGETARCH" \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$machine-unknown-linux-musl"

WORKDIR /source
COPY Cargo.toml Cargo.lock ./
# Cargo wants every target that the manifest names to exist.
COPY benches benches
COPY .cargo .cargo
COPY src src
# The binary and the chart have the same text of the policy.
COPY charts/gitlab-iam-webhook/files charts/gitlab-iam-webhook/files
# Each architecture has its own cache: two builds at once do not wait for each other.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=shared \
    --mount=type=cache,target=/target,id=gitlab-iam-webhook-$TARGETARCH,sharing=locked \
    machine=$(cat /machine) target=$machine-unknown-linux-musl \
    && linker=CARGO_TARGET_$(echo "$machine" | tr a-z A-Z)_UNKNOWN_LINUX_MUSL_LINKER \
    && env "CC_$(echo "$target" | tr - _)=$machine-linux-musl-gcc" "$linker=$machine-linux-gnu-gcc" \
        cargo build --release --locked --target "$target" --target-dir /target \
    && cp "/target/$target/release/gitlab-iam-webhook" /gitlab-iam-webhook

FROM scratch
LABEL org.opencontainers.image.title="gitlab-iam-webhook" \
    org.opencontainers.image.description="Admission webhook that gives GitLab's ServiceAccounts and Pods their AWS IAM roles" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /gitlab-iam-webhook /gitlab-iam-webhook
# mimalloc gives freed memory back after so many milliseconds, in place of a second, and asks for no huge pages: with its
# defaults the worst minute of docs/operating.md takes 55 MiB of the chart's 64.
ENV MIMALLOC_PURGE_DELAY=10 MIMALLOC_ALLOW_THP=0
# Nobody's number, and numeric, since that is all runAsNonRoot can check.
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/gitlab-iam-webhook"]
