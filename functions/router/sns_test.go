package function

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit/pki"
)

const (
	topic       = "arn:aws:sns:eu-west-1:123456789012:falco"
	certAddress = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
	issuerPage  = "http://crt.r2m01.amazontrust.com/r2m01.cer"
	confirmPage = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A123456789012%3Afalco&Token=abc"
)

// amazon is SNS as the router sees it: its messages, its certificates and its addresses.
type amazon struct {
	*outside
	root, issuer *pki.Authority
	signer       pki.Certificate
}

func newAmazon(t *testing.T) *amazon {
	t.Helper()
	a := &amazon{outside: newOutside(t, "sns.eu-west-1.amazonaws.com", "sns.us-east-1.amazonaws.com", "sns.s3.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn", "evil.example"), root: pki.New(t, "Amazon Root CA 1")}
	a.issuer = a.root.Intermediate(t, "Amazon RSA 2048 M01")
	a.signer = a.issuer.Issue(t, pki.Leaf{Names: []string{"sns.amazonaws.com"}, Issuer: issuerPage, RSA: true})
	a.put(issuerPage, http.StatusOK, a.issuer.Certificate.Raw)
	a.put(certAddress, http.StatusOK, a.signer.PEM)
	a.put(confirmPage, http.StatusOK, []byte("<ConfirmSubscriptionResponse/>"))
	return a
}

// input is an input that trusts this amazon.
func (a *amazon) input(t *testing.T, log *lines, environ map[string]string) *snsInput {
	t.Helper()
	var c snsConfig
	if err := config.Load(environ, &c); err != nil {
		t.Fatal(err)
	}
	s := newSNSInput(c, slog.New(slog.NewJSONHandler(log, nil)))
	s.send, s.certificates.send, s.certificates.roots = a, a, a.root.Pool()
	return s
}

// message is a message before it is signed.
func message(kind string, further map[string]any) map[string]any {
	m := map[string]any{
		"Type": kind, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": topic, "Message": string(numbered(1)),
		"Timestamp": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "SignatureVersion": "2", "SigningCertURL": certAddress,
	}
	if kind != "Notification" {
		m["Token"], m["SubscribeURL"] = "abc", confirmPage
	}
	maps.Copy(m, further)
	return m
}

