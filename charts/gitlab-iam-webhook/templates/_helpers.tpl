{{- define "webhook.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "webhook.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "webhook.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "webhook.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* Our own labels come last in the merge: the selectors depend on them. */ -}}
{{- define "webhook.labels" -}}
{{- $own := fromYaml (include "webhook.selectorLabels" .) -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name (replace "+" "_" .Chart.Version)) -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- toYaml (merge $own (default dict .Values.commonLabels)) -}}
{{- end -}}

{{- /* labels, and annotations where there are any: (list $ annotations labels), the latter two for this object. */ -}}
{{- define "webhook.metadata" -}}
{{- $root := index . 0 -}}
{{- $annotations := merge dict (default dict (index . 1)) (default dict $root.Values.commonAnnotations) -}}
labels:
  {{- $own := fromYaml (include "webhook.labels" $root) }}
  {{- toYaml (merge $own (default dict (index . 2))) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "webhook.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "webhook.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: with serviceAccount.create false, the name of a ServiceAccount that exists" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "webhook.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Each name once. Charts that share the global list write names or objects. */ -}}
{{- define "webhook.imagePullSecrets" -}}
{{- $names := list -}}
{{- range concat (default list (default dict .Values.global).imagePullSecrets) (default list .Values.imagePullSecrets) -}}
{{- if kindIs "string" . -}}
{{- $names = append $names . -}}
{{- else -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- range uniq $names }}
- name: {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* The Secret that is mounted; a self-managed one is not. */ -}}
{{- define "webhook.mountedSecret" -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
{{- /* Not the name of the self-managed one: Helm deletes that after a change of mode, and a Secret's type cannot change. */ -}}
{{- include "webhook.fullname" . }}-cert
{{- else if eq .Values.certificates.mode "existing" -}}
{{- .Values.certificates.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "webhook.caInjection" -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
cert-manager.io/inject-ca-from: "{{ .Release.Namespace }}/{{ include "webhook.fullname" . }}"
{{- end -}}
{{- end -}}

{{- /* Self-managed, the key caBundle must be absent: what the webhook writes there then survives upgrades. */ -}}
{{- define "webhook.clientConfig" -}}
{{- $root := index . 0 -}}
clientConfig:
  service:
    namespace: {{ $root.Release.Namespace | quote }}
    name: {{ include "webhook.fullname" $root | quote }}
    port: {{ $root.Values.service.port }}
    path: {{ index . 1 }}
  {{- if eq $root.Values.certificates.mode "existing" }}
  caBundle: {{ $root.Values.certificates.caBundle | quote }}
  {{- end }}
admissionReviewVersions: [v1]
sideEffects: None
{{- end -}}

{{- /* kube-system and our own namespace never: nothing there may wait for us. */ -}}
{{- define "webhook.namespaceSelector" -}}
{{- $root := index . 0 -}}
namespaceSelector:
  matchExpressions:
    - key: gitlab-iam-webhook/inject
      operator: In
      values: [{{ index . 1 }}]
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values:
        {{- uniq (list "kube-system" $root.Release.Namespace) | toYaml | nindent 8 }}
    {{- with $root.Values.namespaces }}
    - key: kubernetes.io/metadata.name
      operator: In
      values:
        {{- toYaml . | nindent 8 }}
    {{- end }}
{{- end -}}

{{- define "webhook.check" -}}
{{- range .Values.namespaces -}}
{{- if or (eq . "kube-system") (eq . $.Release.Namespace) -}}
{{- fail (printf "namespaces: %s is never sent to the webhook: leave it out" .) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.certificates.mode "existing" -}}
{{- $_ := required "certificates.existingSecret: certificates.mode existing needs the name of a Secret with tls.crt and tls.key" .Values.certificates.existingSecret -}}
{{- $_ := required "certificates.caBundle: certificates.mode existing needs what the API server shall trust, as base64 of PEM" .Values.certificates.caBundle -}}
{{- if not (contains "-----BEGIN CERTIFICATE-----" (b64dec .Values.certificates.caBundle)) -}}
{{- fail "certificates.caBundle: this is not base64 of a PEM certificate: make it with base64 -w0 ca.crt" -}}
{{- end -}}
{{- else if or .Values.certificates.existingSecret .Values.certificates.caBundle -}}
{{- fail (printf "certificates.existingSecret and certificates.caBundle belong to certificates.mode existing; the mode is %s" .Values.certificates.mode) -}}
{{- end -}}
{{- if and .Values.certificates.certManager.issuerRef (not .Values.certificates.certManager.issuerRef.name) -}}
{{- fail "certificates.certManager.issuerRef.name: the issuer needs a name" -}}
{{- end -}}
{{- if and .Values.certificates.certManager.issuerRef (ne .Values.certificates.mode "cert-manager") -}}
{{- fail (printf "certificates.certManager.issuerRef belongs to certificates.mode cert-manager; the mode is %s" .Values.certificates.mode) -}}
{{- end -}}
{{- if eq (int .Values.containerPorts.webhook) (int .Values.containerPorts.metrics) -}}
{{- fail "containerPorts: webhook and metrics need a port each" -}}
{{- end -}}
{{- if eq (int .Values.service.port) (int .Values.service.metricsPort) -}}
{{- fail "service: port and metricsPort must differ" -}}
{{- end -}}
{{- end -}}

{{- define "webhook.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "webhook.serviceAccountName" . }}
{{- end -}}

{{- /* What the webhook writes on ServiceAccounts, as a list in CEL. */ -}}
{{- define "webhook.ours" -}}
['eks.amazonaws.com/role-arn', 'eks.amazonaws.com/audience', 'eks.amazonaws.com/sts-regional-endpoints',
'eks.amazonaws.com/token-expiration', 'gitlab-iam-webhook/applied', 'gitlab-iam-webhook/was']
{{- end -}}
