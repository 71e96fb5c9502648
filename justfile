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
