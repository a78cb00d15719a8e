package kube_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/aws-iam-authenticator/pkg/token"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/ekstest"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// configure sets what the AWS SDK reads, and gives the setting of the cluster.
func configure(t *testing.T, environ []string) kube.Settings {
	t.Helper()
	var s kube.Settings
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if name == "KUBE_CLUSTER" {
			s.Cluster = value
			continue
		}
		t.Setenv(name, value)
	}
	return s
}

func connect(t *testing.T, s kube.Settings) *kube.Client {
	t.Helper()
	c, err := kube.Connect(s, response.Settings{}, "riposte-test")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// onEKS is a client whose role may do everything on a cluster of EKS.
func onEKS(t *testing.T) (*kube.Client, *ekstest.Cluster) {
	t.Helper()
	cluster := ekstest.Start(t, testkit.Cluster(t).Kubeconfig, "system:masters")
	return connect(t, configure(t, cluster.Environ)), cluster
}

// get is one request.
func get(ctx context.Context, c *kube.Client) error {
	var n corev1.Namespace
	return c.Get(ctx, kube.Namespaces, "", "default", &n)
}

func TestClusterSetting(t *testing.T) {
	region := "AWS_REGION=" + ekstest.Region
	tests := map[string]struct {
		settings kube.Settings
		region   string
		names    string // the variable in the error; none where it is right
	}{
		"a name":                      {kube.Settings{Cluster: "eks:my_Cluster-1"}, region, ""},
		"an ARN":                      {kube.Settings{Cluster: "eks:" + ekstest.ARN}, region, ""},
		"an ARN needs no region":      {kube.Settings{Cluster: "eks:" + ekstest.ARN}, "AWS_REGION=", ""},
		"an ARN of another partition": {kube.Settings{Cluster: "eks:arn:aws-us-gov:eks:us-gov-west-1:123456789012:cluster/a"}, region, ""},
		"a name needs a region":       {kube.Settings{Cluster: "eks:test"}, "AWS_REGION=", "AWS_REGION"},
		"no scheme":                   {kube.Settings{Cluster: "test"}, region, "KUBE_CLUSTER"},
		"another scheme":              {kube.Settings{Cluster: "gke:test"}, region, "KUBE_CLUSTER"},
		"no name":                     {kube.Settings{Cluster: "eks:"}, region, "KUBE_CLUSTER"},
		"a name with a dot":           {kube.Settings{Cluster: "eks:a.b"}, region, "KUBE_CLUSTER"},
		"a name that is too long":     {kube.Settings{Cluster: "eks:" + strings.Repeat("a", 101)}, region, "KUBE_CLUSTER"},
		"an ARN of something else":    {kube.Settings{Cluster: "eks:arn:aws:eks:eu-west-1:123456789012:nodegroup/a"}, region, "KUBE_CLUSTER"},
		"beside a kubeconfig":         {kube.Settings{Cluster: "eks:test", Kubeconfig: "/nowhere"}, region, "KUBECONFIG"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// Nobody listens there: to connect asks nobody.
			configure(t, []string{test.region, "AWS_DEFAULT_REGION=", "AWS_ENDPOINT_URL_EKS=http://127.0.0.1:1", "AWS_CONFIG_FILE=/nowhere", "AWS_EC2_METADATA_DISABLED=true"})
			_, err := kube.Connect(test.settings, response.Settings{}, "riposte-test")
			if (err == nil) != (test.names == "") || err != nil && !strings.Contains(err.Error(), test.names) {
				t.Errorf("it gives %v, want an error that names %q", err, test.names)
			}
		})
	}
}

func TestEKSIsAskedOnce(t *testing.T) {
	client, cluster := onEKS(t)
	if cluster.Described() != 0 {
		t.Errorf("EKS was asked %d times before the first request", cluster.Described())
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := get(t.Context(), client); err != nil {
				t.Errorf("get: %v", err)
			}
		})
	}
	all.Wait()
	if cluster.Described() != 1 || len(cluster.Tokens()) != 1 {
		t.Errorf("EKS was asked %d times and got %d tokens, want one each", cluster.Described(), len(cluster.Tokens()))
	}
}

