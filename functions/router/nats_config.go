package function

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/shared/config"
)

type natsConfig struct {
	URL          config.Secret `env:"NATS_URL" help:"Servers of NATS to take alerts from, such as nats://nats:4222 or tls://a:4222,tls://b:4222; a user name and a password may be part of it. It needs DEAD_LETTER_URL. Unset, NATS is not used."`
	Subject      string        `env:"NATS_SUBJECT" envDefault:"falco.>" help:"Subject to take; Falcosidekick publishes to falco.PRIORITY.RULE_SLUG."`
	Stream       string        `env:"NATS_STREAM" help:"JetStream stream to take alerts from: a message is acknowledged when its alert is delivered, and comes again where it could not be. Unset, alerts come by core NATS, at most once: what is published while no router listens, and what a router holds when it is killed, is lost."`
	CreateStream bool          `env:"NATS_STREAM_CREATE" envDefault:"true" help:"Create the stream if it does not exist: subjects of NATS_SUBJECT, on disk, one replica, messages kept for 72 hours. One that exists is never changed."`
	Consumer     string        `env:"NATS_CONSUMER" envDefault:"riposte-router" help:"Durable pull consumer of the stream, created if it does not exist; routers that name the same one share its messages."`
	MaxDeliver   int           `env:"NATS_MAX_DELIVER" envDefault:"20" help:"How often a message of the stream is tried before it is dead-lettered as it came, about one second after the first failure and up to one minute after later ones."`
	Queue        string        `env:"NATS_QUEUE" envDefault:"riposte-router" help:"Queue group on core NATS; routers in the same one share the messages."`
	Concurrency  int           `env:"NATS_CONCURRENCY" envDefault:"32" help:"How many messages are worked on at once."`
	Token        config.Secret `env:"NATS_TOKEN" help:"Token to authenticate with at NATS, read at each connection."`
	Credentials  string        `env:"NATS_CREDENTIALS_FILE" help:"Path of a credentials file (JWT and seed) to authenticate with at NATS, read at each connection."`
	CA           string        `env:"NATS_CA_FILE" help:"Path of the certificates (PEM) that the servers of NATS are checked with; unset, those of the system."`
	Cert         string        `env:"NATS_CERT_FILE" help:"Path of the certificate (PEM) to show to NATS, read at each connection."`
	Key          string        `env:"NATS_KEY_FILE" help:"Path of the key (PEM) of NATS_CERT_FILE."`
}

// maxConcurrency keeps several routers within the 512 pulls that may wait at a consumer.
const maxConcurrency = 128

// Validate checks what can be checked without a server.
func (c natsConfig) Validate() error {
	if !c.URL.IsSet() {
		return c.unused()
	}
	var problems []error
	complain := func(wrong bool, format string, values ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf(format, values...))
		}
	}
	_, err := c.servers()
	complain(err != nil, "NATS_URL: %w", err)
	complain((c.Cert == "") != (c.Key == ""), "NATS_CERT_FILE is %q and NATS_KEY_FILE is %q: want both or neither", c.Cert, c.Key)
	complain(c.Token.IsSet() && c.Credentials != "", "NATS_TOKEN and NATS_CREDENTIALS_FILE are both set: want one of them")
	complain(!isSubject(c.Subject), "NATS_SUBJECT is %q: want words with dots between them; * stands for a word, a last > for all that follow", c.Subject)
	complain(!isName(c.Stream), "NATS_STREAM is %q: want a name without dots, blanks, slashes, * and >", c.Stream)
	complain(!isName(c.Consumer), "NATS_CONSUMER is %q: want a name without dots, blanks, slashes, * and >", c.Consumer)
	complain(strings.ContainsAny(c.Queue, blanks), "NATS_QUEUE is %q: want a name without blanks", c.Queue)
	complain(c.MaxDeliver < 1, "NATS_MAX_DELIVER is %d: want 1 or more", c.MaxDeliver)
	complain(c.Concurrency < 1 || c.Concurrency > maxConcurrency, "NATS_CONCURRENCY is %d: want 1 to %d", c.Concurrency, maxConcurrency)
	return errors.Join(problems...)
}

// unused refuses settings that would do nothing.
func (c natsConfig) unused() error {
	var names []string
	for name, given := range map[string]bool{
		"NATS_STREAM": c.Stream != "", "NATS_TOKEN": c.Token.IsSet(), "NATS_CREDENTIALS_FILE": c.Credentials != "",
		"NATS_CA_FILE": c.CA != "", "NATS_CERT_FILE": c.Cert != "", "NATS_KEY_FILE": c.Key != "",
	} {
		if given {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("NATS_URL is not set although %s is: want both or neither", strings.Join(names, ", "))
}

// servers are the addresses of NATS. The errors do not quote them, since they may hold a password.
func (c natsConfig) servers() (string, error) {
	text, err := c.URL.Read()
	if err != nil {
		return "", err
	}
	for i, server := range strings.Split(text, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "", fmt.Errorf("address %d is none: want nats://HOST:PORT, or tls, ws or wss in place of nats, with commas between several", i+1)
		}
	}
	return text, nil
}

const blanks = " \t\r\n"

func isName(name string) bool { return !strings.ContainsAny(name, blanks+`.*>/\`) }

func isSubject(subject string) bool {
	words := strings.Split(subject, ".")
	for i, word := range words {
		if word == "" || strings.ContainsAny(word, blanks) || word == ">" && i < len(words)-1 {
			return false
		}
	}
	return true
}
