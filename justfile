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

# Upgrade a cluster under load from the commit REV to this tree, back and up again, then finalize.
compat REV *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    root=$PWD
    tree=$root/target/compat/tree
    commit=$(git rev-parse --verify '{{REV}}^{commit}')
    if [ -e "$tree/.git" ]; then
      git -C "$tree" checkout --quiet --detach "$commit"
    else
      git worktree add --force --detach "$tree" "$commit"
    fi
    # The same profile for both: fast enough for a cluster on a small machine, checks included. One
    # target directory, so that dependencies that have not changed are built once.
    export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
    export CARGO_TARGET_DIR=$root/target/compat/build
    keep() { mkdir -p "target/compat/$1" && cp "$CARGO_TARGET_DIR"/debug/lograft{,-node} "target/compat/$1/"; }
    (cd "$tree" && cargo build -p lograft-node -p lograft --bins)
    keep old
    cargo build -p lograft-node -p lograft --bins --example prove
    keep new
    exec "$CARGO_TARGET_DIR/debug/examples/prove" compat {{ARGS}} \
      --old-node target/compat/old/lograft-node --old-cli target/compat/old/lograft \
      --new-node target/compat/new/lograft-node --new-cli target/compat/new/lograft

# Break safety lines one at a time and check that a test notices each. Takes hours; not in the gate.
mutants *ARGS:
    cargo run --quiet -p lograft --example mutants -- {{ARGS}}