// What counts the requests to the API server does not count those to AWS: a Lease's writer would take its first request for
// a second one.
func TestRequestsToEKSAreNotCounted(t *testing.T) {
	client, _ := onEKS(t)
	var sent atomic.Int32
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaders: func() { sent.Add(1) }})
	if err := get(ctx, client); err != nil || sent.Load() != 1 {
		t.Errorf("%d requests and %v, want one", sent.Load(), err)
	}
}

// sts answers in the place of STS whoever presents the token for this cluster, and passes on everything else.
type sts struct {
	asked *atomic.Int32
	next  http.RoundTripper
}

func (s sts) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() != "sts."+ekstest.Region+".amazonaws.com" {
		return s.next.RoundTrip(r)
	}
	s.asked.Add(1)
	w := httptest.NewRecorder()
	if r.Header.Get("X-K8s-Aws-Id") != ekstest.Name {
		w.WriteHeader(http.StatusForbidden)
	}
	_, _ = io.WriteString(w, `{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"123456789012","Arn":"arn:aws:sts::123456789012:assumed-role/riposte/s","UserId":"AROA:s"}}}`)
	return w.Result(), nil
}

// The code that EKS runs takes the token.
func TestTokenIsOneOfAWSIAMAuthenticator(t *testing.T) {
	client, cluster := onEKS(t)
	if err := get(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	was := http.DefaultTransport // The verifier uses no other.
	http.DefaultTransport = sts{&asked, was}
	defer func() { http.DefaultTransport = was }()
	identity, err := token.NewVerifier(ekstest.Name, "aws", ekstest.Region).Verify(cluster.Tokens()[0])
	if err != nil || identity.CanonicalARN != "arn:aws:iam::123456789012:role/riposte" || identity.AccessKeyID != ekstest.AccessKey || asked.Load() != 1 {
		t.Errorf("it is taken for %+v, %v, and STS was asked %d times", identity, err, asked.Load())
	}
}

func TestTokensAreRenewed(t *testing.T) {
	cluster := ekstest.Start(t, testkit.Cluster(t).Kubeconfig, "system:masters")
	var given atomic.Int32
	// Credentials that end in a moment: a token does not outlive them.
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		given.Add(1)
		_, _ = io.WriteString(w, `{"AccessKeyId":"`+ekstest.AccessKey+`","SecretAccessKey":"`+ekstest.SecretKey+`","Token":"`+ekstest.SessionToken+
			`","Expiration":"`+time.Now().Add(1500*time.Millisecond).UTC().Format(time.RFC3339Nano)+`"}`)
	}))
	t.Cleanup(provider.Close)
	s := configure(t, append(cluster.Environ, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN=", "AWS_CONTAINER_CREDENTIALS_FULL_URI="+provider.URL))
	client := connect(t, s)
	testkit.Eventually(t, "there is a second token", func(ctx context.Context) error {
		if err := get(ctx, client); err != nil {
			t.Errorf("get: %v", err)
		}
		if len(cluster.Tokens()) < 2 {
			return errors.New("there is one")
		}
		return nil
	})
	if cluster.Described() != 1 || given.Load() < 2 {
		t.Errorf("EKS was asked %d times, for credentials %d times: want once, and for each token", cluster.Described(), given.Load())
	}
}

func TestEKSFails(t *testing.T) {
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	tests := map[string]struct {
		fault http.HandlerFunc
		kind  response.Kind
	}{
		"may not be asked":        {ekstest.Answers(403, "AccessDeniedException", "User: arn:aws:sts::123456789012:assumed-role/riposte/s is not authorized to perform: eks:DescribeCluster"), response.Permanent},
		"has no such cluster":     {ekstest.Answers(404, "ResourceNotFoundException", "No cluster found for name: test."), response.Permanent},
		"does not know the key":   {ekstest.Answers(403, "UnrecognizedClientException", "The security token included in the request is invalid."), response.Permanent},
		"quotes what was signed":  {ekstest.Answers(403, "InvalidSignatureException", "The canonical string was x-amz-security-token:"+ekstest.SessionToken), response.Permanent},
		"moves":                   {text(307, ""), response.Permanent},
		"has a key that ends":     {ekstest.Answers(403, "ExpiredTokenException", "The security token included in the request is expired"), response.Transient},
		"is throttled":            {ekstest.Answers(429, "TooManyRequestsException", "slow down"), response.Transient},
		"is throttled, with 400":  {ekstest.Answers(400, "ThrottlingException", "Rate exceeded"), response.Transient},
		"is broken":               {ekstest.Answers(500, "ServerException", "oh"), response.Transient},
		"answers nothing":         {text(200, ""), response.Transient},
		"answers garbage":         {text(200, "<html>"), response.Transient},
		"answers without end":     {text(200, `{"cluster":{"name":"`+strings.Repeat("x", 2<<20)+`"}}`), response.Transient},
		"is making the cluster":   {text(200, `{"cluster":{"name":"test","status":"CREATING"}}`), response.Transient},
		"names no endpoint":       {text(200, `{"cluster":{"endpoint":"http://10.0.0.1","certificateAuthority":{"data":"YQ=="}}}`), response.Transient},
		"has no authority":        {text(200, `{"cluster":{"endpoint":"https://10.0.0.1","certificateAuthority":{"data":"#"}}}`), response.Transient},
		"has an authority of no":  {text(200, `{"cluster":{"endpoint":"https://10.0.0.1","certificateAuthority":{"data":"YQ=="}}}`), response.Transient},
		"breaks off the answer":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, response.Transient},
		"is nobody at the door":   {nil, response.Transient},
		"has a cluster elsewhere": {nil, response.Transient},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client, cluster := onEKS(t)
			switch name {
			case "is nobody at the door":
				t.Setenv("AWS_ENDPOINT_URL_EKS", "http://127.0.0.1:1")
				client = connect(t, kube.Settings{Cluster: "eks:test"})
			case "has a cluster elsewhere":
				cluster.Fault(cluster.Describes("https://127.0.0.1:1"))
			default:
				cluster.Fault(test.fault)
			}
			err := get(t.Context(), client)
			if response.KindOf(err) != test.kind {
				t.Errorf("it gives %v of kind %s, want %s", err, response.KindOf(err), test.kind)
			}
			if strings.Contains(err.Error(), ekstest.SessionToken) || strings.Contains(err.Error(), ekstest.SecretKey) || !strings.Contains(err.Error(), ekstest.Name) {
				t.Errorf("the error shows too much, or not the cluster: %v", err)
			}
			if name == "is nobody at the door" {
				return
			}
			cluster.Fault(nil)
			if err := get(t.Context(), client); err != nil {
				t.Errorf("afterwards it gives %v", err)
			}
		})
	}
}

