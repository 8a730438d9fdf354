{{- /* What the schema cannot tell: values that must be compared, and names of other charts. Whatever fails
here would install, and then keep the webhook from starting or from working. */ -}}
{{- define "webhook.checkValues" -}}
{{- include "webhook.checkNames" . -}}
{{- include "webhook.checkMapping" . -}}
{{- include "webhook.checkDurations" . -}}
{{- include "webhook.checkRoles" . -}}
{{- include "webhook.checkArguments" . -}}
{{- include "webhook.checkSelectors" . -}}
{{- include "webhook.checkPolicy" . -}}
{{- include "webhook.checkOverwrite" . -}}
{{- include "webhook.checkOverlap" . -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- if not (or (kindIs "invalid" $budget.minAvailable) (kindIs "invalid" $budget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget: minAvailable and maxUnavailable exclude each other: write one of them" -}}
{{- end -}}
{{- if and (eq (default "" .Values.strategy.type) "Recreate") .Values.strategy.rollingUpdate -}}
{{- fail "strategy.rollingUpdate belongs to strategy.type RollingUpdate; the type is Recreate" -}}
{{- end -}}
{{- range .Values.extraVolumes -}}
{{- if eq .name "tls" -}}
{{- fail "extraVolumes: the chart's own volume is called tls: choose another name" -}}
{{- end -}}
{{- end -}}
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

{{- /* `--reuse-values` leaves out the values that are new in a chart, and `null` takes a default away. Without these
nothing can be rendered, or what keeps the webhook safe would be off unseen. Every template asks for the full name, so
that this comes first. */ -}}
{{- define "webhook.checkPresent" -}}
{{- range $path := splitList "\n" (include "webhook.present" .) -}}
{{- $value := $.Values -}}
{{- range splitList "." $path -}}
{{- $value = get (default dict $value) . -}}
{{- if has (toJson $value) (list "null" "\"\"") -}}
{{- fail (printf "%s: this value is missing. After --reuse-values, use --reset-then-reuse-values in its place: the former knows no value that is new in this chart. Where it says null, leave it out" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- define "webhook.present" -}}
admissionPolicy.enabled
certificates.certManager
certificates.life
certificates.mode
certificates.rollWait
containerPorts.metrics
containerPorts.webhook
drainTimeout
image.pullPolicy
image.repository
livenessProbe
log.filter
log.format
mappingConfigMap.name
networkPolicy.enabled
podDisruptionBudget.enabled
policy.enabled
rbac.create
readinessProbe
refuseOverlap
repair.enabled
replicaCount
service.metricsPort
service.port
serviceAccount.create
serviceMonitor.enabled
shutdownDelay
strategy
terminationGracePeriodSeconds
webhooks.namespaceSelector
webhooks.pods.enabled
webhooks.pods.failurePolicy.create
webhooks.serviceAccounts.failurePolicy.create
webhooks.serviceAccounts.failurePolicy.update
webhooks.serviceAccounts.objectSelector
webhooks.timeoutSeconds
{{- end -}}

{{- /* The names that other charts have for these values. The schema lets them pass, so that they are
answered here. */ -}}
{{- define "webhook.checkNames" -}}
{{- range $wrong, $right := fromYaml (include "webhook.renamed" .) -}}
{{- $value := $.Values -}}
{{- range splitList "." $wrong -}}
{{- $value = get (default dict $value) . -}}
{{- end -}}
{{- if not (has (toJson $value) (list "null" "\"\"" "[]" "{}")) -}}
{{- fail (printf "%s: this value is called %s" $wrong $right) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- define "webhook.renamed" -}}
account: mapping.account
additionalLabels: commonLabels
allowedRole: allowedRoles
annotations: commonAnnotations
certManager: certificates.certManager
containerSecurityContext: securityContext
deploymentStrategy: strategy
env: extraEnv
envVars: extraEnv
extraEnvVars: extraEnv
extraEnvs: extraEnv
failurePolicy: webhooks.serviceAccounts.failurePolicy
fullNameOverride: fullnameOverride
image.imagePullPolicy: image.pullPolicy
image.pullSecrets: imagePullSecrets
imagePullPolicy: image.pullPolicy
labels: commonLabels
log.level: log.filter
logFormat: log.format
logLevel: log.filter
mutatingWebhookAnnotations: webhooks.annotations
namespaceSelector: webhooks.namespaceSelector
nodeselector: nodeSelector
objectSelector: webhooks.serviceAccounts.objectSelector
pdb: podDisruptionBudget
priorityClass: priorityClassName
replicas: replicaCount
resources.limit: resources.limits
resources.request: resources.requests
rules: mapping.rules
serviceAccount.annotation: serviceAccount.annotations
serviceMonitor.additionalLabels: serviceMonitor.labels
timeoutSeconds: webhooks.timeoutSeconds
updateStrategy: strategy
volumeMounts: extraVolumeMounts
volumes: extraVolumes
watchNamespaces: namespaces
{{- end -}}

{{- define "webhook.checkMapping" -}}
{{- if and .Values.mapping (kindIs "string" .Values.mapping) -}}
{{- with include "webhook.mappingProblem" .Values.mapping -}}
{{- fail . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What is wrong with the text of a mapping, as far as Helm sees it. The webhook reads more as YAML than
Helm does: tabs, and what the two patterns name, which are other line breaks, question marks, tags, and
anchors with any name. What only Helm cannot read is no problem. */ -}}
{{- define "webhook.mappingProblem" -}}
{{- if not (regexMatch `[\x{85}\x{2028}\x{2029}\x{FEFF}]|\r([^\n]|$)` .) -}}
{{- $read := fromYaml . -}}
{{- if not (and $read.Error (eq (len $read) 1)) -}}
{{- $known := list "account" "partition" "provider" "onConflict" "onNoRule" "irsa" "kube2iam" "kiam" "rules" -}}
{{- $unknown := "" -}}
{{- range $key, $_ := $read -}}
{{- if and (not $unknown) (regexMatch "^[-_A-Za-z0-9]+$" $key) (not (has $key $known)) -}}
{{- $unknown = $key -}}
{{- end -}}
{{- end -}}
{{- if $unknown -}}
{{- printf "mapping.%s: a mapping has no such key; its keys are %s" $unknown (join ", " $known) -}}
{{- else if not (kindIs "slice" $read.rules) -}}
{{- print "mapping: this text has no list `rules`; a mapping that gives no role yet says `rules: []`" -}}
{{- end -}}
{{- else if not (regexMatch `\?|(^|[\s,{[])[&!:]` .) -}}
{{- $error := toString $read.Error -}}
{{- $lines := splitList "\n" . -}}
{{- $at := regexFind "line [0-9]+: found character that cannot" $error | regexFind "[0-9]+" | int -}}
{{- $tab := "" -}}
{{- if and (gt $at 1) (le $at (len $lines)) -}}
{{- /* After `key:` a line that begins with a tab and goes on with `- ` or `key: ` is YAML for nobody. */ -}}
{{- $pair := printf "%s\n%s " (index $lines (sub $at 2)) (index $lines (sub $at 1)) -}}
{{- $tab = regexFind `^[- ]*[A-Za-z0-9]+:\s*\n\t\s*(- |[A-Za-z0-9]+:\s)` $pair -}}
{{- end -}}
{{- $retry := fromYaml (replace "\t" " " .) -}}
{{- if $tab -}}
{{- printf "mapping: this text is not YAML: line %d is indented by a tab: write spaces" $at -}}
{{- else if not $retry.Error -}}
{{- else if contains "cannot unmarshal" $error -}}
{{- printf "mapping: this text is YAML, but no mapping with keys such as `rules`: %s" $error -}}
{{- else -}}
{{- printf "mapping: this text is not YAML: %s" $error -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* How many milliseconds a duration has, such as `1h 30m`. */ -}}
{{- define "webhook.milliseconds" -}}
{{- $sum := 0 -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- /* A number that begins with 0 would be read as an octal one. */ -}}
{{- $sum = add $sum (mul (int64 (regexFind "[1-9][0-9]*" .)) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{- define "webhook.checkDurations" -}}
{{- $delay := int64 (include "webhook.milliseconds" .Values.shutdownDelay) -}}
{{- $drain := int64 (include "webhook.milliseconds" .Values.drainTimeout) -}}
{{- if ge (add $delay $drain) (mul 1000 (int64 .Values.terminationGracePeriodSeconds)) -}}
{{- fail (printf "terminationGracePeriodSeconds: %d must be more than shutdownDelay and drainTimeout together, which are %s and %s: a Pod would be killed before it has stopped" (int64 .Values.terminationGracePeriodSeconds) .Values.shutdownDelay .Values.drainTimeout) -}}
{{- end -}}
{{- if eq .Values.certificates.mode "self-managed" -}}
{{- $life := int64 (include "webhook.milliseconds" .Values.certificates.life) -}}
{{- $wait := int64 (include "webhook.milliseconds" .Values.certificates.rollWait) -}}
{{- if or (lt $life 10000) (gt $life 315360000000) -}}
{{- fail (printf "certificates.life: %s must be from 10s to 3650d" .Values.certificates.life) -}}
{{- end -}}
{{- if gt (mul 5 $wait) $life -}}
{{- fail (printf "certificates.rollWait: %s is more than a fifth of certificates.life, which is %s: write a shorter rollWait or a longer life" .Values.certificates.rollWait .Values.certificates.life) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The option --allowed-role reads [NAMESPACE-GLOB=]ARN-GLOB. */ -}}
{{- define "webhook.checkRoles" -}}
{{- $class := `\[(?:![^]!\\ ]|[^]!\\ ])[^]\\ ]*\]` -}}
{{- $any := printf `(?:[^[{}\\ ]|%s)` $class -}}
{{- $braces := printf `\{(?:%s|\{(?:%s|\{%s*\})*\})*\}` $any $any $any -}}
{{- $glob := printf `^(?:%s|%s)+$` $any $braces -}}
{{- range $n, $role := .Values.allowedRoles -}}
{{- $namespace := "" -}}
{{- $arn := $role -}}
{{- $before := regexFind "^[^=:/]*=" $role -}}
{{- if $before -}}
{{- $namespace = trimSuffix "=" $before -}}
{{- $arn = trimPrefix $before $role -}}
{{- if not (regexMatch $glob $namespace) -}}
{{- fail (printf "allowedRoles[%d]: %s: what stands before `=` is no glob over namespaces: write NAMESPACE-GLOB=ARN-GLOB" $n $role) -}}
{{- end -}}
{{- end -}}
{{- if not (regexMatch "^(arn:|[*?[{])" $arn) -}}
{{- fail (printf "allowedRoles[%d]: %s: the glob is over whole ARNs: write arn:aws:iam::*:role/%s" $n $role $arn) -}}
{{- end -}}
{{- if or (gt (len $arn) 1024) (not (regexMatch $glob $arn)) -}}
{{- fail (printf "allowedRoles[%d]: %s is no glob: it has no spaces and no backslashes, at most 1024 bytes, and its brackets and braces pair up" $n $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The server takes each of its options once: what a value sets cannot be set a second time. */ -}}
{{- define "webhook.checkArguments" -}}
{{- $values := fromYaml (include "webhook.arguments" .) -}}
{{- range .Values.extraArgs -}}
{{- $flag := regexFind "^--[^=]+" . | trimPrefix "--" -}}
{{- with get $values $flag -}}
{{- fail (printf "extraArgs: --%s is set by the value %s" $flag .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- $name := .name -}}
{{- range $flag, $value := $values -}}
{{- $variable := printf "GITLAB_IAM_WEBHOOK_%s" (upper (replace "-" "_" $flag)) -}}
{{- if has $name (list $variable (printf "%sS" $variable)) -}}
{{- fail (printf "extraEnv: %s is set by the value %s" $name $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- define "webhook.arguments" -}}
admin-listen: containerPorts.metrics
allowed-role: allowedRoles
certificate-life: certificates.life
certificate-name: certificates.mode
certificate-roll-wait: certificates.rollWait
certificate-secret: certificates.mode
drain-timeout: drainTimeout
listen: containerPorts.webhook
log: log.filter
log-format: log.format
mapping: mapping
mapping-config-map: mappingConfigMap.name
namespace-selector: webhooks.namespaceSelector
policy-parameter: policy.enabled
repair: repair.enabled
service-account-selector: webhooks.serviceAccounts.objectSelector
shutdown-delay: shutdownDelay
starter-mapping: mapping
tls-cert: certificates.mode
tls-key: certificates.mode
watch-namespace: namespaces
webhook-configuration: fullnameOverride
workload-controller: workloadControllers
{{- end -}}

{{- /* The kind is asked for as well: a cluster can serve it under an older version by a feature gate. */ -}}
{{- define "webhook.checkPolicy" -}}
{{- if .Values.policy.enabled -}}
{{- $served := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- if not (or $served (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version)) -}}
{{- fail (printf "policy.enabled: a MutatingAdmissionPolicy needs Kubernetes 1.36 or later, and this is %s. For helm template give --kube-version, or --api-versions admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if not .Values.allowedRoles -}}
{{- fail "policy.enabled: the policy gives no role outside allowedRoles, and that list is empty: name the roles that a mapping may give, such as allowedRoles[0]=arn:aws:iam::123456789012:role/gitlab*" -}}
{{- end -}}
{{- $bytes := len (join "" .Values.allowedRoles) -}}
{{- if or (gt (len .Values.allowedRoles) 100) (gt $bytes 8000) -}}
{{- fail (printf "policy.enabled: %d allowedRoles have %d bytes, and a policy has at most 100 with 8000 bytes: let one glob allow many roles" (len .Values.allowedRoles) $bytes) -}}
{{- end -}}
{{- range $n, $role := .Values.allowedRoles -}}
{{- if not (regexMatch `^([^][{}\\[:cntrl:]]*|[^][{}\\,|[:cntrl:]]*(\{[^][{}\\|[:cntrl:]]*\}[^][{}\\,|[:cntrl:]]*)+)$` $role) -}}
{{- fail (printf "allowedRoles[%d]: %s: with policy.enabled a glob has `*`, `?` and braces without braces in them, as in {a,b}, and beside braces no comma and no |: the policy understands no other" $n $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "webhook.checkSelectors" -}}
{{- $own := dict "webhooks.namespaceSelector" .Values.webhooks.namespaceSelector "webhooks.serviceAccounts.objectSelector" .Values.webhooks.serviceAccounts.objectSelector -}}
{{- range $path, $selector := $own -}}
{{- range $n, $term := $selector.matchExpressions -}}
{{- if and (eq $path "webhooks.namespaceSelector") (eq (toString $term.key) "gitlab-iam-webhook/inject") -}}
{{- fail (printf "%s.matchExpressions[%d]: the chart itself looks at the label gitlab-iam-webhook/inject: choose another key" $path $n) -}}
{{- end -}}
{{- if and (has $term.operator (list "In" "NotIn")) (not $term.values) -}}
{{- fail (printf "%s.matchExpressions[%d]: the operator %s needs values" $path $n $term.operator) -}}
{{- end -}}
{{- if and (has $term.operator (list "Exists" "DoesNotExist")) $term.values -}}
{{- fail (printf "%s.matchExpressions[%d]: the operator %s takes no values" $path $n $term.operator) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
