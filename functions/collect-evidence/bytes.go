package function

import (
	"errors"

	"k8s.io/apimachinery/pkg/api/resource"
)

// The bounds of LOG_LIMIT_BYTES.
const (
	leastLog = 1 << 10
	mostLog  = 1 << 30
)

// Bytes is LOG_LIMIT_BYTES: a number of bytes, or a quantity as Kubernetes writes it.
type Bytes int64

// UnmarshalText reads 10485760 or 10Mi.
func (b *Bytes) UnmarshalText(text []byte) error {
	quantity, err := resource.ParseQuantity(string(text))
	if err != nil {
		return errors.New("neither a number nor a quantity")
	}
	value, whole := quantity.AsInt64()
	if !whole || value < leastLog || value > mostLog {
		return errors.New("not a whole number between 1Ki and 1Gi")
	}
	*b = Bytes(value)
	return nil
}

// Describe says what is allowed.
func (Bytes) Describe() string { return "a number of bytes such as 10485760 or 10Mi, from 1Ki to 1Gi" }
