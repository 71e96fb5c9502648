#!/usr/bin/env bash
# Deletes the cluster that kind/up.sh created, with everything in it. Images stay in docker.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=kind/cluster.sh
source kind/cluster.sh

need kind docker
if ! exists; then
  echo "there is no kind cluster $CLUSTER"
  exit 0
fi
kind delete cluster --name "$CLUSTER"