// sign does what AWS's documentation says, not what the code under test does.
func sign(t *testing.T, key crypto.Signer, m map[string]any) map[string]any {
	t.Helper()
	fields := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if m["Type"] != "Notification" {
		fields = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var text strings.Builder
	for _, field := range fields {
		if value, ok := m[field].(string); ok {
			text.WriteString(field + "\n" + value + "\n")
		}
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		t.Fatal("SNS signs with RSA")
	}
	var signature []byte
	var err error
	if m["SignatureVersion"] == "1" {
		sum := sha1.Sum([]byte(text.String()))
		signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA1, sum[:])
	} else {
		sum := sha256.Sum256([]byte(text.String()))
		signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	m["Signature"] = base64.StdEncoding.EncodeToString(signature)
	return m
}

// posted is the request that carries a message.
func posted(t *testing.T, m map[string]any) serve.Request {
	t.Helper()
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := m["Type"].(string)
	return serve.Request{Header: http.Header{"X-Amz-Sns-Message-Type": {kind}, "Content-Type": {"text/plain; charset=UTF-8"}}, Body: body}
}

func TestNotifications(t *testing.T) {
	a := newAmazon(t)
	stranger := pki.New(t, "Nobody")
	const elsewhere = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-"
	certificate := func(name string, c pki.Certificate) string {
		a.put(elsewhere+name+".pem", http.StatusOK, c.PEM)
		return elsewhere + name + ".pem"
	}
	a.put(elsewhere+"busy.pem", http.StatusServiceUnavailable, nil)
	a.put(elsewhere+"text.pem", http.StatusOK, []byte("<Error/>"))
	a.put("http://crt.example/broken.cer", http.StatusOK, []byte("-----"))
	// SNS's own certificates, in places that SNS does not use for this topic.
	bucket, region := strings.Replace(certAddress, "eu-west-1", "s3", 1), strings.Replace(certAddress, "eu-west-1", "us-east-1", 1)
	a.put(bucket, http.StatusOK, a.signer.PEM)
	a.put(region, http.StatusOK, a.signer.PEM)
	named := func(leaf pki.Leaf) pki.Certificate {
		leaf.RSA, leaf.Issuer = true, issuerPage
		return a.issuer.Issue(t, leaf)
	}
	regional := named(pki.Leaf{Names: []string{"sns-signing.af-south-1.amazonaws.com", "sns.af-south-1.amazonaws.com"}})
	foreign := named(pki.Leaf{Names: []string{"sns.amazonaws.com.evil.example", "evil.example"}})
	expired := named(pki.Leaf{Names: []string{"sns.amazonaws.com"}, Valid: -time.Hour})
	untrusted := stranger.Issue(t, pki.Leaf{Names: []string{"sns.amazonaws.com"}, RSA: true})
	orphan := a.issuer.Issue(t, pki.Leaf{Names: []string{"sns.amazonaws.com"}, RSA: true})
	unreachable := a.issuer.Issue(t, pki.Leaf{Names: []string{"sns.amazonaws.com"}, RSA: true, Issuer: "http://crt.example/none.cer"})
	misled := a.issuer.Issue(t, pki.Leaf{Names: []string{"sns.amazonaws.com"}, RSA: true, Issuer: "http://crt.example/broken.cer"})
	direct := a.root.Issue(t, pki.Leaf{Names: []string{"sns.amazonaws.com"}, RSA: true})

	tests := map[string]struct {
		fields map[string]any
		key    crypto.Signer  // Nil is SNS's own.
		after  map[string]any // What is changed once it is signed.
		header map[string]string
		want   string
	}{
		"signature version 2":      {want: accepted},
		"signature version 1":      {fields: map[string]any{"SignatureVersion": "1"}, want: accepted},
		"with a subject":           {fields: map[string]any{"Subject": "an alert"}, want: accepted},
		"an empty subject":         {fields: map[string]any{"Subject": ""}, want: accepted},
		"a regional certificate":   {fields: map[string]any{"SigningCertURL": certificate("regional", regional)}, key: regional.Key, want: accepted},
		"issued by the root":       {fields: map[string]any{"SigningCertURL": certificate("direct", direct)}, key: direct.Key, want: accepted},
		"attributes added":         {after: map[string]any{"MessageAttributes": attributes("rule", "forged", "priority", "Critical", "x", "y")}, want: accepted},
		"almost an hour old":       {fields: map[string]any{"Timestamp": ago(59 * time.Minute)}, want: accepted},
		"signed by somebody else":  {key: untrusted.Key, want: unauthenticated},
		"altered":                  {after: map[string]any{"Message": string(numbered(2))}, want: unauthenticated},
		"a subject added":          {after: map[string]any{"Subject": "x"}, want: unauthenticated},
		"a field moved":            {fields: map[string]any{"Subject": "x"}, after: map[string]any{"Subject": nil}, want: unauthenticated},
		"version changed":          {after: map[string]any{"SignatureVersion": "1"}, want: unauthenticated},
		"unknown version":          {after: map[string]any{"SignatureVersion": "3"}, want: unauthenticated},
		"no signature":             {after: map[string]any{"Signature": ""}, want: unauthenticated},
		"signature is no base64":   {after: map[string]any{"Signature": "?"}, want: unauthenticated},
		"type changed":             {after: map[string]any{"Type": "SubscriptionConfirmation"}, want: unauthenticated},
		"unknown type":             {fields: map[string]any{"Type": "Hello"}, want: unauthenticated},
		"replayed":                 {fields: map[string]any{"Timestamp": ago(2 * time.Hour)}, want: unauthenticated},
		"from the future":          {fields: map[string]any{"Timestamp": ago(-time.Hour)}, want: unauthenticated},
		"no time":                  {fields: map[string]any{"Timestamp": "yesterday"}, want: unauthenticated},
		"replayed with a new time": {fields: map[string]any{"Timestamp": ago(2 * time.Hour)}, after: map[string]any{"Timestamp": ago(0)}, want: unauthenticated},
		"foreign topic":            {fields: map[string]any{"TopicArn": topic + "2"}, want: unauthenticated},
		"no topic":                 {fields: map[string]any{"TopicArn": ""}, want: unauthenticated},
		"no alert":                 {fields: map[string]any{"Message": `{"specversion":"1.0"}`}, want: "unknown"},
		"raw delivery":             {header: map[string]string{"X-Amz-Sns-Rawdelivery": "true"}, want: unauthenticated},
		"raw delivery alone":       {header: map[string]string{"X-Amz-Sns-Rawdelivery": "true", "X-Amz-Sns-Message-Type": ""}, want: unauthenticated},

		"certificate expired":             {fields: map[string]any{"SigningCertURL": certificate("expired", expired)}, key: expired.Key, want: unauthenticated},
		"certificate of another name":     {fields: map[string]any{"SigningCertURL": certificate("foreign", foreign)}, key: foreign.Key, want: unauthenticated},
		"certificate of another root":     {fields: map[string]any{"SigningCertURL": certificate("untrusted", untrusted)}, key: untrusted.Key, want: unauthenticated},
		"certificate without its issuer":  {fields: map[string]any{"SigningCertURL": certificate("orphan", orphan)}, key: orphan.Key, want: unauthenticated},
		"issuer's certificate away":       {fields: map[string]any{"SigningCertURL": certificate("unreachable", unreachable)}, key: unreachable.Key, want: "transient"},
		"issuer's certificate is none":    {fields: map[string]any{"SigningCertURL": certificate("misled", misled)}, key: misled.Key, want: unauthenticated},
		"certificate is none":             {fields: map[string]any{"SigningCertURL": elsewhere + "text.pem"}, want: unauthenticated},
		"certificate not found":           {fields: map[string]any{"SigningCertURL": elsewhere + "gone.pem"}, want: unauthenticated},
		"certificate cannot be had now":   {fields: map[string]any{"SigningCertURL": elsewhere + "busy.pem"}, want: "transient"},
		"certificate of a bucket":         {fields: map[string]any{"SigningCertURL": bucket}, want: unauthenticated},
		"certificate of another region":   {fields: map[string]any{"SigningCertURL": region}, want: unauthenticated},
		"certificate from a foreign host": {fields: map[string]any{"SigningCertURL": "https://evil.example/SimpleNotificationService-1.pem"}, want: unauthenticated},
		"without a certificate":           {after: map[string]any{"SigningCertURL": ""}, want: unauthenticated},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.key == nil {
				test.key = a.signer.Key
			}
			m := sign(t, test.key, message("Notification", test.fields))
			maps.Copy(m, test.after)
			q := posted(t, m)
			for name, value := range test.header {
				q.Header.Set(name, value)
			}
			if !isSNS(q) {
				t.Fatal("it is not recognised")
			}
			events, err := a.input(t, &lines{}, map[string]string{"SNS_TOPIC_ARNS": topic}).open(t.Context(), q)
			if got := verdict(err); got != test.want {
				t.Fatalf("%s: %v, want %s", got, err, test.want)
			}
			if err == nil && !cmp.Equal(bare(events), []response.Event{{Type: falco.TypeFalcosidekick, Data: numbered(1)}}) {
				t.Errorf("took %v", events)
			}
			for _, address := range a.requests() {
				if strings.Contains(address, "evil") {
					t.Errorf("it went to %s", address)
				}
			}
		})
	}
	if isSNS(serve.Request{Header: http.Header{}}) {
		t.Error("every request is one of SNS")
	}
	q := posted(t, message("Notification", nil))
	if _, err := a.input(t, &lines{}, nil).open(t.Context(), q); verdict(err) != unauthenticated {
		t.Errorf("without topics: %v", err)
	}
	q.Body = []byte("{")
	if _, err := a.input(t, &lines{}, map[string]string{"SNS_TOPIC_ARNS": topic}).open(t.Context(), q); verdict(err) != "invalid" {
		t.Errorf("no JSON: %v", err)
	}
}

