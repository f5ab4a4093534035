{{/* The image of everything. */}}
{{- define "trivet.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Labels of what the chart itself makes. Call with (dict "root" $ "component" NAME). */}}
{{- define "trivet.labels" -}}
{{ include "trivet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "trivet.selector" -}}
app.kubernetes.io/name: trivet
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "trivet.priorityClass" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{- define "trivet.credentialsSecret" -}}
{{ .Release.Name }}-credentials
{{- end }}

{{/* Pod Security "restricted", for a Pod. */}}
{{- define "trivet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The same for its container. */}}
{{- define "trivet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The Cluster's spec: the values, and what is filled in. */}}
{{- define "trivet.clusterSpec" -}}
{{- $filled := dict "image" (include "trivet.image" .) "imagePullPolicy" .Values.image.pullPolicy -}}
{{- $_ := set $filled "credentialsSecret" (dict "name" (include "trivet.credentialsSecret" .)) -}}
{{- if .Values.priorityClass.create }}{{ $_ := set $filled "priorityClassName" (include "trivet.priorityClass" .) }}{{ end -}}
{{- toYaml (merge (deepCopy .Values.cluster.spec) $filled) }}
{{- end }}
