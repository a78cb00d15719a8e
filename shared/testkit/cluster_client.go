package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// Object is a typed object of the API, such as *corev1.Pod.
type Object interface {
	metav1.Object
	runtime.Object
}

// fieldManager stands for whoever made the objects that the functions find.
const fieldManager = "testkit"

func newRESTClient(config *rest.Config) (*rest.RESTClient, error) {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.GroupVersion = &schema.GroupVersion{}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for the test cluster: %w", err)
	}
	return client, nil
}

// collection is the path of the objects of a type, before and after the namespace.
func collection(o Object) (group, resource string) {
	switch o.(type) {
	case *corev1.Pod:
		return "/api/v1", "pods"
	case *corev1.Node:
		return "/api/v1", "nodes"
	case *corev1.Namespace:
		return "/api/v1", "namespaces"
	case *corev1.Service:
		return "/api/v1", "services"
	case *corev1.ServiceAccount:
		return "/api/v1", "serviceaccounts"
	case *appsv1.Deployment:
		return "/apis/apps/v1", "deployments"
	case *appsv1.ReplicaSet:
		return "/apis/apps/v1", "replicasets"
	case *appsv1.StatefulSet:
		return "/apis/apps/v1", "statefulsets"
	case *appsv1.DaemonSet:
		return "/apis/apps/v1", "daemonsets"
	case *batchv1.Job:
		return "/apis/batch/v1", "jobs"
	case *batchv1.CronJob:
		return "/apis/batch/v1", "cronjobs"
	case *policyv1.PodDisruptionBudget:
		return "/apis/policy/v1", "poddisruptionbudgets"
	case *networkingv1.NetworkPolicy:
		return "/apis/networking.k8s.io/v1", "networkpolicies"
	case *discoveryv1.EndpointSlice:
		return "/apis/discovery.k8s.io/v1", "endpointslices"
	case *rbacv1.ClusterRole:
		return "/apis/rbac.authorization.k8s.io/v1", "clusterroles"
	case *rbacv1.ClusterRoleBinding:
		return "/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"
	}
	return "", fmt.Sprintf("unknown type %T", o)
}

// path is where an object is; without its name, where it is created.
func path(o Object, name string, subresource ...string) []string {
	group, resource := collection(o)
	segments := []string{group}
	if o.GetNamespace() != "" {
		segments = append(segments, "namespaces", o.GetNamespace())
	}
	segments = append(segments, resource)
	if name != "" {
		segments = append(segments, name)
	}
	return append(segments, subresource...)
}

// send sends body, if any, and reads the answer into into, if any.
func send(ctx context.Context, r *rest.Request, body, into any) error {
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = r.Body(b)
	}
	result := r.Do(ctx)
	if err := result.Error(); err != nil {
		return err
	}
	raw, err := result.Raw()
	if err != nil || into == nil {
		return err
	}
	// Decoding leaves alone what the JSON does not mention.
	reflect.ValueOf(into).Elem().SetZero()
	return json.Unmarshal(raw, into)
}

// Create creates the object; afterwards it is as the API server made it.
func (e *Env) Create(tb testing.TB, o Object) {
	tb.Helper()
	if err := send(tb.Context(), e.client.Post().AbsPath(path(o, "")...).Param("fieldManager", fieldManager), o, o); err != nil {
		tb.Fatalf("create %s: %v", describe(o), err)
	}
}

// Get reads the object again.
func (e *Env) Get(tb testing.TB, o Object) {
	tb.Helper()
	if err := e.read(tb.Context(), o); err != nil {
		tb.Fatalf("read %s: %v", describe(o), err)
	}
}

// read reads the object again; it keeps its name where that fails.
func (e *Env) read(ctx context.Context, o Object) error {
	return send(ctx, e.client.Get().AbsPath(path(o, o.GetName())...), nil, o)
}

