# syntax=docker/dockerfile:1
# Images of the node and the operator: `just images` builds both.
#
#   docker build --target node .       lograft-node, and the CLI for `kubectl exec`
#   docker build --target operator .   lograft-operator
#
# Build output is kept in cache mounts, one per platform, so that a rebuild after a small change takes
# seconds. The final stages contain the programs and glibc: no shell, no root user; they run with a
# read-only root file system.

# Debian 12 in both stages: the programs need the glibc that they were linked with.
FROM rust:1.95-bookworm AS source
WORKDIR /src
COPY . .

FROM source AS build-node
ARG TARGETPLATFORM
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=lograft-target-$TARGETPLATFORM,sharing=locked \
    cargo build --release --locked -p lograft-node -p lograft \
 && install -D -t /out target/release/lograft-node target/release/lograft

FROM source AS build-operator
ARG TARGETPLATFORM
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=lograft-target-$TARGETPLATFORM,sharing=locked \
    cargo build --release --locked -p lograft-operator \
 && install -D -t /out target/release/lograft-operator

FROM gcr.io/distroless/cc-debian12:nonroot AS node
COPY --from=build-node /out/ /usr/local/bin/
# Numeric: for runAsNonRoot, kubelet cannot verify a user name.
USER 65532:65532
# Clients, peers, health and metrics.
EXPOSE 9400 9401 9402 9403
ENTRYPOINT ["lograft-node"]

FROM gcr.io/distroless/cc-debian12:nonroot AS operator
COPY --from=build-operator /out/ /usr/local/bin/
USER 65532:65532
# Health and metrics.
EXPOSE 8080
ENTRYPOINT ["lograft-operator"]
