// Package platforms builds every function the way each platform does, starts what was built and has it do its job on the
// real API server: Knative Functions' scaffold, OpenFaaS's template, AWS Lambda's bootstrap, ko's images. It also holds
// the manifests of deploy/ against the API server. make platforms runs it; make prove SET=platforms adds what takes longer.
package platforms
