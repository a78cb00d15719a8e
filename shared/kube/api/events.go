package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Event is an event of events.k8s.io/v1.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
type Event struct {
	metav1.TypeMeta     `json:",inline"`
	metav1.ObjectMeta   `json:"metadata"`
	EventTime           metav1.MicroTime `json:"eventTime"`
	ReportingController string           `json:"reportingController,omitempty"`
	ReportingInstance   string           `json:"reportingInstance,omitempty"`
	Action              string           `json:"action,omitempty"`
	Reason              string           `json:"reason,omitempty"`
	Regarding           ObjectReference  `json:"regarding"`
	Related             *ObjectReference `json:"related,omitempty"`
	Note                string           `json:"note,omitempty"`
	Type                string           `json:"type,omitempty"`
}

// The types of events.
const (
	EventTypeNormal  = "Normal"
	EventTypeWarning = "Warning"
)
