package response

import (
	"regexp"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/shared/falco"
)

// maxAttacks bounds what an alert's tags can add to an outcome.
const maxAttacks = 16

// attack is OCSF's object of that name: what MITRE ATT&CK calls what the alert is about, from the tags of Falco's rule.
type attack struct {
	Tactic       *attackName `json:"tactic,omitempty"`
	Technique    *attackName `json:"technique,omitempty"`
	SubTechnique *attackName `json:"sub_technique,omitempty"`
}

type attackName struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
	URL  string `json:"src_url,omitempty"`
}

var (
	tacticTag    = regexp.MustCompile(`^mitre_([a-z]{3,16}(?:_[a-z]{2,16}){0,3})$`)
	tacticID     = regexp.MustCompile(`^TA\d{4}$`)
	techniqueTag = regexp.MustCompile(`^(T\d{4})(\.\d{3})?$`)
)

// attacks are the techniques that the alert's tags name, each with the tactic where there is but one. Falco tags its
// rules mitre_defense_evasion, TA0003, T1555, T1059.004.
// https://falco.org/docs/concepts/rules/style-guide/#tags
func attacks(a falco.Alert) []attack {
	var tactics, techniques []attack
	for _, tag := range a.Tags[:min(len(a.Tags), 4*maxAttacks)] {
		if m := tacticTag.FindStringSubmatch(tag); m != nil {
			tactics = append(tactics, attack{Tactic: &attackName{Name: title(m[1])}})
		} else if tacticID.MatchString(tag) {
			tactics = append(tactics, attack{Tactic: &attackName{UID: tag, URL: "https://attack.mitre.org/tactics/" + tag + "/"}})
		} else if m := techniqueTag.FindStringSubmatch(tag); m != nil {
			found := attack{Technique: &attackName{UID: m[1], URL: "https://attack.mitre.org/techniques/" + m[1] + "/"}}
			if m[2] != "" {
				found.SubTechnique = &attackName{UID: tag, URL: found.Technique.URL + m[2][1:] + "/"}
			}
			techniques = append(techniques, found)
		}
	}
	if len(tactics) == 1 && len(techniques) > 0 {
		for i := range techniques {
			techniques[i].Tactic = tactics[0].Tactic
		}
		tactics = nil
	}
	all := slices.Concat(tactics, techniques)
	return all[:min(len(all), maxAttacks)]
}

// title is a tag in ATT&CK's spelling: command_and_control is Command and Control.
func title(tag string) string {
	words := strings.Split(tag, "_")
	for i, w := range words {
		if w != "and" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}