// Exists says whether there is an object of that type and name, whichever incarnation.
func (e *Env) Exists(tb testing.TB, o Object) bool {
	tb.Helper()
	err := send(tb.Context(), e.client.Get().AbsPath(path(o, o.GetName())...), nil, nil)
	if err != nil && !apierrors.IsNotFound(err) {
		tb.Fatalf("read %s: %v", describe(o), err)
	}
	return err == nil
}

// Lives says whether this very pod is there and not on its way out.
func (e *Env) Lives(tb testing.TB, p corev1.Pod) bool {
	tb.Helper()
	now := &corev1.Pod{ObjectMeta: p.ObjectMeta}
	if err := e.read(tb.Context(), now); err != nil {
		if !apierrors.IsNotFound(err) {
			tb.Fatalf("read %s: %v", describe(now), err)
		}
		return false
	}
	return now.UID == p.UID && now.DeletionTimestamp == nil
}

// Patch sends a JSON merge patch; afterwards the object is as it then is.
func (e *Env) Patch(tb testing.TB, o Object, patch any, subresource ...string) {
	tb.Helper()
	r := e.client.Patch(types.MergePatchType).AbsPath(path(o, o.GetName(), subresource...)...).Param("fieldManager", fieldManager)
	if err := send(tb.Context(), r, patch, o); err != nil {
		tb.Fatalf("patch %s: %v", describe(o), err)
	}
}

// Apply is a server-side apply by a field manager of that name, which takes over what others hold.
func (e *Env) Apply(tb testing.TB, o Object, manager string, configuration any) {
	tb.Helper()
	r := e.client.Patch(types.ApplyPatchType).AbsPath(path(o, o.GetName())...).Param("fieldManager", manager).Param("force", "true")
	if err := send(tb.Context(), r, configuration, o); err != nil {
		tb.Fatalf("apply %s: %v", describe(o), err)
	}
}

// Delete deletes the object, with its own grace period, and does not wait until it is gone.
func (e *Env) Delete(tb testing.TB, o Object) {
	tb.Helper()
	if err := send(tb.Context(), e.client.Delete().AbsPath(path(o, o.GetName())...), metav1.DeleteOptions{}, nil); err != nil {
		tb.Fatalf("delete %s: %v", describe(o), err)
	}
}

// removeAfterwards removes an object at the end of the test, as far as it still exists.
func (e *Env) removeAfterwards(tb testing.TB, o Object) {
	tb.Helper()
	tb.Cleanup(func() { e.Remove(tb, o) })
}

// List reads the objects of like's type and namespace with these labels into into, such as *corev1.PodList.
func (e *Env) List(ctx context.Context, like Object, labels map[string]string, into any) error {
	r := e.client.Get().AbsPath(path(like, "")...)
	if len(labels) > 0 {
		r = r.Param("labelSelector", metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels}))
	}
	return send(ctx, r, nil, into)
}

func describe(o Object) string {
	_, resource := collection(o)
	return strings.TrimSuffix(resource+" "+strings.Trim(o.GetNamespace()+"/"+o.GetName(), "/"), " ")
}

// Release lets go an object that a finalizer of the test holds.
func (e *Env) Release(tb testing.TB, o Object) {
	tb.Helper()
	// The test's own context is over when this runs as a clean-up.
	ctx := context.WithoutCancel(tb.Context())
	patch := map[string]any{"metadata": map[string]any{"finalizers": nil}}
	if err := send(ctx, e.client.Patch(types.MergePatchType).AbsPath(path(o, o.GetName())...), patch, nil); err != nil && !apierrors.IsNotFound(err) {
		tb.Errorf("release %s: %v", describe(o), err)
	}
}

// Remove deletes an object as a clean-up, when the test's own context is over.
func (e *Env) Remove(tb testing.TB, o Object) {
	tb.Helper()
	at, now := e.client.Delete().AbsPath(path(o, o.GetName())...), int64(0)
	err := send(context.WithoutCancel(tb.Context()), at, metav1.DeleteOptions{GracePeriodSeconds: &now}, nil)
	if err != nil && !apierrors.IsNotFound(err) {
		tb.Errorf("clean up %s: %v", describe(o), err)
	}
}
