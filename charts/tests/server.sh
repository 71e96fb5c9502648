# The part of test.sh that needs an API server; sourced by test.sh.
# shellcheck shell=bash

readonly DEFINITION=crd/logclusters.lograft.io WATCHED=(lograft-chart-a lograft-chart-b)

remove_all() {
  helm uninstall lograft --namespace "$NAMESPACE" >/dev/null 2>&1 || true
  kubectl delete --ignore-not-found --wait=false "$DEFINITION" crd/logtopics.lograft.io \
    crd/logusers.lograft.io >/dev/null 2>&1 || true
  kubectl delete --ignore-not-found --wait=false namespace "$NAMESPACE" "${WATCHED[@]}" \
    >/dev/null 2>&1 || true
}

# CRDs of another installation must not be removed.
begin_server() {
  kubectl get --raw /readyz --request-timeout=10s >/dev/null || return 1
  if kubectl get "$DEFINITION" >/dev/null 2>&1; then
    echo "$DEFINITION already exists: this server is in use; use another one"
    return 1
  fi
  trap remove_all EXIT
  local name
  for name in "$NAMESPACE" "${WATCHED[@]}"; do
    kubectl create namespace "$name"
    kubectl label namespace "$name" \
      pod-security.kubernetes.io/{enforce,warn}=restricted
  done >/dev/null
}

