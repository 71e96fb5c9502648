#!/usr/bin/env bash
# A LogCluster with three nodes in a kind cluster with three zones, built from this tree: builds the
# images, loads them, installs the chart, applies the minimal sample and waits until it is ready. A
# second run applies what has changed; kind/down.sh deletes everything.
#
# KIND_NODE_IMAGE: node image of kind, which sets the Kubernetes version; default: that of kind.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=kind/cluster.sh
source kind/cluster.sh

readonly NAMESPACE=lograft-system RELEASE=lograft
# Names of the images that `just images` builds.
readonly OPERATOR_IMAGE=ghcr.io/lograft/lograft-operator NODE_IMAGE=ghcr.io/lograft/lograft-node

kube() { kubectl --context "kind-$CLUSTER" "$@"; }

create() {
  exists && return
  local image=()
  [[ -n "${KIND_NODE_IMAGE:-}" ]] && image=(--image "$KIND_NODE_IMAGE")
  kind create cluster --config kind/cluster.yaml --wait 120s ${image[@]+"${image[@]}"}
}

# tag IMAGE: tags the image by its content, so that a changed build is rolled out.
tag() {
  local id
  id=$(docker image inspect --format '{{.Id}}' "$1:$version")
  id=${id#sha256:}
  docker tag "$1:$version" "$1:$version-${id:0:12}"
  echo "$version-${id:0:12}"
}

install() {
  helm upgrade --install "$RELEASE" charts/lograft --kube-context "kind-$CLUSTER" \
    --namespace "$NAMESPACE" --create-namespace --wait --timeout 3m \
    --set "image.repository=$OPERATOR_IMAGE,image.tag=$operator_tag" \
    --set "node.image.repository=$NODE_IMAGE,node.version=$node_tag"
}

# Diagnostics for a LogCluster that does not become ready.
dump() {
  kube get logclusters,statefulsets,pods,persistentvolumeclaims --output wide
  kube get events --sort-by .lastTimestamp | tail -n 30
  kube --namespace "$NAMESPACE" logs deployment/lograft-operator --tail 30
}

need kind docker kubectl helm just
if ! docker info >/dev/null 2>&1; then
  echo "docker does not answer: is its daemon running, and may you use it?" >&2
  exit 2
fi
version=$(sed -n 's/^appVersion: //p' charts/lograft/Chart.yaml)
just images
operator_tag=$(tag "$OPERATOR_IMAGE")
node_tag=$(tag "$NODE_IMAGE")
create
kind load docker-image --name "$CLUSTER" "$OPERATOR_IMAGE:$operator_tag" "$NODE_IMAGE:$node_tag"
install
kube apply -f kind/samples/minimal.yaml
if ! kube wait --for=condition=Ready --timeout=5m logcluster/lograft; then
  dump >&2
  exit 1
fi
kube get logclusters
echo "kubectl --context kind-$CLUSTER describe logcluster lograft"
