// Package ekstest stands in for Amazon EKS in front of a real API server: DescribeCluster, and an endpoint that takes the
// tokens of one role and of no other.
//
// It believes nothing. A request to EKS has to be signed with the role's key, and so has the request to STS in a token, which
// is checked as EKS and then STS do. What passes acts as the role's access entry says: under its name and in its groups, which
// is where RBAC comes in.
package ekstest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// What the cluster is called and where it is.
const (
	Name   = "test"
	Region = "eu-west-1"
	// ARN is the cluster's full name.
	ARN = "arn:aws:eks:" + Region + ":123456789012:cluster/" + Name
)

// The role's credentials. SecretKey and SessionToken are not to be seen anywhere.
const (
	AccessKey    = "ASIAEXAMPLEEXAMPLE12"
	SecretKey    = "secret-of-the-role/EXAMPLEKEY"
	SessionToken = "session-of-the-role/EXAMPLETOKEN"
)

// Cluster is an EKS cluster that ends with its test.
type Cluster struct {
	// Environ are the variables by which a function finds it, NAME=value: its name, its region, where EKS is, and the role's
	// credentials.
	Environ []string

	api, endpoint *httptest.Server

	mu        sync.Mutex
	fault     http.HandlerFunc
	revoked   bool
	described int
	tokens    []string
	changed   []string
	problems  []string
}

// Start runs a cluster before the API server of a kubeconfig that may impersonate. The access entry of the role has these
// groups.
func Start(tb testing.TB, kubeconfig string, groups ...string) *Cluster {
	tb.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		tb.Fatalf("read %s: %v", kubeconfig, err)
	}
	upstream, err := url.Parse(config.Host)
	if err != nil {
		tb.Fatalf("read the address of the API server: %v", err)
	}
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "arn:aws:sts::123456789012:assumed-role/riposte/session", Groups: groups,
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		tb.Fatalf("reach the API server: %v", err)
	}
	c := &Cluster{}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream); r.Out.Header.Del("Authorization") },
		Transport: transport, ModifyResponse: c.change,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	c.endpoint = httptest.NewUnstartedServer(c.authenticated(forward))
	c.endpoint.Config.ErrorLog = log.New(io.Discard, "", 0) // callers that give up
	c.endpoint.StartTLS()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /clusters/{name}", c.describe)
	c.api = httptest.NewServer(mux)
	tb.Cleanup(func() {
		c.api.CloseClientConnections()
		c.endpoint.CloseClientConnections()
		c.api.Close()
		c.endpoint.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range c.problems {
			tb.Errorf("the cluster refused a request: %s", p)
		}
	})
	c.Environ = []string{
		"KUBE_CLUSTER=eks:" + Name, "AWS_REGION=" + Region, "AWS_ENDPOINT_URL_EKS=" + c.api.URL, "AWS_ACCESS_KEY_ID=" + AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + SecretKey, "AWS_SESSION_TOKEN=" + SessionToken, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/nowhere", "AWS_SHARED_CREDENTIALS_FILE=/nowhere",
	}
	return c
}

// Fault has EKS answer like this, or with nil as it does.
func (c *Cluster) Fault(f http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

// Revoke takes the role's access entry away, or with false gives it back.
func (c *Cluster) Revoke(revoked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked = revoked
}

// Described is how often EKS was asked for the cluster.
func (c *Cluster) Described() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.described
}

// Tokens are the different tokens that came, in their order.
func (c *Cluster) Tokens() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.tokens...)
}

// Changed are the changes that the API server took from the role, as text, but for Events and dry runs.
func (c *Cluster) Changed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.changed...)
}

// change notes one of them.
func (c *Cluster) change(r *http.Response) error {
	q := r.Request
	if q.Method == http.MethodGet || r.StatusCode >= http.StatusMultipleChoices || strings.HasSuffix(q.URL.Path, "/events") || q.URL.Query().Has("dryRun") {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = append(c.changed, q.Method+" "+q.URL.Path)
	return nil
}

// problem notes what fails the test: nothing but a fault of the client's makes a signature wrong.
func (c *Cluster) problem(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, err.Error())
}

func (c *Cluster) describe(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.described++
	fault := c.fault
	c.mu.Unlock()
	if err := checkRequest(r); err != nil {
		c.problem(err)
		Answers(http.StatusForbidden, "InvalidSignatureException", err.Error())(w, r)
		return
	}
	switch name := r.PathValue("name"); {
	case fault != nil:
		fault(w, r)
	case name != Name:
		Answers(http.StatusNotFound, "ResourceNotFoundException", "No cluster found for name: "+name+".")(w, r)
	default:
		c.Describes(c.endpoint.URL)(w, r)
	}
}

// Describes answers with the cluster, at this endpoint.
func (c *Cluster) Describes(endpoint string) http.HandlerFunc {
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.endpoint.Certificate().Raw})
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"cluster": map[string]any{
			"name": Name, "arn": ARN, "status": "ACTIVE", "endpoint": endpoint,
			"certificateAuthority": map[string]any{"data": base64.StdEncoding.EncodeToString(authority)},
		}})
	}
}

// Answers is an error as EKS sends it.
// https://docs.aws.amazon.com/eks/latest/APIReference/CommonErrors.html
func Answers(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amzn-Errortype", code)
		w.Header().Set("X-Amzn-Requestid", "REQUEST")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
}

// authenticated lets those through who bring a token of the role.
func (c *Cluster) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		err := checkToken(token)
		if err != nil {
			c.problem(err)
		}
		c.mu.Lock()
		if n := len(c.tokens); err == nil && (n == 0 || c.tokens[n-1] != token) {
			c.tokens = append(c.tokens, token)
		}
		revoked := c.revoked
		c.mu.Unlock()
		if err != nil || revoked {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}
