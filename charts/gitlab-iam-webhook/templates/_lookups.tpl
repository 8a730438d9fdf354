{{- /* What the cluster tells at install and upgrade. `helm template`, `helm lint`, client-side dry runs and
Argo CD see nothing here, and nothing fails there. */ -}}

{{- /* The text of the mapping that the release writes. */ -}}
{{- define "webhook.mappingText" -}}
{{- if kindIs "string" .Values.mapping -}}
{{- .Values.mapping -}}
{{- else -}}
{{- printf "%s\n" (toYaml .Values.mapping) -}}
{{- end -}}
{{- end -}}

{{- /* A mapping that people edited in the cluster is not overwritten without being asked for. What the
chart wrote last is known by its hash, and a mapping without rules, as the webhook writes it, is nothing to
lose. */ -}}
{{- define "webhook.checkOverwrite" -}}
{{- if and .Values.mapping (not .Values.mappingConfigMap.overwrite) -}}
{{- $name := .Values.mappingConfigMap.name -}}
{{- with lookup "v1" "ConfigMap" .Release.Namespace $name -}}
{{- $live := get (default dict .data) "mapping.yaml" -}}
{{- $written := get (default dict .metadata.annotations) "gitlab-iam-webhook/mapping-sha256" -}}
{{- $isOurs := or (eq $live (include "webhook.mappingText" $)) (eq $written (sha256sum $live)) -}}
{{- $isEmpty := regexMatch `\A((#[ -~]*|rules: \[\])?\n)*\z` $live -}}
{{- if not (or $isOurs $isEmpty) -}}
{{- fail (printf "mapping: the ConfigMap %s/%s was edited in the cluster, and this release would overwrite it. To see the difference, put the same values behind: helm template %s CHART --namespace %s --show-only templates/mapping.yaml | kubectl diff -f - . Put into the value `mapping` what shall stay. To overwrite the rest, set mappingConfigMap.overwrite=true for this one upgrade (Helm 4 also wants --force-conflicts)" $.Release.Namespace $name $.Release.Name $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The namespaces that a selector can select by their names: `only` these where it lists some, and never
`except`. */ -}}
{{- define "webhook.reach" -}}
{{- $listed := false -}}
{{- $only := list -}}
{{- $except := list -}}
{{- range .matchExpressions -}}
{{- if eq .key "kubernetes.io/metadata.name" -}}
{{- if eq .operator "NotIn" -}}
{{- $except = concat $except .values -}}
{{- else if eq .operator "In" -}}
{{- $values := .values -}}
{{- if $listed -}}
{{- $both := list -}}
{{- range $only -}}
{{- if has . $values -}}
{{- $both = append $both . -}}
{{- end -}}
{{- end -}}
{{- $only = $both -}}
{{- else -}}
{{- $only = $values -}}
{{- end -}}
{{- $listed = true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := $only -}}
{{- if has $name $except -}}
{{- $only = without $only $name -}}
{{- end -}}
{{- end -}}
{{- dict "listed" $listed "only" $only "except" $except | toJson -}}
{{- end -}}

{{- /* Two releases must not decide on one namespace, nor be in one: both would have the same mapping, and what one
answers to a probe would be taken for the answer of the other. A configuration of ours is known by the names of its
entries. */ -}}
{{- define "webhook.checkOverlap" -}}
{{- if .Values.refuseOverlap -}}
{{- $terms := .Values.webhooks.namespaceSelector.matchExpressions -}}
{{- $selector := fromYaml (include "webhook.namespaceSelector" (list . "enabled" $terms)) -}}
{{- $ours := fromJson (include "webhook.reach" $selector.namespaceSelector) -}}
{{- $others := lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" "" -}}
{{- $found := list -}}
{{- $neighbours := list -}}
{{- range $other := default list $others.items -}}
{{- $annotations := default dict $other.metadata.annotations -}}
{{- $release := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- $isThis := or (eq $other.metadata.name (include "webhook.fullname" $)) (and (eq $release $.Release.Name) (eq $namespace $.Release.Namespace)) -}}
{{- if not $isThis -}}
{{- range $entry := default list $other.webhooks -}}
{{- if hasSuffix ".serviceaccounts.gitlab-iam-webhook" $entry.name -}}
{{- if and $release (eq $namespace $.Release.Namespace) -}}
{{- $neighbours = append $neighbours $release -}}
{{- end -}}
{{- $theirs := fromJson (include "webhook.reach" (default dict $entry.namespaceSelector)) -}}
{{- $shared := list -}}
{{- if and $ours.listed $theirs.listed -}}
{{- range $ours.only -}}
{{- if has . $theirs.only -}}
{{- $shared = append $shared . -}}
{{- end -}}
{{- end -}}
{{- else if or $ours.listed $theirs.listed -}}
{{- $except := ternary $theirs.except $ours.except $ours.listed -}}
{{- range ternary $ours.only $theirs.only $ours.listed -}}
{{- if not (has . $except) -}}
{{- $shared = append $shared . -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $shared = list "all namespaces" -}}
{{- end -}}
{{- if $shared -}}
{{- $who := printf "MutatingWebhookConfiguration %s" $other.metadata.name -}}
{{- if $release -}}
{{- $who = printf "release %s in the namespace %s" $release $namespace -}}
{{- end -}}
{{- $found = append $found (printf "%s (%s)" $who (join ", " $shared)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $neighbours -}}
{{- fail (printf "the namespace %s: there is another release in it (%s), and both would read one mapping and keep one last good mapping. Give each release a namespace of its own, or set refuseOverlap=false where they have two values mappingConfigMap.name" $.Release.Namespace (join ", " (uniq .))) -}}
{{- end -}}
{{- with uniq $found -}}
{{- fail (printf "namespaces: there are releases that work in the same namespaces, and two would decide on one ServiceAccount: %s. Give each release a list `namespaces` of its own, or set refuseOverlap=false where other conditions keep them apart" (join "; " .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
