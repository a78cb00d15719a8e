package function

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// The types of messages.
const (
	typeNotification = "Notification"
	typeSubscribe    = "SubscriptionConfirmation"
	typeUnsubscribe  = "UnsubscribeConfirmation"
)

// snsMessage is what SNS posts.
// https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
type snsMessage struct {
	Type              string
	MessageID         string `json:"MessageId"`
	Token             string
	TopicArn          string
	Subject           *string
	Message           string
	Timestamp         string
	SignatureVersion  string
	Signature         string
	SigningCertURL    string
	SubscribeURL      string
	MessageAttributes json.RawMessage
}

// signed is the text that the signature covers, and by which algorithm. The attributes are not part of it.
// https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
func (m snsMessage) signed() (text []byte, algorithm x509.SignatureAlgorithm, signature []byte, err error) {
	switch m.SignatureVersion {
	case "1":
		algorithm = x509.SHA1WithRSA
	case "2":
		algorithm = x509.SHA256WithRSA
	default:
		return nil, 0, nil, fmt.Errorf("SignatureVersion is %q: want 1 or 2", m.SignatureVersion)
	}
	if signature, err = base64.StdEncoding.DecodeString(m.Signature); err != nil {
		return nil, 0, nil, fmt.Errorf("signature is not base64: %w", err)
	}
	lines := []string{"Message", m.Message, "MessageId", m.MessageID}
	switch m.Type {
	case typeNotification:
		if m.Subject != nil {
			lines = append(lines, "Subject", *m.Subject)
		}
		lines = append(lines, "Timestamp", m.Timestamp)
	case typeSubscribe, typeUnsubscribe:
		lines = append(lines, "SubscribeURL", m.SubscribeURL, "Timestamp", m.Timestamp, "Token", m.Token)
	default:
		return nil, 0, nil, fmt.Errorf("type is %q: want %s, %s or %s", m.Type, typeNotification, typeSubscribe, typeUnsubscribe)
	}
	lines = append(lines, "TopicArn", m.TopicArn, "Type", m.Type)
	return []byte(strings.Join(lines, "\n") + "\n"), algorithm, signature, nil
}
