{{/* Each helper takes a dict: name, own (the chart's values), shared (global.serviceAccount), release. */}}

{{- define "account.enabled" -}}
{{- if or (.own.serviceAccount).enabled .shared.enabled }}yes{{ end -}}
{{- end }}

{{- define "account.name" -}}
{{- coalesce (.own.serviceAccount).name .shared.name (printf "%s-%s" .release .name) -}}
{{- end }}

{{- define "labels" -}}
app: {{ .app | default .name }}
chart: {{ .name }}-9.10.0
release: {{ .release }}
heritage: Helm
{{- end }}

{{- define "account" -}}
{{- if and (include "account.enabled" .) (or (.own.serviceAccount).create .shared.create) }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "account.name" . }}
  labels: {{- include "labels" . | nindent 4 }}
  {{- with default ((.own.serviceAccount).annotations) .shared.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
---
{{- end }}
{{- end }}

{{- define "pod" -}}
metadata:
  labels:
    {{- include "labels" . | nindent 4 }}
    {{- range $key, $value := .more }}
    {{ $key }}: {{ $value }}
    {{- end }}
  {{- with .annotations }}
  annotations:
    {{- range $key, $value := . }}
    {{ $key }}: {{ $value | quote }}
    {{- end }}
  {{- end }}
spec:
  {{- if include "account.enabled" . }}
  serviceAccountName: {{ include "account.name" . }}
  {{- end }}
  containers: [{name: main, image: none}]
{{- end }}
