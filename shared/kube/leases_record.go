package kube

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/ascii85"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// A record as a Lease, for people with kubectl:
//
//	kubectl get leases -l app.kubernetes.io/managed-by=riposte -o yaml
//
// The time it expires is an annotation and not acquireTime and leaseDurationSeconds, because those count whole seconds, more
// than none, and leave the adding up to the reader. The value is there as text if it is text, which all of Riposte's
// are. Other bytes are in base 85: in base 64 the largest would not fit into the 256 KiB that annotations may have.
const (
	annotationKey     = "riposte.dev/key"
	annotationExpires = "riposte.dev/expires"
	annotationText    = "riposte.dev/record"
	annotationBytes   = "riposte.dev/record.ascii85"

	labelManagedBy = "app.kubernetes.io/managed-by"
	labelName      = "app.kubernetes.io/name"
	managedBy      = "riposte"
)

// leaseName is the name of the Lease for a key. Keys hold what names of objects cannot.
func leaseName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "riposte-" + hex.EncodeToString(sum[:20])
}

// newLease is a record as a Lease. Its holder is different with every write, so that a write can be told from another.
func (l *leases) newLease(key string, value []byte, expires time.Time) *coordinationv1.Lease {
	holder, now := l.client.manager+"_"+rand.Text(), metav1.NowMicro()
	lease := &coordinationv1.Lease{
		TypeMeta: metav1.TypeMeta{APIVersion: Leases.APIVersion(), Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: l.namespace, Name: leaseName(key),
			Labels:      map[string]string{labelManagedBy: managedBy, labelName: l.client.manager},
			Annotations: map[string]string{annotationKey: key, annotationExpires: expires.UTC().Format(time.RFC3339Nano)},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, AcquireTime: &now},
	}
	if utf8.Valid(value) {
		lease.Annotations[annotationText] = string(value)
	} else {
		encoded := make([]byte, ascii85.MaxEncodedLen(len(value)))
		lease.Annotations[annotationBytes] = string(encoded[:ascii85.Encode(encoded, value)])
	}
	return lease
}

// entryOf reads a record from its Lease. Whatever is wrong with it was done by somebody else, whom an operator must find.
func entryOf(lease *coordinationv1.Lease, key string) (store.Entry, error) {
	wrong := func(format string, args ...any) (store.Entry, error) {
		return store.Entry{}, response.PermanentError(fmt.Errorf("lease %s/%s is no record of Riposte: "+format, append([]any{lease.Namespace, lease.Name}, args...)...))
	}
	if got := lease.Annotations[annotationKey]; got != key {
		return wrong("%s is %q: want %q", annotationKey, got, key)
	}
	until, err := expiry(lease)
	if err != nil {
		return wrong("%s is %q: want a time as in RFC 3339", annotationExpires, lease.Annotations[annotationExpires])
	}
	value := []byte(lease.Annotations[annotationText])
	if encoded, ok := lease.Annotations[annotationBytes]; ok {
		value = make([]byte, 4*len(encoded)) // a z stands for four bytes
		n, _, err := ascii85.Decode(value, []byte(encoded), true)
		if err != nil {
			return wrong("%s is not in base 85: %w", annotationBytes, err)
		}
		value = value[:n]
	}
	return store.Entry{Value: value, Expires: until, Version: versionOf(lease)}, nil
}

func expiry(lease *coordinationv1.Lease) (time.Time, error) {
	return time.Parse(time.RFC3339Nano, lease.Annotations[annotationExpires])
}

// writer says which write a Lease is from.
func writer(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// versionOf names both preconditions: a resourceVersion says nothing of another object with the same name.
func versionOf(lease *coordinationv1.Lease) string {
	return string(lease.UID) + "/" + lease.ResourceVersion
}

func parseVersion(version string) (types.UID, string) {
	uid, resourceVersion, _ := strings.Cut(version, "/")
	return types.UID(uid), resourceVersion
}
