#!/usr/bin/env bash
# Renders the chart over a matrix of values: tests/renders must render, tests/refuses must fail.
#
#   charts/test.sh            needs helm
#   charts/test.sh --server   also uses the API server of $KUBECONFIG; needs kubectl. Use a test
#                             server: the chart is installed there and removed.
#
# A values file starts with lines that state the expected result:
#   # golden            the render equals tests/golden/<name>.yaml; LOGRAFT_GOLDEN=write updates it,
#                       and the diff is reviewed
#   # with-crds         CRDs are rendered too; otherwise they are omitted for brevity
#   # expects: TEXT     is in the render
#   # lacks: TEXT       is not in the render
#   # refusal: PATTERN  is in helm's error (grep -E, case-insensitive)
#   # release: NAME     instead of `lograft`
#   # on-server: K=V    value to set for an API server that lacks a required API
set -euo pipefail
cd "$(dirname "$0")"

readonly CHART=lograft NAMESPACE=lograft-chart-test
passed=0 failed=0

# need PROGRAM WHERE: reports a missing program and exits.
need() {
  command -v "$1" >/dev/null && return
  echo "missing: $1; get it from $2" >&2
  exit 2
}

# pass NAME, fail NAME WHY: count.
pass() { passed=$((passed + 1)); }
fail() {
  failed=$((failed + 1))
  echo "FAILED $1: $2"
}

# head_of FILE KEY: the values of the header lines with this key, one per line.
head_of() { sed -n "s/^# $2: //p" "$1"; }
has_mark() { grep -qx "# $2" "$1"; }

# render FILE [K=V]: the chart with these values.
render() {
  local release crds=(--set crds.install=false)
  release=$(head_of "$1" release)
  has_mark "$1" with-crds && crds=()
  helm template "${release:-lograft}" "$CHART" --namespace "$NAMESPACE" \
    ${crds[@]+"${crds[@]}"} --values "$1" --set "${2:-}"
}

# matches_golden NAME TEXT: whether TEXT equals the golden file.
matches_golden() {
  local path=tests/golden/$1.yaml
  [[ "${LOGRAFT_GOLDEN:-}" == write ]] && printf '%s\n' "$2" >"$path"
  diff -u "$path" <(printf '%s\n' "$2")
}

# objection FILE TEXT: why the render differs from the expectation; empty if it does not.
objection() {
  local file=$1 text=$2 line
  while IFS= read -r line; do
    grep -qF -- "$line" <<<"$text" || echo "lacks \"$line\""
  done < <(head_of "$file" expects)
  # Match whole words: `kind: Role` is not `kind: RoleBinding`.
  while IFS= read -r line; do
    grep -qE -- "(^|[^A-Za-z])$line(\$|[^A-Za-z])" <<<"$text" && echo "has \"$line\""
  done < <(head_of "$file" lacks)
  if has_mark "$file" golden; then
    matches_golden "$(basename "$file" .yaml)" "$text" || echo "differs from its golden file"
  fi
}

test_renders() {
  local file text why
  for file in tests/renders/*.yaml; do
    if ! text=$(render "$file" 2>&1); then
      fail "$file" "does not render: $text"
      continue
    fi
    why=$(objection "$file" "$text")
    if [[ -z "$why" ]]; then pass; else fail "$file" "$why"; fi
  done
}

test_refuses() {
  local file text pattern
  for file in tests/refuses/*.yaml; do
    pattern=$(head_of "$file" refusal)
    if [[ -z "$pattern" ]]; then
      fail "$file" "says no refusal"
    elif text=$(render "$file" 2>&1); then
      fail "$file" "renders"
    elif grep -qiE -- "$pattern" <<<"$text"; then
      pass
    else
      fail "$file" "no /$pattern/ in: $text"
    fi
  done
}

# Helm reads only files inside a chart, so the chart contains a copy of the CRDs.
test_copies() {
  local why version
  if why=$(diff -r ../crds/generated "$CHART/files/crds"); then
    pass
  else
    fail "files/crds" "is stale; run cp crds/generated/*.yaml charts/lograft/files/crds/: $why"
  fi
  version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' ../Cargo.toml)
  for key in version appVersion; do
    if grep -qx "$key: $version" "$CHART/Chart.yaml"; then
      pass
    else
      fail "Chart.yaml" "$key is not the workspace's, $version"
    fi
  done
}

test_lint() {
  local text
  if text=$(helm lint --strict --quiet "$CHART" 2>&1); then pass; else fail lint "$text"; fi
}

# notes ARGUMENT...: NOTES.txt as it is printed. It is not part of a render, and `helm install`
# needs a server also for a dry run, so a copy of the chart has it as an object.
notes() {
  local copy notes
  copy=$(mktemp -d)
  cp -r "$CHART" "$copy"
  notes=$copy/$CHART/templates/notes.yaml
  {
    echo '{{- define "notes" }}'
    cat "$CHART/templates/NOTES.txt"
    printf '{{ end }}\napiVersion: v1\nkind: ConfigMap\ndata:\n  notes: |\n'
    echo '{{ include "notes" . | indent 4 }}'
  } >"$notes"
  helm template lograft "$copy/$CHART" --namespace "$NAMESPACE" --show-only templates/notes.yaml \
    "$@" 2>&1 || true
  rm -rf "$copy"
}

# notes_have LINE... -- ARGUMENT...: checks lines of NOTES.txt.
notes_have() {
  local lines=() line text
  while [[ "$1" != -- ]]; do
    lines+=("$1")
    shift
  done
  text=$(notes "${@:2}")
  for line in "${lines[@]}"; do
    if grep -qF -- "$line" <<<"$text"; then pass; else fail NOTES.txt "lacks \"$line\": $text"; fi
  done
}

test_notes() {
  notes_have "rollout status deployment/lograft-operator" "helm test lograft -n $NAMESPACE" \
    "kubectl -n logs apply -f -" "LogClusters in logs, more." \
    "kubectl get crd logclusters.lograft.io logtopics.lograft.io logusers.lograft.io" \
    "Secret <name>-lograft-user" "kubectl explain loguser.spec" "kubectl explain logtopic.spec" \
    -- --set 'watchNamespaces={logs,more}' --set crds.install=false
  notes_have "LogClusters in all namespaces." "kubectl -n default apply -f -" \
    "There is only one operator replica" -- --set replicas=1
}

need helm https://helm.sh/docs/intro/install
test_lint
test_renders
test_refuses
test_copies
test_notes
if [[ "${1:-}" == --server ]]; then
  need kubectl https://kubernetes.io/docs/tasks/tools
  # shellcheck source=charts/tests/server.sh
  source tests/server.sh
  test_server
fi
echo "$passed passed, $failed failed"
[[ "$failed" -eq 0 ]]