func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format("2006-01-02T15:04:05.000Z") }

func attributes(pairs ...string) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = map[string]any{"Type": "String", "Value": pairs[i+1]}
	}
	return m
}

// Without rawjson the alert is in the attributes, which count only where somebody has said so.
func TestNotificationsWithoutRawJSON(t *testing.T) {
	a, log := newAmazon(t), &lines{}
	s := a.input(t, log, map[string]string{"SNS_TOPIC_ARNS": "arn:aws:sns:us-east-1:123456789012:other," + topic, "SNS_UNSIGNED_ATTRIBUTES": "true"})
	if !log.has("does not sign") {
		t.Error("nobody is told what SNS_UNSIGNED_ATTRIBUTES means")
	}
	m := sign(t, a.signer.Key, message("Notification", map[string]any{
		"Message": "a shell", "MessageAttributes": attributes("rule", "Terminal shell", "priority", "Notice", "source", "syscall", "proc.name", "sh"),
	}))
	events, err := s.open(t.Context(), posted(t, m))
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	alert, err := falco.Decode(events[0].Data)
	if err != nil || alert.Rule != "Terminal shell" || alert.Output != "a shell" || alert.Fields["proc.name"] != "sh" {
		t.Errorf("took %s: %v", events[0].Data, err)
	}
	m["MessageAttributes"] = []string{}
	if _, err := s.open(t.Context(), posted(t, m)); err == nil {
		t.Error("attributes of another shape are taken")
	}
}

