# Shared by up.sh and down.sh, which source it.
# shellcheck shell=bash

# The name in cluster.yaml.
readonly CLUSTER=lograft

# need PROGRAM...: lists missing programs and exits if there are any.
need() {
  local program missing=0
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    missing=1
    case $program in
      kind) echo "missing: kind (https://kind.sigs.k8s.io/docs/user/quick-start)" ;;
      docker) echo "missing: docker (https://docs.docker.com/engine/install)" ;;
      kubectl) echo "missing: kubectl (https://kubernetes.io/docs/tasks/tools)" ;;
      helm) echo "missing: helm (https://helm.sh/docs/intro/install)" ;;
      just) echo "missing: just (cargo install just)" ;;
      *) echo "missing: $program" ;;
    esac
  done >&2
  [[ "$missing" -eq 0 ]] || exit 2
}

exists() { kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; }
