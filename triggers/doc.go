// Package triggers reads the Trigger manifests of a folder and says, for an
// event, which functions it goes to and why.
//
// The manifests are Knative's own (eventing.knative.dev/v1 Broker and Trigger,
// several documents a file), read as the API server and Knative's webhook would
// read them: strictly, defaulted and validated by Knative's code. Events are
// matched by the filter code of Knative's Broker, so what fires here fires
// there.
//
// Knative accepts manifests that do something else than they say. An empty value
// or a mistyped dialect delivers every event, an expression that is not a
// condition makes the Broker panic on each event, a name that can never be an
// attribute never matches. [Load] refuses all of these, and Triggers by which a
// function would be called again with its own outcome, and names file, line,
// field and cure for each. The full list is in README.md.
//
// [Set.Match] says for every trigger whether it takes an event, and why not.
// [Set.Select] is the same for the hot path: an index of the values that exact filters
// demand leaves few triggers to be asked, so a thousand cost little more than ten.
// [Watch] keeps the triggers of a folder up to date, and the last good ones in use.
//
// Files named kustomization.yaml, folders named testdata and names that start
// with a dot are passed over; every other .yaml or .yml file is read. Links are
// followed, as those of a mounted ConfigMap.
package triggers