func TestSubscriptions(t *testing.T) {
	a := newAmazon(t)
	visited := []string{certAddress, issuerPage, confirmPage}
	other := strings.Replace(confirmPage, "sns.eu", "sns.evil.example/sns.eu", 1)
	tests := map[string]struct {
		kind   string
		fields map[string]any
		after  map[string]any
		status int // Of the address that confirms.
		want   string
		asked  []string
		log    string
	}{
		"confirmed":                  {want: accepted, asked: visited, log: "subscription to SNS confirmed"},
		"forged":                     {after: map[string]any{"Token": "x"}, want: unauthenticated, asked: visited[:2]},
		"foreign topic":              {fields: map[string]any{"TopicArn": topic + "2"}, want: unauthenticated},
		"foreign host":               {fields: map[string]any{"SubscribeURL": strings.Replace(confirmPage, "sns.eu-west-1.amazonaws.com", "evil.example", 1)}, want: unauthenticated, asked: visited[:2]},
		"another region":             {fields: map[string]any{"SubscribeURL": strings.Replace(confirmPage, "sns.eu-west-1", "sns.us-east-1", 1)}, want: unauthenticated, asked: visited[:2]},
		"foreign host in front":      {fields: map[string]any{"SubscribeURL": other}, want: unauthenticated, asked: visited[:2]},
		"without TLS":                {fields: map[string]any{"SubscribeURL": strings.Replace(confirmPage, "https", "http", 1)}, want: unauthenticated, asked: visited[:2]},
		"another action":             {fields: map[string]any{"SubscribeURL": strings.Replace(confirmPage, "Confirm", "Delete", 1)}, want: unauthenticated, asked: visited[:2]},
		"another topic's":            {fields: map[string]any{"SubscribeURL": strings.Replace(confirmPage, "falco", "other", 1)}, want: unauthenticated, asked: visited[:2]},
		"no URL":                     {fields: map[string]any{"SubscribeURL": "%"}, want: unauthenticated, asked: visited[:2]},
		"SNS is away":                {status: http.StatusServiceUnavailable, want: "transient", asked: visited},
		"the token is no longer one": {status: http.StatusNotFound, want: "permanent", asked: visited},
		"unsubscribed":               {kind: "UnsubscribeConfirmation", want: accepted, asked: visited[:2], log: "SNS ended a subscription"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.kind == "" {
				test.kind = "SubscriptionConfirmation"
			}
			if test.status == 0 {
				test.status = http.StatusOK
			}
			a.put(confirmPage, test.status, nil)
			m := sign(t, a.signer.Key, message(test.kind, test.fields))
			maps.Copy(m, test.after)
			log := &lines{}
			a.requests()
			events, err := a.input(t, log, map[string]string{"SNS_TOPIC_ARNS": topic}).open(t.Context(), posted(t, m))
			if got := verdict(err); got != test.want || len(events) > 0 {
				t.Errorf("%s: %v with %v, want %s", got, err, events, test.want)
			}
			if diff := cmp.Diff(test.asked, a.requests()); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
			if test.log != "" && !log.has(test.log) {
				t.Errorf("no word of %q in the log", test.log)
			}
		})
	}
}

