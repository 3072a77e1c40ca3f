{{- define "gatepost.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gatepost.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "gatepost.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "gatepost.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "gatepost.selector" -}}
app.kubernetes.io/name: {{ include "gatepost.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gatepost.labels" -}}
{{ include "gatepost.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* How many pods there may be at once. */ -}}
{{- define "gatepost.replicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicaCount }}{{ end }}
{{- end }}

{{- /* Not empty if a listener has a queue, so that each pod needs a disk of its own. */ -}}
{{- define "gatepost.queued" -}}
{{- range .Values.config.listeners }}{{ if .queue }}yes{{ end }}{{ end }}
{{- end }}

{{- /* What keeps the pods running. */ -}}
{{- define "gatepost.kind" -}}
{{- if include "gatepost.queued" . }}StatefulSet{{ else }}Deployment{{ end }}
{{- end }}

{{- /* The configuration with what follows from other values. */ -}}
{{- define "gatepost.config" -}}
{{- $limits := dict "drain" (printf "%ds" (int .Values.drainSeconds)) "replicas" (include "gatepost.replicas" . | int) }}
{{- $state := dict }}
{{- if .Values.redis.existingSecret }}
{{- $_ := set $state "key" (dict "credential" "gatepost.state.key") }}
{{- end }}
{{- if include "gatepost.queued" . }}
{{- $_ := set $state "directory" "/var/lib/gatepost/state" }}
{{- end }}
{{- $own := dict "limits" $limits }}
{{- if $state }}
{{- $_ := set $own "state" $state }}
{{- end }}
{{- if .Values.metrics.enabled }}
{{- $token := dict "credential" "admin-token" }}
{{- $_ := set $own "admin" (dict "certificate" "/etc/gatepost-tls/tls.crt" "private_key" "/etc/gatepost-tls/tls.key" "token" $token "open_metrics" true) }}
{{- end }}
{{- mergeOverwrite $own (deepCopy .Values.config) | toYaml }}
{{- end }}
