package response

// Technique is one of MITRE D3FEND's, by its id.
// https://d3fend.mitre.org
type Technique string

// The techniques that responses use.
const (
	// ExecutionIsolation keeps programs from where they would run: a node is tainted or cordoned.
	ExecutionIsolation Technique = "D3-EI"
	// NetworkTrafficFiltering cuts traffic both ways.
	NetworkTrafficFiltering Technique = "D3-NTF"
	// InboundTrafficFiltering cuts traffic from outside.
	InboundTrafficFiltering Technique = "D3-ITF"
	// OutboundTrafficFiltering cuts traffic to the outside.
	OutboundTrafficFiltering Technique = "D3-OTF"
	// ProcessTermination ends what runs: a pod is deleted.
	ProcessTermination Technique = "D3-PT"
	// CredentialRevocation ends what a credential allows.
	CredentialRevocation Technique = "D3-CR"
	// RestoreConfiguration puts back what a response changed.
	RestoreConfiguration Technique = "D3-RC"
	// RestoreNetworkAccess lets traffic through again.
	RestoreNetworkAccess Technique = "D3-RNA"
)

// Defender is a Responder whose answer is a technique of D3FEND. Where it is none, the outcome names the tactic alone,
// which is the Activity.
type Defender interface {
	Responder
	Techniques() []Technique
}

// d3fendVersion is that of the names below. https://d3fend.mitre.org/resources/ontology/
const d3fendVersion = "1.2.0"

// d3fend is OCSF's object of that name.
type d3fend struct {
	Tactic    d3fendName  `json:"d3f_tactic"`
	Technique *d3fendName `json:"d3f_technique,omitempty"`
	Version   string      `json:"version"`
}

type d3fendName struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
	URL  string `json:"src_url"`
}

// caption is D3FEND's name and the last part of its address.
func (t Technique) caption() (name, page string) {
	switch t {
	case ExecutionIsolation:
		return "Execution Isolation", "ExecutionIsolation"
	case NetworkTrafficFiltering:
		return "Network Traffic Filtering", "NetworkTrafficFiltering"
	case InboundTrafficFiltering:
		return "Inbound Traffic Filtering", "InboundTrafficFiltering"
	case OutboundTrafficFiltering:
		return "Outbound Traffic Filtering", "OutboundTrafficFiltering"
	case ProcessTermination:
		return "Process Termination", "ProcessTermination"
	case CredentialRevocation:
		return "Credential Revocation", "CredentialRevocation"
	case RestoreConfiguration:
		return "Restore Configuration", "RestoreConfiguration"
	case RestoreNetworkAccess:
		return "Restore Network Access", "RestoreNetworkAccess"
	}
	return string(t), string(t)
}

// countermeasures are what a response of this activity does about an attack, in D3FEND's words. Telling people is not
// among them.
func countermeasures(a Activity, r Responder) []d3fend {
	if a == Notify {
		return nil
	}
	tactic := d3fendName{Name: a.String(), URL: "https://d3fend.mitre.org/tactic/d3f:" + a.String() + "/"}
	defender, ok := r.(Defender)
	if !ok || len(defender.Techniques()) == 0 {
		return []d3fend{{Tactic: tactic, Version: d3fendVersion}}
	}
	var all []d3fend
	for _, t := range defender.Techniques() {
		name, page := t.caption()
		all = append(all, d3fend{
			Tactic:    tactic,
			Technique: &d3fendName{Name: name, UID: string(t), URL: "https://d3fend.mitre.org/technique/d3f:" + page + "/"},
			Version:   d3fendVersion,
		})
	}
	return all
}
