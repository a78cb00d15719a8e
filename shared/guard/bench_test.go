package guard_test

import (
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func BenchmarkSane(b *testing.B) {
	for name, capture := range map[string]string{"syscall": "02", "audit": "09"} {
		b.Run(name, func(b *testing.B) {
			alert, err := falco.Decode(testkit.Find(b, capture).Alert)
			if err != nil {
				b.Fatal(err)
			}
			sane := guard.Sane{MinPriority: falco.Debug, OwnNamespace: "riposte"}
			b.ReportAllocs()
			for b.Loop() {
				if o := sane.CheckAlert(alert, alert.Time); o != nil {
					b.Fatal(o.Message)
				}
			}
		})
	}
}

func BenchmarkWhen(b *testing.B) {
	condition := compile(b, `alert.priority == "Notice" && target.namespace.startsWith("sh") && !("skip" in alert.tags) && alert.fields["proc.name"] == "sh"`)
	alert, err := falco.Decode(testkit.Find(b, "02").Alert)
	if err != nil {
		b.Fatal(err)
	}
	_, target := sample()
	b.ReportAllocs()
	for b.Loop() {
		if o := condition.CheckTarget(b.Context(), alert, target); o != nil {
			b.Fatal(o.Message)
		}
	}
}
