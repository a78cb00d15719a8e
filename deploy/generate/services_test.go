package generate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/deploy/source"
)

// folder is a repository with one function of this func.yaml.
func folder(t *testing.T, manifest string, more ...string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"functions/mute/func.yaml": manifest, "functions/mute/rbac.yaml": "", "config/settings.env": "# shared\nLOG_LEVEL=INFO\n",
		"triggers/mute.yaml": "kind: Trigger\nmetadata: {name: mute-speaker}\nspec: {subscriber: {ref: {name: mute}}}\n" +
			"---\nkind: Trigger\nmetadata: {name: tell}\nspec: {subscriber: {ref: {name: other}}}\n",
		"triggers/other.yaml": "kind: Trigger\nmetadata: {name: mute-again}\nspec: {subscriber: {ref: {name: mute}}}\n",
	}
	for _, name := range more {
		files[name] = ""
	}
	for name, content := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// input is what is read of a repository.
func input(t *testing.T, root string) Input {
	t.Helper()
	functions, err := source.Functions(root)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := source.SharedSettings(root)
	if err != nil {
		t.Fatal(err)
	}
	return Input{root, functions, settings}
}

const complete = `
specVersion: 0.36.0
name: mute
runtime: go
created: 2026-01-01T00:00:00Z
invoke: http
build: {builder: host}
run:
  envs:
    - value: "{{ configMap:riposte-settings }}"
    - value: "{{ secret:all }}"
    - {name: DRY_RUN, value: "true"}
    - {name: TOKEN, value: "{{ secret:one:token }}"}
    - {name: CITY, value: "{{ configMap:places:city }}"}
  volumes:
    - {path: /etc/a, secret: certificates}
    - {path: /etc/b, secret: certificates}
    - {path: /etc/c, configMap: places}
deploy:
  namespace: riposte
  serviceAccountName: riposte-mute
  healthEndpoints: {liveness: /healthz, readiness: /readyz}
  annotations: {example.com/owner: me}
  labels:
    - {key: app.kubernetes.io/name, value: mute}
  options:
    scale: {min: 0, max: 5, metric: concurrency, target: 10}
    resources:
      requests: {cpu: 20m, memory: 32Mi}
      limits: {cpu: 500m, memory: 128Mi, concurrency: 20}
`

const completeService = `# Generated from func.yaml by make generate: the function without the func CLI. ko puts the image in.
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  annotations:
    example.com/owner: me
  labels:
    app.kubernetes.io/name: mute
  name: mute
  namespace: riposte
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/max-scale: "5"
        autoscaling.knative.dev/metric: concurrency
        autoscaling.knative.dev/min-scale: "0"
        autoscaling.knative.dev/target: "10"
        example.com/owner: me
        riposte.dev/settings: 87ff8c60b2aeeba2
      labels:
        app.kubernetes.io/name: mute
        app.kubernetes.io/part-of: riposte
    spec:
      containerConcurrency: 20
      containers:
      - env:
        - name: DRY_RUN
          value: "true"
        - name: TOKEN
          valueFrom:
            secretKeyRef:
              key: token
              name: one
        - name: CITY
          valueFrom:
            configMapKeyRef:
              key: city
              name: places
        envFrom:
        - configMapRef:
            name: riposte-settings
        - secretRef:
            name: all
        image: ko://github.com/riposte-dev/riposte/functions/mute/cmd
        livenessProbe:
          httpGet:
            path: /healthz
        readinessProbe:
          httpGet:
            path: /readyz
        resources:
          limits:
            cpu: 500m
            memory: 128Mi
          requests:
            cpu: 20m
            memory: 32Mi
        securityContext:
          allowPrivilegeEscalation: false
          capabilities:
            drop:
            - ALL
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          seccompProfile:
            type: RuntimeDefault
        volumeMounts:
        - mountPath: /etc/a
          name: secret-certificates
          readOnly: true
        - mountPath: /etc/b
          name: secret-certificates
          readOnly: true
        - mountPath: /etc/c
          name: config-map-places
          readOnly: true
      enableServiceLinks: false
      serviceAccountName: riposte-mute
      volumes:
      - name: secret-certificates
        secret:
          secretName: certificates
      - configMap:
          name: places
        name: config-map-places
`

func TestServiceHasAllOfTheManifest(t *testing.T) {
	files, err := services(input(t, folder(t, complete)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(completeService, string(files["functions/mute/service.yaml"])); diff != "" {
		t.Error(diff)
	}
}

func TestServiceOfAFunction(t *testing.T) {
	const bare = "name: mute\ndeploy: {healthEndpoints: {liveness: /healthz, readiness: /readyz}}\n"
	for name, c := range map[string]struct {
		manifest string
		more     []string
		files    []string
		scale    map[string]any
	}{
		"no limit, target or metric is made up": {
			manifest: bare, files: []string{"kustomization.yaml", "service.yaml"},
			scale: map[string]any{"autoscaling.knative.dev/min-scale": "0"},
		},
		"one with a Deployment of its own has no Service": {
			manifest: bare, more: []string{"functions/mute/deployment.yaml"}, files: []string{"kustomization.yaml"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(t, folder(t, c.manifest, c.more...))
			files, err := services(in)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, name := range []string{"deployment.yaml", "kustomization.yaml", "service.yaml"} {
				if _, ok := files["functions/mute/"+name]; ok {
					names = append(names, name)
				}
			}
			if diff := cmp.Diff(c.files, names); diff != "" || len(files) != len(c.files) {
				t.Errorf("written are %d files: %s", len(files), diff)
			}
			if c.scale == nil {
				return
			}
			annotations := service(in.Functions[0], nil)["spec"].(object)["template"].(object)["metadata"].(object)["annotations"].(object)
			delete(annotations, "riposte.dev/settings")
			if diff := cmp.Diff(c.scale, annotations); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSettingsMakeARevision(t *testing.T) {
	one, other := digest([]source.Env{{Name: "A", Value: "1"}}), digest([]source.Env{{Name: "A", Value: "2"}})
	if one == other || one == "" {
		t.Errorf("two settings have the digests %q and %q", one, other)
	}
}
