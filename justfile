# Everything that CI checks. Reads only.
verify:
    .ci/run

# Mends what a machine can mend.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Just the rules on shape: sizes, directions, names, bans.
tidy:
    cargo test -p lograft-core --test tidy

# A local cluster of three nodes.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# A log of three nodes in a kind cluster of three zones, from this tree.
kind-up:
    kind/up.sh

# Takes that cluster away.
kind-down:
    kind/down.sh

# Cases against the API server of $KUBECONFIG, else one started from $KUBEBUILDER_ASSETS.
e2e *ARGS:
    cargo build --quiet -p lograft-operator
    cargo run --quiet -p lograft-e2e -- {{ARGS}}

# The chart over its matrix of values; needs helm.
chart-test:
    charts/test.sh

# The images of the node and the operator, named as the chart and kind/up.sh expect them.
images REPOSITORY="ghcr.io/lograft":
    #!/usr/bin/env bash
    set -euo pipefail
    version=$(sed -n 's/^appVersion: //p' charts/lograft/Chart.yaml)
    for program in node operator; do
      docker build --target "$program" --tag "{{REPOSITORY}}/lograft-$program:$version" .
    done
