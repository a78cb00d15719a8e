package falco_test

import (
	"encoding/json"
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// usual are the captures that benchmarks run on: an alert as most are, and one with many fields.
func usual(b *testing.B) map[string][]byte {
	b.Helper()
	return map[string][]byte{"usual": testkit.Find(b, "02").Alert, "many-fields": testkit.Find(b, "25").Alert}
}

func decoded(b *testing.B, alert []byte) falco.Alert {
	b.Helper()
	a, err := falco.Decode(alert)
	if err != nil {
		b.Fatal(err)
	}
	return a
}

func BenchmarkDecode(b *testing.B) {
	for name, alert := range usual(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(alert)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := falco.Decode(alert); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, alert := range usual(b) {
		b.Run(name, func(b *testing.B) {
			a := decoded(b, alert)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIdentity is what a function works out of an alert before it looks into its memory.
func BenchmarkIdentity(b *testing.B) {
	a := decoded(b, testkit.Find(b, "02").Alert)
	audit := decoded(b, testkit.Find(b, "09").Alert)
	b.Run("ID", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = a.ID()
		}
	})
	b.Run("ID-of-a-plugin", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = audit.ID()
		}
	})
	b.Run("pod", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = a.Pod()
		}
	})
}
