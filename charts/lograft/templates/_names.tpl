{{/* Name of the objects. Refused instead of truncated: two truncated releases could share objects. */}}
{{- define "lograft.name" -}}
{{- $name := .Values.fullnameOverride | default (printf "%s-operator" .Release.Name) -}}
{{- if gt (len $name) 54 -}}
{{- fail (printf "fullnameOverride: the name %s has %d bytes, at most 54 leave room for what Services add; set a shorter one" $name (len $name)) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Labels that select the operator's pods, used in an immutable selector. The name is fixed: the
     NetworkPolicy of each LogCluster admits pods with this name. */}}
{{- define "lograft.selector" -}}
app.kubernetes.io/name: lograft-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object that are not part of the selector. */}}
{{- define "lograft.releaseLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "lograft.labels" -}}
{{ include "lograft.selector" . }}
{{ include "lograft.releaseLabels" . }}
{{- end -}}

{{- define "lograft.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "lograft.name" .) -}}
{{- else -}}
{{- required "serviceAccount.name: needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The image: a digest takes precedence over the tag; the default tag is the version. */}}
{{- define "lograft.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- $tag := empty $image.tag | ternary "" (printf ":%s" $image.tag) -}}
{{- printf "%s%s@%s" $image.repository $tag $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Requirements of the restricted PodSecurity profile. 65532 is the nonroot user of distroless. */}}
{{- define "lograft.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "lograft.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
