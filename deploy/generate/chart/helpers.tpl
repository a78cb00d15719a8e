{{- /* Labels of every object, beside those of deploy/knative. */}}
{{- define "riposte.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* The image of a function: by its digest where there is one. */}}
{{- define "riposte.image" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}
{{- $image := printf "%s/riposte-%s" $root.Values.image.registry $name }}
{{- with index $root.Values.image.digests $name -}}
{{ $image }}@{{ . }}
{{- else -}}
{{ $image }}:{{ $root.Values.image.tag | default (printf "v%s" $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- /* Whether a function is in dry run: as it says itself, or as all. */}}
{{- define "riposte.dryRun" -}}
{{- $root := index . 0 }}{{ $f := index . 1 }}
{{- if kindIs "bool" $f.dryRun }}{{ $f.dryRun }}{{ else }}{{ $root.Values.dryRun }}{{ end }}
{{- end }}

{{- /* The variables of a function, but for those that it has another way. */}}
{{- define "riposte.env" -}}
{{- $omitted := index . 1 }}
{{- range $name, $value := index . 0 }}
{{- if not (has $name $omitted) }}
- name: {{ $name }}
{{- if kindIs "map" $value }}
  valueFrom: {{- toYaml $value | nindent 4 }}
{{- else }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The data of a ConfigMap. */}}
{{- define "riposte.data" -}}
{{- range $name, $value := . }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* Pods read the settings once, so other settings are another revision. */}}
{{- define "riposte.settings" -}}
{{ include "riposte.data" .Values.settings | sha256sum | trunc 16 }}
{{- end }}
