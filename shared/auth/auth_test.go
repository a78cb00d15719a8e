package auth_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/config"
)

// The test vector of Standard Webhooks' own libraries.
// https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries
const (
	vectorKey       = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

var (
	sentAt = time.Unix(vectorTime, 0)
	// otherKey is as good a key as the vector's.
	otherKey = "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 24))
)

func secrets(tokens, keys string) auth.Secrets {
	return auth.Secrets{Token: config.NewSecret("AUTH_TOKEN", tokens), Key: config.NewSecret("AUTH_HMAC_KEY", keys)}
}

// header is made of names and values.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// signature are the headers of the vector, with another signature, id or time where they are not empty.
func signature(value, id, at string) http.Header {
	h := header("Webhook-Signature", vectorSignature, "Webhook-Id", vectorID, "Webhook-Timestamp", strconv.Itoa(vectorTime))
	for name, value := range map[string]string{"Webhook-Signature": value, "Webhook-Id": id, "Webhook-Timestamp": at} {
		if value != "" {
			h.Set(name, value)
		}
	}
	return h
}

func key(t *testing.T, text string) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCheck(t *testing.T) {
	signedByOther := auth.Sign(key(t, otherKey), vectorID, sentAt, []byte(vectorBody))
	none := secrets("", "")
	token, keys, both := secrets("secret", ""), secrets("", vectorKey), secrets("secret", vectorKey)
	tests := map[string]struct {
		secrets auth.Secrets
		header  http.Header
		body    string
		now     time.Time
		want    error
	}{
		"nothing is asked for":             {secrets: none},
		"nothing is asked for, some shown": {secrets: none, header: header("Authorization", "Bearer x")},

		"the token":                    {secrets: token, header: header("Authorization", "Bearer secret")},
		"the scheme in small letters":  {secrets: token, header: header("Authorization", "bearer secret")},
		"blanks around the token":      {secrets: token, header: header("Authorization", "Bearer   secret ")},
		"no header":                    {secrets: token, want: auth.ErrUnauthenticated},
		"another token":                {secrets: token, header: header("Authorization", "Bearer Secret"), want: auth.ErrUnauthenticated},
		"the beginning of the token":   {secrets: token, header: header("Authorization", "Bearer secre"), want: auth.ErrUnauthenticated},
		"more than the token":          {secrets: token, header: header("Authorization", "Bearer secrets"), want: auth.ErrUnauthenticated},
		"no token":                     {secrets: token, header: header("Authorization", "Bearer "), want: auth.ErrUnauthenticated},
		"the scheme alone":             {secrets: token, header: header("Authorization", "Bearer"), want: auth.ErrUnauthenticated},
		"the token alone":              {secrets: token, header: header("Authorization", "secret"), want: auth.ErrUnauthenticated},
		"another scheme":               {secrets: token, header: header("Authorization", "Basic secret"), want: auth.ErrUnauthenticated},
		"a second header":              {secrets: token, header: header("Authorization", "Bearer x", "Authorization", "Bearer secret"), want: auth.ErrUnauthenticated},
		"a signature is no token":      {secrets: token, header: signature("", "", ""), want: auth.ErrUnauthenticated},
		"the first of two tokens":      {secrets: secrets("old\nnew\n", ""), header: header("Authorization", "Bearer old")},
		"the second of two tokens":     {secrets: secrets("old\r\nnew", ""), header: header("Authorization", "Bearer new")},
		"both tokens at once":          {secrets: secrets("old\nnew", ""), header: header("Authorization", "Bearer old\nnew"), want: auth.ErrUnauthenticated},
		"the same token on two lines":  {secrets: secrets("secret\nsecret", ""), header: header("Authorization", "Bearer secret")},
		"an empty line is no token":    {secrets: secrets("old\n\nnew", ""), header: header("Authorization", "Bearer "), want: auth.ErrUnauthenticated},
		"nothing but blanks is no one": {secrets: secrets(" \n ", ""), header: header("Authorization", "Bearer "), want: auth.ErrUnreadable},

		"the vector":                   {secrets: keys, header: signature("", "", "")},
		"without whsec_":               {secrets: secrets("", strings.TrimPrefix(vectorKey, "whsec_")), header: signature("", "", "")},
		"four minutes late":            {secrets: keys, header: signature("", "", ""), now: sentAt.Add(4 * time.Minute)},
		"four minutes early":           {secrets: keys, header: signature("", "", ""), now: sentAt.Add(-4 * time.Minute)},
		"replayed":                     {secrets: keys, header: signature("", "", ""), now: sentAt.Add(6 * time.Minute), want: auth.ErrUnauthenticated},
		"from the future":              {secrets: keys, header: signature("", "", ""), now: sentAt.Add(-6 * time.Minute), want: auth.ErrUnauthenticated},
		"replayed with a new time":     {secrets: keys, header: signature("", "", strconv.Itoa(vectorTime+600)), now: sentAt.Add(10 * time.Minute), want: auth.ErrUnauthenticated},
		"with another id":              {secrets: keys, header: signature("", "msg_2", ""), want: auth.ErrUnauthenticated},
		"another body":                 {secrets: keys, header: signature("", "", ""), body: vectorBody + " ", want: auth.ErrUnauthenticated},
		"another key":                  {secrets: keys, header: signature(signedByOther, "", ""), want: auth.ErrUnauthenticated},
		"the second key":               {secrets: secrets("", vectorKey+"\n"+otherKey), header: signature(signedByOther, "", "")},
		"the second signature":         {secrets: keys, header: signature("v1a,abc v1,"+"AAAA "+signedByOther+" "+vectorSignature, "", "")},
		"another version":              {secrets: keys, header: signature("v2"+vectorSignature[2:], "", ""), want: auth.ErrUnauthenticated},
		"no version":                   {secrets: keys, header: signature(vectorSignature[3:], "", ""), want: auth.ErrUnauthenticated},
		"no base64":                    {secrets: keys, header: signature("v1,?", "", ""), want: auth.ErrUnauthenticated},
		"an empty signature":           {secrets: keys, header: signature("v1,", "", ""), want: auth.ErrUnauthenticated},
		"no time":                      {secrets: keys, header: signature("", "", "now"), want: auth.ErrUnauthenticated},
		"the least time there is":      {secrets: keys, header: signature("", "", "-9223372036854775808"), want: auth.ErrUnauthenticated},
		"the greatest time there is":   {secrets: keys, header: signature("", "", "9223372036854775807"), want: auth.ErrUnauthenticated},
		"no id":                        {secrets: keys, header: header("Webhook-Signature", auth.Sign(key(t, vectorKey), "", sentAt, []byte(vectorBody)), "Webhook-Timestamp", strconv.Itoa(vectorTime)), want: auth.ErrUnauthenticated},
		"a part of the body as the id": {secrets: keys, header: moved(t), body: "b", want: auth.ErrUnauthenticated},
		"a token is no signature":      {secrets: keys, header: header("Authorization", "Bearer "+vectorKey), want: auth.ErrUnauthenticated},
		"a key that is too short":      {secrets: secrets("", "whsec_AAAA"), header: signature("", "", ""), want: auth.ErrUnreadable},
		"the token where both count":   {secrets: both, header: header("Authorization", "Bearer secret")},
		"a signature where both count": {secrets: both, header: signature("", "", "")},
		"neither where both count":     {secrets: both, header: header("Authorization", "Bearer x"), want: auth.ErrUnauthenticated},
		"a wrong token, but a signature": {secrets: both, header: func() http.Header {
			h := signature("", "", "")
			h.Set("Authorization", "Bearer x")
			return h
		}()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.body == "" {
				test.body = vectorBody
			}
			if test.now.IsZero() {
				test.now = sentAt
			}
			if err := test.secrets.Check(test.header, []byte(test.body), test.now); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// A header of 64 KiB holds more than a thousand signatures. Were the body read for each, one request of a stranger would
// take a core for half a minute.
func TestManySignatures(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 1<<20)
	good := auth.Sign(key(t, vectorKey), vectorID, sentAt, body)
	for name, junk := range map[string]string{"empty": "v1, ", "of the right length": "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32)) + " "} {
		t.Run(name, func(t *testing.T) {
			many := strings.Repeat(junk, (60<<10)/len(junk))
			check := func(signatures string) (time.Duration, error) {
				begin := time.Now()
				err := secrets("", vectorKey).Check(signature(signatures, "", ""), body, sentAt)
				return time.Since(begin), err
			}
			one, err := check(good)
			if err != nil {
				t.Fatal(err)
			}
			took, err := check(many)
			if !errors.Is(err, auth.ErrUnauthenticated) || took > 50*one+50*time.Millisecond {
				t.Errorf("%v after %s, where one good signature takes %s", err, took, one)
			}
			if _, err := check(many + good); err != nil {
				t.Errorf("a good signature behind them: %v", err)
			}
		})
	}
}

// moved are headers under which "a.1614265330.x.b" could be read in two ways.
func moved(t *testing.T) http.Header {
	t.Helper()
	stamp := strconv.Itoa(vectorTime)
	h := header("Webhook-Id", "a."+stamp, "Webhook-Timestamp", stamp)
	h.Set("Webhook-Signature", auth.Sign(key(t, vectorKey), "a", sentAt, []byte(stamp+".b")))
	return h
}

func TestSign(t *testing.T) {
	if got := auth.Sign(key(t, vectorKey), vectorID, sentAt, []byte(vectorBody)); got != vectorSignature {
		t.Errorf("signature is %s, want %s", got, vectorSignature)
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		secrets auth.Secrets
		enabled bool
		names   []string
	}{
		"nothing":          {secrets: secrets("", "")},
		"a token":          {secrets: secrets("a", ""), enabled: true},
		"a key":            {secrets: secrets("", vectorKey), enabled: true},
		"blanks":           {secrets: secrets(" \n", "\n "), enabled: true, names: []string{"AUTH_TOKEN", "AUTH_HMAC_KEY"}},
		"a word for a key": {secrets: secrets("", "hunter2"), enabled: true, names: []string{"AUTH_HMAC_KEY, line 1"}},
		"a key too short":  {secrets: secrets("", vectorKey+"\nwhsec_"+base64.StdEncoding.EncodeToString(make([]byte, 23))), enabled: true, names: []string{"AUTH_HMAC_KEY, line 2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.secrets.Validate()
			if (err != nil) != (len(test.names) > 0) || test.secrets.Enabled() != test.enabled {
				t.Errorf("enabled %t: %v", test.secrets.Enabled(), err)
			}
			for _, name := range test.names {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("no word of %s: %v", name, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it tells the secret: %v", err)
			}
		})
	}
}

// A secret is rotated while callers use it: the new one is added below the old, then the old one is removed.
func TestRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	shown := func(text string) (token, signed http.Header) {
		return header("Authorization", "Bearer "+text), signature(auth.Sign(key(t, text), vectorID, sentAt, []byte(vectorBody)), "", "")
	}
	oldToken, oldSigned := shown(vectorKey)
	newToken, newSigned := shown(otherKey)
	for name, c := range map[string]struct {
		variable string
		old, new http.Header
	}{
		"token": {"AUTH_TOKEN_FILE", oldToken, newToken},
		"key":   {"AUTH_HMAC_KEY_FILE", oldSigned, newSigned},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, file, vectorKey+"\n")
			var s auth.Secrets
			if err := config.Load(map[string]string{c.variable: file}, &s); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				content  string
				old, new error
			}{
				{vectorKey + "\n", nil, auth.ErrUnauthenticated},
				{vectorKey + "\n" + otherKey + "\n", nil, nil},
				{otherKey, auth.ErrUnauthenticated, nil},
				{"\n", auth.ErrUnreadable, auth.ErrUnreadable},
				{" ", auth.ErrUnreadable, auth.ErrUnreadable},
				{otherKey, auth.ErrUnauthenticated, nil},
			} {
				write(t, file, step.content)
				for who, caller := range map[string]struct {
					header http.Header
					want   error
				}{"old": {c.old, step.old}, "new": {c.new, step.new}} {
					if err := s.Check(caller.header, []byte(vectorBody), sentAt); !errors.Is(err, caller.want) {
						t.Errorf("with %d lines the %s one: %v, want %v", strings.Count(step.content, "\n"), who, err, caller.want)
					}
				}
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(c.new, []byte(vectorBody), sentAt); !errors.Is(err, auth.ErrUnreadable) {
				t.Errorf("without the file: %v", err)
			}
		})
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever a stranger sends, nobody gets in without the token, or a signature over this very body by one of the keys.
func FuzzCheck(f *testing.F) {
	f.Add("Bearer x", vectorID, strconv.Itoa(vectorTime), vectorSignature, []byte(vectorBody))
	f.Add("Bearer secret", "", "", "", []byte(nil))
	f.Add("", "a.1", "1614265330", "v1, v1,AAAA v2,x", []byte("1.b"))
	s := secrets("secret", vectorKey)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(vectorKey, "whsec_"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, authorization, id, at, signatures string, body []byte) {
		err := s.Check(header("Authorization", authorization, "Webhook-Id", id, "Webhook-Timestamp", at, "Webhook-Signature", signatures), body, sentAt)
		if err != nil {
			if !errors.Is(err, auth.ErrUnauthenticated) {
				t.Fatalf("a caller is refused with %v", err)
			}
			return
		}
		scheme, token, _ := strings.Cut(authorization, " ")
		if strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(token) == "secret" {
			return
		}
		seconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil || !strings.Contains(signatures, auth.Sign(raw, id, time.Unix(seconds, 0), body)) {
			t.Fatalf("let in with %q, %q, %q, %q", authorization, id, at, signatures)
		}
	})
}
