package function

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/config"
)

// calling are the settings of asynchronous calls.
type calling struct {
	CallbackURL     string        `env:"CALLBACK_URL" help:"How OpenFaaS's queue reaches the router with the results of asynchronous calls, which FUNCTION_URL with /async-function/ makes; needs JOURNAL_URL and CALLBACK_KEY."`
	CallbackKey     config.Secret `env:"CALLBACK_KEY" help:"Key that signs the addresses for results, 24 characters or more; all routers have the same. Of several, one on a line, the first signs and all are valid."`
	CallbackTimeout time.Duration `env:"CALLBACK_TIMEOUT" envDefault:"10m" help:"Time for the result of an asynchronous call to come; then the function is called again. The time in the queue counts."`
}

// validate checks what the settings mean together.
func (c calling) validate(journal bool, functionURL string) error {
	async := strings.Contains(functionURL, asyncRoute)
	switch {
	case c.CallbackURL == "" && async:
		return fmt.Errorf("CALLBACK_URL is not set although FUNCTION_URL is %q: what is called by %s fails unseen without it", shown(functionURL), asyncRoute)
	case c.CallbackURL == "" && c.CallbackKey.IsSet():
		return errors.New("CALLBACK_KEY is set: want it with CALLBACK_URL")
	case c.CallbackURL == "":
		return nil
	}
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if _, err := webAddress(c.CallbackURL); err != nil {
		add("CALLBACK_URL is %q: %w", shown(c.CallbackURL), err)
	}
	if !async {
		add("CALLBACK_URL is %q although FUNCTION_URL is %q: want %s in that", shown(c.CallbackURL), shown(functionURL), asyncRoute)
	}
	if !journal {
		add("JOURNAL_URL is not set: want it with CALLBACK_URL, since a call whose result is a failure needs the event again")
	}
	if c.CallbackTimeout < time.Second || c.CallbackTimeout > 24*time.Hour {
		add("CALLBACK_TIMEOUT is %q: want 1s to 24h", c.CallbackTimeout)
	}
	if _, err := c.keys(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// minKey is the least length of a key, in characters.
const minKey = 24

func (c calling) keys() ([][]byte, error) {
	if !c.CallbackKey.IsSet() {
		return nil, fmt.Errorf("CALLBACK_KEY is not set: want %d random characters or more with CALLBACK_URL, such as openssl rand -hex 32 gives", minKey)
	}
	lines, err := c.CallbackKey.Lines()
	if err != nil {
		return nil, err
	}
	keys := make([][]byte, len(lines))
	for i, line := range lines {
		if len(line) < minKey {
			return nil, fmt.Errorf("CALLBACK_KEY, line %d, has %d characters: want %d or more", i+1, len(line), minKey)
		}
		keys[i] = []byte(line)
	}
	return keys, nil
}

// callbackURL is the address for the result of one attempt. What must not be changed stands in the query: OpenFaaS's
// template hands on no path.
func (c calling) callbackURL(delivery string, attempt int) (string, error) {
	keys, err := c.keys()
	if err != nil {
		return "", err
	}
	u, err := url.Parse(c.CallbackURL)
	if err != nil {
		return "", fmt.Errorf("CALLBACK_URL: %w", err)
	}
	query := u.Query()
	query.Set("delivery", delivery)
	query.Set("attempt", strconv.Itoa(attempt))
	query.Set("signature", signResult(keys[0], delivery, attempt))
	u.RawQuery = query.Encode()
	return u.String(), nil
}

var deliveryKey = regexp.MustCompile(`^[0-9a-f]{32}$`)

// verify gives back the delivery and the attempt of an address that this router, or one with the same key, signed.
func (c calling) verify(query url.Values) (delivery string, attempt int, err error) {
	delivery = query.Get("delivery")
	attempt, err = strconv.Atoi(query.Get("attempt"))
	if c.CallbackURL == "" || err != nil || !deliveryKey.MatchString(delivery) {
		return "", 0, auth.ErrUnauthenticated
	}
	keys, err := c.keys()
	if err != nil { // Whoever asks is a stranger, who is not told where our secrets are.
		return "", 0, fmt.Errorf("%w: %w", auth.ErrUnreadable, err)
	}
	for _, key := range keys {
		if hmac.Equal([]byte(query.Get("signature")), []byte(signResult(key, delivery, attempt))) {
			return delivery, attempt, nil
		}
	}
	return "", 0, fmt.Errorf("the result of an asynchronous call has no valid signature: %w", auth.ErrUnauthenticated)
}

func signResult(key []byte, delivery string, attempt int) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "riposte callback %s %d", delivery, attempt) // A hash takes everything.
	return hex.EncodeToString(mac.Sum(nil))
}
