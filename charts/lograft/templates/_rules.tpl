{{/* What the operator does in a namespace whose LogClusters it looks after, and nothing else.
     Applying takes create and patch; what a LogCluster owns is deleted by the API server. */}}
{{- define "lograft.rules" -}}
- apiGroups: [lograft.io]
  resources: [logclusters]
  verbs: [get, list, watch]
- apiGroups: [lograft.io]
  resources: [logclusters/status]
  verbs: [patch]
# Some API servers ask for it: the LogCluster's deletion waits for what it owns.
- apiGroups: [lograft.io]
  resources: [logclusters/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [services, configmaps, secrets, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# Deleted where the LogCluster wants none any more.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Deleted and made anew around its pods where the size of new disks changes.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# A rollout marks pods and deletes them, one at a time; the StatefulSet makes them.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
# Disks grow by their claims. One is deleted where a new node comes to the place of one that has
# left for ever and held nothing any more.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