// A certificate is downloaded once, while it is valid, and the cache has an end.
func TestCertificatesAreKept(t *testing.T) {
	a := newAmazon(t)
	s := a.input(t, &lines{}, map[string]string{"SNS_TOPIC_ARNS": topic})
	for range 3 {
		if _, err := s.open(t.Context(), posted(t, sign(t, a.signer.Key, message("Notification", nil)))); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{certAddress, issuerPage}, a.requests()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	for i := range 3 * keptCertificates {
		address := strings.Replace(certAddress, "0123", strings.Repeat("a", i+1), 1)
		a.put(address, http.StatusOK, a.signer.PEM)
		if _, err := s.certificates.get(t.Context(), address); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.certificates.kept); n > keptCertificates {
		t.Errorf("%d certificates are kept, want %d or fewer", n, keptCertificates)
	}
	s.certificates.now = func() time.Time { return time.Now().Add(2 * time.Hour) } // All have ended.
	if _, err := s.certificates.get(t.Context(), certAddress); verdict(err) != unauthenticated {
		t.Errorf("a certificate that has ended: %v", err)
	}
}

func TestAddressesOfCertificates(t *testing.T) {
	const path = "/SimpleNotificationService-0123456789abcdef.pem"
	for address, want := range map[string]string{
		"https://sns.eu-west-1.amazonaws.com" + path:                       accepted,
		"https://sns.cn-north-1.amazonaws.com.cn" + path:                   accepted,
		"http://sns.eu-west-1.amazonaws.com" + path:                        unauthenticated,
		"https://sns.eu-west-1.amazonaws.com:444" + path:                   unauthenticated,
		"https://u:p@sns.eu-west-1.amazonaws.com" + path:                   unauthenticated,
		"https://sns.eu-west-1.amazonaws.com" + path + "?a":                unauthenticated,
		"https://sns.eu-west-1.amazonaws.com" + path + "?":                 unauthenticated,
		"https://sns.eu-west-1.amazonaws.com" + path + "#1":                unauthenticated,
		"https://sns.eu-west-1.amazonaws.com/%53" + path[2:]:               unauthenticated,
		"HTTPS://sns.eu-west-1.amazonaws.com" + path:                       unauthenticated,
		"https://SNS.eu-west-1.amazonaws.com" + path:                       unauthenticated,
		"https://sns.eu-west-1.amazonaws.com." + path:                      unauthenticated,
		"https://sns.eu-west-1.amazonaws.com" + path + "\n":                unauthenticated,
		"https://sns.eu-west-1.amazonaws.com/a" + path:                     unauthenticated,
		"https://sns.eu-west-1.amazonaws.com/%2e%2e" + path:                unauthenticated,
		"https://sns.eu-west-1.amazonaws.com/":                             unauthenticated,
		"https://sns.eu-west-1.amazonaws.com.evil.example" + path:          unauthenticated,
		"https://sns.eu-west-1.amazonaws.com.cn.evil.example" + path:       unauthenticated,
		"https://sns.evil.example" + path:                                  unauthenticated,
		"https://xsns.eu-west-1.amazonaws.com" + path:                      unauthenticated,
		"https://s3.eu-west-1.amazonaws.com" + path:                        unauthenticated,
		"https://sns.bucket.s3.amazonaws.com" + path:                       unauthenticated,
		"https://evil.example/#https://sns.eu-west-1.amazonaws.com" + path: unauthenticated,
		"https://evil.example\\@sns.eu-west-1.amazonaws.com" + path:        unauthenticated,
		"://": unauthenticated,
		"":    unauthenticated,
	} {
		t.Run(address, func(t *testing.T) {
			a := newAmazon(t)
			if u, err := url.Parse(address); err == nil && want == accepted {
				a.put(u.String(), http.StatusOK, a.signer.PEM)
			}
			c := newCertificates(a)
			c.roots = a.root.Pool()
			if _, err := c.get(t.Context(), address); verdict(err) != want {
				t.Errorf("%v, want %s", err, want)
			}
			if asked := a.requests(); want != accepted && len(asked) > 0 {
				t.Errorf("asked for %q", asked)
			}
		})
	}
}

func TestHostsOfTopics(t *testing.T) {
	for arn, want := range map[string]string{
		topic: "sns.eu-west-1.amazonaws.com", "arn:aws-us-gov:sns:us-gov-west-1:123456789012:a": "sns.us-gov-west-1.amazonaws.com",
		"arn:aws-cn:sns:cn-north-1:123456789012:a": "sns.cn-north-1.amazonaws.com.cn", "falco": "sns..amazonaws.com",
	} {
		if got := hostOf(arn); got != want {
			t.Errorf("%s: %s, want %s", arn, got, want)
		}
	}
}

// held answers when it is told to.
type held struct {
	sender
	asked, release chan struct{}
}

func (h held) Do(r *http.Request) (*http.Response, error) {
	h.asked <- struct{}{}
	<-h.release
	return h.sender.Do(r)
}

// Strangers who name certificates that nobody has make us send two requests at a time, few of them are kept waiting, and
// what is known is known to others all the while.
func TestManyUnknownCertificates(t *testing.T) {
	a := newAmazon(t)
	s := a.input(t, &lines{}, map[string]string{"SNS_TOPIC_ARNS": topic})
	good := posted(t, sign(t, a.signer.Key, message("Notification", nil)))
	if _, err := s.open(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	h := held{a, make(chan struct{}), make(chan struct{})}
	s.certificates.send = h
	const strangers = 100
	answers := make(chan error, strangers)
	for i := range strangers {
		address := strings.Replace(certAddress, "0123", strings.Repeat("a", i+1), 1)
		go func() {
			_, err := s.certificates.get(t.Context(), address)
			answers <- err
		}()
	}
	<-h.asked
	<-h.asked
	for range strangers - 2 - maxWaiting { // Those who are let wait are not answered.
		if err := <-answers; response.KindOf(err) != response.Transient || response.RetryAfter(err) == 0 {
			t.Fatalf("one too many: %v", err)
		}
	}
	if _, err := s.open(t.Context(), good); err != nil {
		t.Errorf("SNS is held up by strangers: %v", err)
	}
	go func() {
		for range h.asked {
		}
	}()
	close(h.release)
	for range 2 + maxWaiting {
		if err := <-answers; verdict(err) != unauthenticated {
			t.Errorf("a certificate that is none: %v", err)
		}
	}
	close(h.asked)
}

func TestSNSSettings(t *testing.T) {
	for value, good := range map[string]bool{
		"": true, topic: true, topic + ", arn:aws-cn:sns:cn-north-1:123456789012:a_B-1": true, "arn:aws-us-gov:sns:us-gov-west-1:123456789012:a": true,
		"falco": false, topic + ".fifo": false, "arn:aws:sqs:eu-west-1:123456789012:falco": false, "arn:aws:sns:eu-west-1:*:falco": false, topic + ",": false,
	} {
		err := config.Load(map[string]string{"SNS_TOPIC_ARNS": value}, &snsConfig{})
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "SNS_TOPIC_ARNS") {
			t.Errorf("SNS_TOPIC_ARNS %q: %v", value, err)
		}
	}
	if err := config.Load(map[string]string{"SNS_UNSIGNED_ATTRIBUTES": "true"}, &snsConfig{}); err == nil {
		t.Error("attributes without a topic are allowed")
	}
}