# The server accepts every rendered object without warnings: no unknown field, no violation of
# PodSecurity.
test_admission() {
  local file text
  for file in tests/renders/*.yaml; do
    if ! text=$(render "$file" "$(head_of "$file" on-server)" |
      kubectl apply --server-side --dry-run=server --filename - 2>&1); then
      fail "$file (server)" "$text"
    elif grep -q '^Warning' <<<"$text"; then
      fail "$file (server)" "$text"
    else
      pass
    fi
  done
}

# may ANSWER NAMESPACE VERB RESOURCE...: checks a permission of the operator's ServiceAccount.
may() {
  local answer=$1 namespace=$2 said
  shift 2
  said=$(kubectl auth can-i "$@" --namespace "$namespace" \
    --as "system:serviceaccount:$NAMESPACE:lograft-operator" 2>/dev/null) || true
  if [[ "$said" == "$answer" ]]; then pass; else fail "may $* in $namespace" "$said"; fi
}

# Permissions that hold for every installation.
test_permissions() {
  local watched=${WATCHED[0]}
  may yes "$watched" list logclusters.lograft.io
  may yes "$watched" patch logclusters.lograft.io --subresource status
  may yes "$watched" patch logtopics.lograft.io
  may yes "$watched" patch logtopics.lograft.io --subresource status
  may yes "$watched" get "namespaces/$watched"
  may yes "$watched" patch logusers.lograft.io
  may yes "$watched" patch logusers.lograft.io --subresource status
  may yes "$watched" update logusers.lograft.io --subresource finalizers
  may no "$watched" create logusers.lograft.io
  may no "$watched" delete logusers.lograft.io
  may no "$watched" create logtopics.lograft.io
  may no "$watched" delete logtopics.lograft.io
  may yes "$watched" create secrets
  may yes "$watched" patch secrets
  may yes "$watched" delete pods
  may yes "$watched" create events
  may no "$watched" delete secrets
  may no "$watched" update logclusters.lograft.io
  may yes "$watched" create pods --subresource eviction
  may no "$watched" create pods
  may no "$watched" create pods --subresource exec
  may yes "$watched" delete persistentvolumeclaims
  may no "$watched" create persistentvolumeclaims
  may no "$watched" delete logclusters.lograft.io
  # The nodes have a Role to watch EndpointSlices. Nothing can be granted that the operator may not.
  may yes "$watched" create rolebindings.rbac.authorization.k8s.io
  may no "$watched" bind roles.rbac.authorization.k8s.io
  may no "$watched" escalate roles.rbac.authorization.k8s.io
  may no "$watched" get leases.coordination.k8s.io/lograft-operator
  may yes "$NAMESPACE" create leases.coordination.k8s.io
  may yes "$NAMESPACE" update leases.coordination.k8s.io/lograft-operator
  may no "$NAMESPACE" update leases.coordination.k8s.io/another
}

release() {
  local action=$1
  shift
  helm "$action" lograft "${1:-$CHART}" --namespace "$NAMESPACE" "${@:2}" 2>&1
}

# step NAME COMMAND...: passes if the command succeeds.
step() {
  local name=$1 text
  shift
  if text=$("$@" 2>&1); then pass; else fail "$name" "$text"; fi
}

short_names() { kubectl get "$DEFINITION" -o 'jsonpath={.spec.names.shortNames}'; }

# says NAME WANTED COMMAND...: passes if the output of the command is WANTED.
says() {
  local name=$1 wanted=$2 said
  shift 2
  said=$("$@" 2>&1) || true
  if [[ "$said" == "$wanted" ]]; then pass; else fail "$name" "$said, not $wanted"; fi
}

# Upgrade of a release with another CRD; then uninstall and reinstall.
test_release() {
  local older
  older=$(mktemp -d)
  cp -r "$CHART" "$older"
  sed -i 's/^    - lc$/    - lcold/' "$older/$CHART"/files/crds/logclusters.yaml
  step "install" release install "$older/$CHART"
  rm -rf "$older"
  says "short name before the upgrade" '["lcold"]' short_names
  step "upgrade" release upgrade
  says "short name after the upgrade" '["lc"]' short_names
  kubectl wait --for=condition=Established "$DEFINITION" --timeout=30s >/dev/null
  step "sample" kubectl --namespace "${WATCHED[0]}" apply -f ../kind/samples/minimal.yaml
  step "sample of a topic" kubectl --namespace "${WATCHED[0]}" apply -f ../kind/samples/topic.yaml
  step "sample of a user" kubectl --namespace "${WATCHED[0]}" apply -f ../kind/samples/user.yaml
  test_permissions
  may yes default list secrets

  step "upgrade to namespaces" release upgrade "$CHART" --values tests/renders/namespaces.yaml
  test_permissions
  may no default list secrets
  may no default list logclusters.lograft.io
  may no default list logtopics.lograft.io
  may no default list logusers.lograft.io
  may no default get namespaces/default
  may no "$NAMESPACE" list secrets

  step "uninstall" helm uninstall lograft --namespace "$NAMESPACE"
  says "the log after uninstalling" logcluster.lograft.io/lograft \
    kubectl --namespace "${WATCHED[0]}" get logclusters -o name
  step "install again" release install
}

# The ClusterRoles edit and view of a namespace include LogClusters (aggregated by the API server).
test_users() {
  local view="auth can-i --as=viewer --namespace ${WATCHED[0]}"
  kubectl create rolebinding viewer --clusterrole=view --user=viewer \
    --namespace "${WATCHED[0]}" >/dev/null
  kubectl create rolebinding editor --clusterrole=edit --user=editor \
    --namespace "${WATCHED[0]}" >/dev/null
  # The controller aggregates asynchronously.
  sleep 2
  # shellcheck disable=SC2086 # word splitting is intended
  {
    says "viewer lists" yes kubectl $view list logclusters.lograft.io
    says "viewer creates" no kubectl $view create logclusters.lograft.io
    says "editor creates" yes kubectl ${view/viewer/editor} create logclusters.lograft.io
    says "viewer lists topics" yes kubectl $view list logtopics.lograft.io
    says "viewer creates topics" no kubectl $view create logtopics.lograft.io
    says "editor creates topics" yes kubectl ${view/viewer/editor} create logtopics.lograft.io
    says "editor writes a topic's status" no kubectl ${view/viewer/editor} patch \
      logtopics.lograft.io --subresource status
    says "viewer lists users" yes kubectl $view list logusers.lograft.io
    says "viewer creates users" no kubectl $view create logusers.lograft.io
    says "editor creates users" yes kubectl ${view/viewer/editor} create logusers.lograft.io
    says "editor writes a user's status" no kubectl ${view/viewer/editor} patch \
      logusers.lograft.io --subresource status
    says "editor scales" yes kubectl ${view/viewer/editor} patch logclusters.lograft.io \
      --subresource scale
    says "editor writes status" no kubectl ${view/viewer/editor} patch logclusters.lograft.io \
      --subresource status
  }
}

test_server() {
  if ! begin_server; then
    fail "API server" "not usable"
    return
  fi
  test_admission
  test_release
  test_users
}
