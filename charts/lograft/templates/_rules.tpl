{{/* Permissions of the operator in a namespace whose LogClusters, LogTopics and LogUsers it manages,
     and no others. Server-side apply needs create and patch; objects owned by a LogCluster are
     deleted by the API server. */}}
{{- define "lograft.rules" -}}
- apiGroups: [lograft.io]
  resources: [logclusters]
  verbs: [get, list, watch]
# Patched for the finalizer of a LogTopic whose topic is deleted with it, and of a LogUser, which is
# revoked before it is gone.
- apiGroups: [lograft.io]
  resources: [logtopics, logusers]
  verbs: [get, list, watch, patch]
- apiGroups: [lograft.io]
  resources: [logclusters/status, logtopics/status, logusers/status]
  verbs: [patch]
# The labels of the namespace, by which a LogCluster may allow its LogTopics and LogUsers. A Role
# permits to read its own namespace, and no other.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Required by some API servers (OwnerReferencesPermissionEnforcement): deletion of the LogCluster or
# LogUser waits for the objects that it owns.
- apiGroups: [lograft.io]
  resources: [logclusters/finalizers, logusers/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [services, secrets, serviceaccounts]
  verbs: [get, list, watch, create, patch]
# Recreated if somebody made it immutable.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# Deleted when the LogCluster disables it.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Deleted without its pods and recreated when the size of new disks changes.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# The template that a pod was created from, if the StatefulSet has been edited.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get]
# A rollout annotates and evicts pods, one at a time; the StatefulSet recreates them. A pod that
# serves nobody is deleted, and so is one whose host is lost.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
# Disks grow through their claims, which have the authorization mode as a label. A claim is deleted
# when a new node replaces a decommissioned node that held no data, or when its host is lost.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch, delete]
# One operator manages the LogClusters of a namespace: the holder of this Lease. The verb create
# cannot be restricted to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [lograft-logclusters]
  verbs: [get, update]
# The nodes watch the EndpointSlices of their Service: their Role is deleted when the LogCluster
# switches that off. Kubernetes lets nobody grant what he does not hold himself.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# Read only while a pod or its disk is not as it should be: they say why.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, create, patch]
{{- end -}}
