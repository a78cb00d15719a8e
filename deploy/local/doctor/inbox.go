package doctor

import (
	"encoding/json"
	"net"
	"net/http"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/uuid"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

const (
	// maxBody bounds a copy; the canary has less than a kilobyte, its outcome two.
	maxBody = 64 << 10
	// arrivalTime is the attribute in which Knative's ingress says when it took an event.
	arrivalTime = "knativearrivaltime"
)

// arrival is a copy that the Broker delivered.
type arrival struct {
	at time.Time
	// stamp is when the Broker took the event; zero if it does not say.
	stamp  time.Time
	record response.Record
}

// inbox takes the Broker's copies. Its paths cannot be guessed, so that nobody but the Broker can say that an alert
// arrived.
type inbox struct {
	alertPath, outcomePath string
	alertID                string
	alerts, outcomes       chan arrival
}

func newInbox(alertID string) *inbox {
	secret := uuid.NewString()
	return &inbox{
		alertPath: "/" + secret + "/alert", outcomePath: "/" + secret + "/outcome", alertID: alertID,
		// More copies than these are repeats, and the first counts.
		alerts: make(chan arrival, 8), outcomes: make(chan arrival, 8),
	}
}

// serve takes copies until stop is called.
func (b *inbox) serve(l net.Listener) (stop func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+b.alertPath, b.take(b.alerts, b.readAlert))
	mux.HandleFunc("POST "+b.outcomePath, b.take(b.outcomes, b.readOutcome))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() { _ = server.Serve(l) }() // Ends with Close, always with an error.
	return func() { _ = server.Close() }
}

// take answers without a body: with one the Broker would expect an event in it. What is not of this run is accepted
// too, so that it does not end as a dead letter.
func (b *inbox) take(to chan<- arrival, read func([]byte, *arrival) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := arrival{at: time.Now()}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		e, err := cehttp.NewEventFromHTTPRequest(r)
		if err != nil {
			http.Error(w, "not a CloudEvent", http.StatusBadRequest)
			return
		}
		if text, ok := e.Extensions()[arrivalTime].(string); ok {
			// A stamp that cannot be read is as good as none.
			a.stamp, _ = time.Parse(time.RFC3339Nano, text)
		}
		if read(e.Data(), &a) {
			select {
			case to <- a:
			default:
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (b *inbox) readAlert(data []byte, _ *arrival) bool {
	alert, err := falco.Decode(data)
	return err == nil && alert.ID() == b.alertID
}

func (b *inbox) readOutcome(data []byte, a *arrival) bool {
	return json.Unmarshal(data, &a.record) == nil && a.record.AlertID == b.alertID
}
