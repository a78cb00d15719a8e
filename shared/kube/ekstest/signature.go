package ekstest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// noBody is the SHA-256 of nothing.
const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// date is the form of X-Amz-Date.
const date = "20060102T150405Z"

func role() aws.Credentials {
	return aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey, SessionToken: SessionToken}
}

// checkRequest is nil if a GET to EKS is signed with the role's key: it is signed again, and has to come out the same.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func checkRequest(r *http.Request) error {
	_, fields, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	var signed string
	for field := range strings.SplitSeq(fields, ", ") {
		if list, ok := strings.CutPrefix(field, "SignedHeaders="); ok {
			signed = list
		}
	}
	at, err := time.Parse(date, r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 5*time.Minute {
		return fmt.Errorf("X-Amz-Date is %q: want the time now (%w)", r.Header.Get("X-Amz-Date"), err)
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(signed, ";") {
		if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), role(), again, noBody, "eks", Region, at); err != nil {
		return err
	}
	if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want {
		return fmt.Errorf("the signature of DescribeCluster is %q: want %q", got, want)
	}
	return nil
}

// checkToken is nil if a token is the role's. The checks are those of aws-iam-authenticator's server, which EKS runs, and
// then STS's own of the signature.
// https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/v0.7.5/pkg/token/token.go
func checkToken(token string) error {
	encoded, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok || len(token) > 4096 {
		return fmt.Errorf("the token is %q: want k8s-aws-v1. and at most 4096 bytes", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("the token is %q: want base64url (%w)", token, err)
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return err
	}
	if u.Scheme != "https" || u.Host != "sts."+Region+".amazonaws.com" || u.Path != "/" {
		return fmt.Errorf("the token's URL is %s: want that of STS in %s", u, Region)
	}
	q := u.Query()
	known := []string{
		"Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-SignedHeaders",
	}
	for name, values := range q {
		if !slices.Contains(known, name) || len(values) != 1 {
			return fmt.Errorf("the token's URL has %s %q: want one each of %q", name, values, known)
		}
	}
	if q.Get("Action") != "GetCallerIdentity" {
		return fmt.Errorf("the token's action is %q: want GetCallerIdentity", q.Get("Action"))
	}
	if !slices.Contains(strings.Split(q.Get("X-Amz-SignedHeaders"), ";"), "x-k8s-aws-id") {
		return fmt.Errorf("the token's signed headers are %q: want x-k8s-aws-id among them", q.Get("X-Amz-SignedHeaders"))
	}
	if expires, err := strconv.Atoi(q.Get("X-Amz-Expires")); err != nil || expires < 0 || expires > 900 {
		return fmt.Errorf("the token's X-Amz-Expires is %q: want 0 to 900", q.Get("X-Amz-Expires"))
	}
	at, err := time.Parse(date, q.Get("X-Amz-Date"))
	if err != nil || time.Since(at) > 15*time.Minute || time.Until(at) > 5*time.Minute {
		return fmt.Errorf("the token's X-Amz-Date is %q: want one of the last 15 minutes (%w)", q.Get("X-Amz-Date"), err)
	}
	return checkSigned(u, at)
}

// checkSigned signs the request to STS again, for this cluster.
func checkSigned(u *url.URL, at time.Time) error {
	plain := *u
	plain.RawQuery = url.Values{"Action": u.Query()["Action"], "Version": u.Query()["Version"], "X-Amz-Expires": u.Query()["X-Amz-Expires"]}.Encode()
	r := &http.Request{Method: http.MethodGet, URL: &plain, Host: u.Host, Header: http.Header{"X-K8s-Aws-Id": {Name}}}
	again, _, err := v4.NewSigner().PresignHTTP(r.Context(), role(), r, noBody, "sts", Region, at)
	if err != nil {
		return err
	}
	want, err := url.Parse(again)
	if err != nil {
		return err
	}
	if got := u.Query().Get("X-Amz-Signature"); got != want.Query().Get("X-Amz-Signature") {
		return errors.New("the token is not signed with the role's key for this cluster")
	}
	return nil
}
