#!/usr/bin/env bash
# Removes what kind/up.sh made: the cluster with all that is in it. Images stay with docker.
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
