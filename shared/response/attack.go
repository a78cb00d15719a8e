package response

import (
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

// attacks are the techniques that the alert's tags name, each with the tactic where there is but one. Falco tags its
// rules mitre_defense_evasion, TA0003, T1555, T1059.004.
// https://falco.org/docs/concepts/rules/style-guide/#tags
func attacks(a falco.Alert) []attack {
	var tactics, techniques []attack
	for _, tag := range a.Tags[:min(len(a.Tags), 4*maxAttacks)] {
		technique, sub, isSub := strings.Cut(tag, ".")
		switch name, isTactic := strings.CutPrefix(tag, "mitre_"); {
		case isTactic:
			if words := strings.Split(name, "_"); areWords(words) {
				tactics = append(tactics, attack{Tactic: &attackName{Name: title(words)}})
			}
		case isNumber(tag, "TA", 4):
			tactics = append(tactics, attack{Tactic: &attackName{UID: tag, URL: "https://attack.mitre.org/tactics/" + tag + "/"}})
		case isNumber(technique, "T", 4) && (!isSub || isNumber(sub, "", 3)):
			found := attack{Technique: &attackName{UID: technique, URL: "https://attack.mitre.org/techniques/" + technique + "/"}}
			if isSub {
				found.SubTechnique = &attackName{UID: tag, URL: found.Technique.URL + sub + "/"}
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

// isNumber says whether a text is the prefix and so many digits.
func isNumber(text, prefix string, digits int) bool {
	number, found := strings.CutPrefix(text, prefix)
	return found && len(number) == digits && strings.Trim(number, "0123456789") == ""
}

// areWords says whether these can be the words of a tactic: one to four, of small letters, neither short nor long.
func areWords(words []string) bool {
	for i, w := range words {
		shortest := 2
		if i == 0 {
			shortest = 3
		}
		if i > 3 || len(w) < shortest || len(w) > 16 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			return false
		}
	}
	return true
}

// title is the words in ATT&CK's spelling: command_and_control is Command and Control.
func title(words []string) string {
	for i, w := range words {
		if w != "and" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}
