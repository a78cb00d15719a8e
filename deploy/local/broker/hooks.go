package broker

import (
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/triggers"
)

// Hooks are told what happens. Any of them may be nil. They are called from many
// goroutines and must return soon.
type Hooks struct {
	// Accepted is called for each event the Broker takes, before it is delivered.
	Accepted func(Accepted)
	// Rejected is called for each request that is no event for this Broker.
	Rejected func(Rejected)
	// Calling is called before a function is, Delivered when it has answered.
	Calling   func(Attempt)
	Delivered func(Delivery)
	// DeadLettered is called for each event that ends in a dead-letter sink.
	DeadLettered func(DeadLetter)
}

// Accepted is an event that the Broker has taken.
type Accepted struct {
	// Key identifies this passage through the Broker: the same event posted twice
	// has two.
	Key string
	// Parent is the Key of the event whose delivery had this one as its reply.
	Parent    string
	At        time.Time
	Event     event.Event
	Decisions []triggers.Decision
}

// Rejected is a request that the Broker did not take.
type Rejected struct {
	At     time.Time
	Status int
}

// Attempt is one call of a function.
type Attempt struct {
	// Key is that of the event.
	Key       string
	Namespace string
	Trigger   string
	Function  string
	// Number counts the calls with this event from 1.
	Number int
	At     time.Time
}

// Delivery is how a call ended.
type Delivery struct {
	Attempt
	Duration time.Duration
	// Status is what the function answered; 500 where it could not be reached, 502
	// where its answer was no event.
	Status int
	// Reply is the event it answered with, if any; it goes back into the Broker.
	Reply *event.Event
	// Answer is what it said instead.
	Answer string
	// Again says that Knative will call again, In how soon.
	Again bool
	In    time.Duration
}

// DeadLetter is an event that could not be delivered.
type DeadLetter struct {
	Key         string
	At          time.Time
	Event       event.Event
	Function    string
	Destination string
	Status      int
	Answer      string
}
