package response

import (
	"math"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// credential is one form in which secrets stand in command lines, environments, requests and files.
type credential struct {
	// signs are what a text with it has, in small letters: looking for them costs next to nothing.
	signs   []string
	pattern func() *regexp.Regexp
	// with replaces it.
	with string
}

const (
	// secretName ends the name of what is given a secret. A bare "secret" is not among them: in Falco's output for
	// Kubernetes audit events that is a name. Nor is "pwd", which is a folder in every environment.
	secretName = `[\w.-]*?(?:passw(?:or)?d|passphrase|mysql_pwd|api[_-]?key|access[_-]?key|private[_-]?key|account[_-]?key|secret[_-]?key|[a-z0-9][_.-]secret|clientsecret|token)\d*`
	// secretValue is quoted, or ends where a word does; or it was taken out already.
	secretValue = `(?:\[redacted\]|"[^"]*"?|'[^']*'?|\\"[^"]*"?|[^\s"',;&|)}\]\\]+)`
)

// credentials are few on purpose: each stands for what is common and can be told from other text by its form. A list
// of every vendor's tokens would be longer, and would promise what nothing can keep.
var credentials = []credential{ //nolint:gochecknoglobals // A constant.
	// A private key, also one of which the end is missing.
	{[]string{"private key-----"}, compiled(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), Redacted},
	// A JSON web token, such as that of a ServiceAccount: a header in base64, which begins with {" and so with eyJ.
	{[]string{"eyj"}, compiled(`\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)*|\beyJ(?:hbGciOi|0eXAiOi|raWQiOi|lbmMiOi)[\w.-]*`), Redacted},
	// The ids of AWS access keys. The secret that goes with one has no form of its own.
	{[]string{"akia", "asia"}, compiled(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`), Redacted},
	// Tokens with a prefix that was made for being found: GitHub, GitLab, Slack, Google.
	{
		[]string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "aiza", "ya29."},
		compiled(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|AIza[\w-]{30,}|ya29\.[\w-]{20,})`), Redacted,
	},
	{[]string{"hooks.slack.com/"}, compiled(`(hooks\.slack\.com/)[\w/-]+`), "${1}" + Redacted},
	// Headers.
	{[]string{"authorization"}, compiled(`(?i)(authorization["']?\s*[:=]\s*["']?(?:[a-z]+\s+)?)[^\s"',;]+`), "${1}" + Redacted},
	{[]string{"bearer"}, compiled(`(?i)(\bbearer\s+)[\w.~+/=-]{16,}`), "${1}" + Redacted},
	// A password or a token before the host of a URL, and signatures in one.
	{[]string{"://"}, compiled(`(://[^\s/:@?#]*:)[^\s/@]+@`), "${1}" + Redacted + "@"},
	{[]string{"://"}, compiled(`(://)[\w-]{20,}@`), "${1}" + Redacted + "@"},
	{[]string{"sig=", "signature="}, compiled(`(?i)([?&](?:sig|x-amz-signature|x-goog-signature)=)[^\s&"']+`), "${1}" + Redacted},
	// name=value and "name": "value", in an environment, a file or a query.
	{
		[]string{"passw", "passphrase", "mysql_pwd", "key", "secret", "token"},
		compiled(`(?i)(\b` + secretName + `\\?["']?\s*[=:]\s*)` + secretValue), "${1}" + Redacted,
	},
	// --name value.
	{
		[]string{"passw", "passphrase", "key", "secret", "token"},
		compiled(`(?i)((?:^|\s)--?(?:` + secretName + `|secret)\s+)(?:"[^"]*"?|'[^']*'?|[^\s"'-][^\s"']*)`), "${1}" + Redacted,
	},
	// curl's user:password.
	{[]string{"curl"}, compiled(`(\bcurl\b[^|;]*?\s(?:-u|--user)[ =]?[^\s:]+:)\S+`), "${1}" + Redacted},
}

// compiled compiles a pattern when it is first needed: most functions answer no text with any sign, and all of them start.
func compiled(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// withoutCredentials is a text without what looks like one.
func withoutCredentials(text string) string {
	if len(text) < 8 {
		return text
	}
	var has pairs
	has.add(text)
	small := ""
	for _, c := range credentials {
		for _, sign := range c.signs {
			if !has.all(sign) {
				continue
			}
			if small == "" {
				small = strings.ToLower(text)
			}
			if strings.Contains(small, sign) {
				text = c.pattern().ReplaceAllString(text, c.with)
				break
			}
		}
	}
	return text
}

// pairs are the pairs of neighbours in a text, in small letters. There are few in most texts, so that most signs need not be
// looked for.
type pairs [64]uint64

// add notes those of a text. In one that is not ASCII alone any pair may be: small letters can be others there.
func (p *pairs) add(text string) {
	var before byte
	for i := range len(text) {
		c := text[i]
		if c >= utf8.RuneSelf {
			for i := range p {
				p[i] = math.MaxUint64
			}
			return
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		p[pair(before, c)/64] |= 1 << (pair(before, c) % 64)
		before = c
	}
}

// all says whether the text may have a sign in it.
func (p *pairs) all(sign string) bool {
	for i := 1; i < len(sign); i++ {
		if at := pair(sign[i-1], sign[i]); p[at/64]&(1<<(at%64)) == 0 {
			return false
		}
	}
	return true
}

// pair is a number below 4096 for two characters of ASCII. No two pairs of small letters share theirs.
func pair(first, second byte) uint { return (uint(first)<<5 ^ uint(second)) % 4096 }
