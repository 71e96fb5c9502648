# Run every CI check. Changes nothing.
verify:
    .ci/run

# Apply automatic fixes.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Only the style rules: sizes, imports, names, wording, bans.
tidy:
    cargo test -p lograft-core --test tidy

# Start a local cluster with three nodes.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# Start a LogCluster with three nodes in a kind cluster with three zones, built from this tree.
kind-up:
    kind/up.sh

# Delete that cluster.
kind-down:
    kind/down.sh

# Run e2e cases against the API server of $KUBECONFIG, else one started from $KUBEBUILDER_ASSETS.
e2e *ARGS:
    cargo build --quiet -p lograft-operator
    cargo run --quiet -p lograft-e2e -- {{ARGS}}

# Test the chart over its matrix of values; needs helm.
chart-test:
    charts/test.sh

# Build the images of node and operator with the names that the chart and kind/up.sh expect.
images REPOSITORY="ghcr.io/lograft":
    #!/usr/bin/env bash
    set -euo pipefail
    version=$(sed -n 's/^appVersion: //p' charts/lograft/Chart.yaml)
    for program in node operator; do
      docker build --target "$program" --tag "{{REPOSITORY}}/lograft-$program:$version" .
    done