func TestNoCredentials(t *testing.T) {
	cluster := ekstest.Start(t, testkit.Cluster(t).Kubeconfig)
	s := configure(t, append(cluster.Environ, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN="))
	if err := get(t.Context(), connect(t, s)); response.KindOf(err) != response.Transient || !strings.Contains(err.Error(), ekstest.Name) {
		t.Errorf("it gives %v of kind %s", err, response.KindOf(err))
	}
}

// A cluster that was made anew under its name has another endpoint, and a process may outlive the old one.
func TestClusterIsMadeAnew(t *testing.T) {
	client, cluster := onEKS(t)
	old := httptest.NewTLSServer(http.NotFoundHandler()) // with the authority that the cluster has
	cluster.Fault(cluster.Describes(old.URL))
	if err := get(t.Context(), client); err == nil {
		t.Fatal("the old cluster has the namespace")
	}
	old.CloseClientConnections()
	old.Close()
	cluster.Fault(nil)
	if err := get(t.Context(), client); response.KindOf(err) != response.Transient {
		t.Errorf("with the old one gone it gives %v of kind %s", err, response.KindOf(err))
	}
	for range 2 {
		if err := get(t.Context(), client); err != nil {
			t.Errorf("then it gives %v", err)
		}
	}
	if cluster.Described() != 2 {
		t.Errorf("EKS was asked %d times, want once for each cluster", cluster.Described())
	}
}

// EKS asks STS about tokens, and refuses good ones where that does not answer: a token that it took before is no proof
// against the role, which a new one is.
func TestTokenIsRefusedForAWhile(t *testing.T) {
	client, cluster := onEKS(t)
	if err := get(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	cluster.Revoke(true)
	for _, kind := range []response.Kind{response.Transient, response.Permanent} {
		if err := get(t.Context(), client); response.KindOf(err) != kind {
			t.Errorf("it gives %v of kind %s, want %s", err, response.KindOf(err), kind)
		}
	}
	cluster.Revoke(false)
	if err := get(t.Context(), client); err != nil {
		t.Errorf("afterwards it gives %v", err)
	}
}

func TestRoleWithoutAccessEntry(t *testing.T) {
	client, cluster := onEKS(t)
	cluster.Revoke(true)
	if err := get(t.Context(), client); response.KindOf(err) != response.Permanent {
		t.Errorf("it gives %v of kind %s, want it permanent", err, response.KindOf(err))
	}
	cluster.Revoke(false)
	if err := get(t.Context(), client); err != nil {
		t.Errorf("with its entry back it gives %v", err)
	}
}

// What the role may do there is for RBAC to say.
func TestRoleWithoutRights(t *testing.T) {
	cluster := ekstest.Start(t, testkit.Cluster(t).Kubeconfig, "nobody")
	client := connect(t, configure(t, cluster.Environ))
	var p corev1.Pod
	if err := client.Get(t.Context(), kube.Pods, "default", "web", &p); response.KindOf(err) != response.Permanent || len(cluster.Tokens()) != 1 {
		t.Errorf("it gives %v of kind %s with %d tokens", err, response.KindOf(err), len(cluster.Tokens()))
	}
}

// A caller that gives up is not held up by one that waits for EKS.
func TestWaitingForEKSEnds(t *testing.T) {
	client, cluster := onEKS(t)
	asked, release := make(chan struct{}), make(chan struct{})
	cluster.Fault(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
		panic(http.ErrAbortHandler)
	})
	first, give := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- get(first, client) }()
	<-asked
	second, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := get(second, client); response.KindOf(err) != response.Transient || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who waits gets %v", err)
	}
	cluster.Fault(nil)
	give()
	close(release)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("who asked gets %v", err)
	}
	if err := get(t.Context(), client); err != nil {
		t.Errorf("afterwards it gives %v", err)
	}
}

// The clock that tells whether a token is over is the wall's: the other one stands still while AWS Lambda has the function
// frozen.
func TestTokenTellsTheTime(t *testing.T) {
	configure(t, []string{"AWS_REGION=" + ekstest.Region, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"})
	made := time.Now()
	text, expires, err := kube.TokenFor(t.Context(), "eks:test")
	if err != nil || !strings.HasPrefix(text, "k8s-aws-v1.") {
		t.Fatalf("the token is %q, %v", text, err)
	}
	if life := expires.Sub(made).Round(10 * time.Second); life != 14*time.Minute {
		t.Errorf("it lives for %s, want 14m: STS takes it for 15", life)
	}
	if expires != expires.Round(0) { // Equal does not compare the monotonic reading.
		t.Errorf("its end has a monotonic reading: %s", expires)
	}
}
