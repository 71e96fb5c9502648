{{/* What the operator does in a namespace whose LogClusters it looks after. Applying an object
     takes create and patch; nothing is replaced as a whole, so update is missing. */}}
{{- define "lograft.rules" -}}
- apiGroups: [lograft.io]
  resources: [logclusters]
  verbs: [get, list, watch, patch]
- apiGroups: [lograft.io]
  resources: [logclusters/status]
  verbs: [get, patch]
# Asked for where an owner reference blocks the owner's deletion.
- apiGroups: [lograft.io]
  resources: [logclusters/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, secrets, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# A rollout deletes pods, one at a time; the StatefulSet makes them.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
# Disks grow by their claims. They are never deleted here.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
