package function

import (
	"errors"
	"fmt"
	"time"

	"github.com/riposte-dev/riposte/shared/config"
)

// output are the settings of where events go.
type output struct {
	Triggers  string `env:"TRIGGERS" help:"Folder of Trigger manifests, a mounted ConfigMap for instance, by which events go straight to functions; read again when it changes."`
	Sink      string `env:"K_SINK" help:"Instead of TRIGGERS: URL of a Broker, or of anything that takes CloudEvents, that every event goes to; a SinkBinding sets it."`
	SinkCA    string `env:"K_CA_CERTS" help:"Certificates in PEM that K_SINK is trusted by, beside those of the system; a SinkBinding sets it."`
	Overrides string `env:"K_CE_OVERRIDES" help:"Attributes that events get on their way to K_SINK, in JSON: {\"extensions\": {\"name\": \"value\"}}; a SinkBinding sets it."`
	Cluster   string `env:"CLUSTER" help:"Name of the cluster, which every alert gets as its attribute cluster."`

	FunctionURL   string        `env:"FUNCTION_URL" help:"Address of a function, with {function} and, if needed, {namespace} in it: http://gateway.openfaas:8080/function/{function}.openfaas-fn. Unset, that of the Trigger's subscriber."`
	FunctionToken config.Secret `env:"FUNCTION_TOKEN" help:"Bearer token sent to the functions, or to K_SINK; the first line counts. A file is read at each call, so a token that Kubernetes renews will do. Unset, K_SINK gets the one that a SinkBinding mounts at /oidc/token, if any."`
	Concurrency   int           `env:"FUNCTION_CONCURRENCY" envDefault:"10" help:"Calls of one function at once."`
	Queue         int           `env:"FUNCTION_QUEUE" envDefault:"1000" help:"Deliveries to one function that wait for a call or for their next attempt; what comes beyond is dead-lettered at once."`
	Timeout       time.Duration `env:"RESPONSE_TIMEOUT" envDefault:"1m" help:"Time a sender waits for the deliveries of its events; then it is answered 500 and may send again, while they go on. Also the time that deliveries get to finish when the router is stopped."`

	DeadLetterURL string `env:"DEAD_LETTER_URL" help:"Where events go that no attempt delivered: http or https, s3://BUCKET/PREFIX?region=REGION or file:///FOLDER. Unset, the Trigger's own deadLetterSink; where there is none either the sender is answered 500 and must send again."`

	journaling
	calling
}

// Validate checks what the settings mean together.
func (o output) Validate() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	switch {
	case o.Triggers == "" && o.Sink == "":
		add("TRIGGERS and K_SINK are not set: want one of them")
	case o.Triggers != "" && o.Sink != "":
		add("TRIGGERS is %q and K_SINK is %q: want one of them", o.Triggers, shown(o.Sink))
	case o.Sink != "":
		if _, err := webAddress(o.Sink); err != nil {
			add("K_SINK is %q: %w", shown(o.Sink), err)
		}
		if o.FunctionURL != "" {
			add("FUNCTION_URL is %q although K_SINK is set: want it with TRIGGERS", shown(o.FunctionURL))
		}
		if o.JournalURL != "" && o.DeadLetterURL == "" {
			add("DEAD_LETTER_URL is not set: with K_SINK and JOURNAL_URL it must be, since nobody is left to tell that an event could not be delivered")
		}
	case o.Overrides != "" || o.SinkCA != "":
		add("K_CE_OVERRIDES or K_CA_CERTS is set: want them with K_SINK")
	}
	if _, err := overrides(o.Overrides); err != nil {
		add("K_CE_OVERRIDES is %q: %w", o.Overrides, err)
	}
	if err := checkTemplate(o.FunctionURL); err != nil {
		add("FUNCTION_URL is %q: %w", shown(o.FunctionURL), err)
	}
	for _, n := range []struct {
		name       string
		value, max int
	}{{"FUNCTION_CONCURRENCY", o.Concurrency, 1000}, {"FUNCTION_QUEUE", o.Queue, 100_000}} {
		if n.value < 1 || n.value > n.max {
			add("%s is %d: want 1 to %d", n.name, n.value, n.max)
		}
	}
	if o.Timeout < time.Second || o.Timeout > time.Hour {
		add("RESPONSE_TIMEOUT is %q: want 1s to 1h", o.Timeout)
	}
	if o.DeadLetterURL != "" && !isStoreURL(o.DeadLetterURL) {
		if _, err := webAddress(o.DeadLetterURL); err != nil {
			add("DEAD_LETTER_URL is %q: %w, or a folder or bucket as file:///FOLDER or s3://BUCKET", shown(o.DeadLetterURL), err)
		}
	}
	problems = append(problems, checkStoreURL("DEAD_LETTER_URL", o.DeadLetterURL), o.journaling.Validate(), o.validate(o.JournalURL != "", o.FunctionURL))
	return errors.Join(problems...)
}
