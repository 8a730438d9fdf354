{{- define "webhook.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* A release's name may hold dots, and a Service's may not. */ -}}
{{- define "webhook.fullname" -}}
{{- include "webhook.checkPresent" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "webhook.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (replace "." "-" .Release.Name) $name | trunc 63 | trimSuffix "-" -}}
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

{{- /* labels, and annotations where there are any: (list $ annotations labels), the latter two for this
object. */ -}}
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
{{- required "serviceAccount.name: serviceAccount.create is false, so give the name of a ServiceAccount that exists" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "webhook.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.image.registry -}}
{{- /* The first part of a repository is a registry where it has a dot or a port, as for every container
engine. */ -}}
{{- $repository = printf "%s/%s" . (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
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
{{- /* Not the name of the self-managed one: Helm deletes that after a change of mode, and a Secret's type
cannot change. */ -}}
{{- include "webhook.fullname" . }}-cert
{{- else if eq .Values.certificates.mode "existing" -}}
{{- .Values.certificates.existingSecret -}}
{{- end -}}
{{- end -}}

{{- /* The annotations of the webhook configurations. What cert-manager needs comes last, so that no value
changes it. */ -}}
{{- define "webhook.caInjection" -}}
{{- $annotations := deepCopy (default dict .Values.webhooks.annotations) -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" (printf "%s/%s" .Release.Namespace (include "webhook.fullname" .)) -}}
{{- end -}}
{{- toYaml $annotations -}}
{{- end -}}

{{- /* Self-managed, the key caBundle must be absent: what the webhook writes there then survives upgrades.
*/ -}}
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

{{- /* kube-system and our own namespace never: nothing there may wait for us. (list $ label terms): the
label's value, and further terms, which can only leave namespaces out, because all terms must hold. */ -}}
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
    {{- with index . 2 }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* A label selector as the query parameter `labelSelector` has it. */ -}}
{{- define "webhook.selectorText" -}}
{{- $terms := list -}}
{{- range $key, $value := .matchLabels -}}
{{- $terms = append $terms (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- range .matchExpressions -}}
{{- if eq .operator "Exists" -}}
{{- $terms = append $terms .key -}}
{{- else if eq .operator "DoesNotExist" -}}
{{- $terms = append $terms (printf "!%s" .key) -}}
{{- else -}}
{{- $terms = append $terms (printf "%s %s (%s)" .key (lower .operator) (join "," .values)) -}}
{{- end -}}
{{- end -}}
{{- join "," $terms -}}
{{- end -}}

{{- define "webhook.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "webhook.serviceAccountName" . }}
{{- end -}}

{{- /* The ConfigMap that is the parameter of the MutatingAdmissionPolicy. */ -}}
{{- define "webhook.parameter" -}}
{{ .Values.mappingConfigMap.name }}-policy
{{- end -}}

{{- /* The format of the parameter that the policy of this chart takes, as its text says it. */ -}}
{{- define "webhook.parameterFormat" -}}
{{- .Files.Get "files/mutating-policy.yaml" | regexFind `\?'format'\].orValue\(''\) == '[^']+'` | regexFind `[^']+'$` | trimSuffix "'" -}}
{{- end -}}

{{- /* What the webhook writes on ServiceAccounts, as a list in CEL. */ -}}
{{- define "webhook.ours" -}}
['eks.amazonaws.com/role-arn', 'eks.amazonaws.com/audience', 'eks.amazonaws.com/sts-regional-endpoints',
'eks.amazonaws.com/token-expiration', 'gitlab-iam-webhook/applied', 'gitlab-iam-webhook/was']
{{- end -}}
