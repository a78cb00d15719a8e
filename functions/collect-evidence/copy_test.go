package function

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLogIsCutInTheMiddle(t *testing.T) {
	t.Parallel()
	const limit = 4096
	text := func(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }
	for name, tc := range map[string]struct {
		size int
		left int64
	}{
		"nothing":                        {0, 0},
		"a little":                       {10, 0},
		"up to where the end begins":     {limit * 3 / 4, 0},
		"one more than that":             {limit*3/4 + 1, 0},
		"all that fits":                  {limit, 0},
		"one too many":                   {limit + 1, 1},
		"many times the end too many":    {limit + limit*7, limit * 7},
		"not many times the end, but so": {limit + limit/3, limit / 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, from := range map[string]io.Reader{
				"at once": strings.NewReader(text(tc.size)), "in halves": iotest.HalfReader(strings.NewReader(text(tc.size))),
				"byte by byte": iotest.OneByteReader(strings.NewReader(text(tc.size))),
			} {
				var to bytes.Buffer
				left, err := copyLog(&to, from, limit)
				if err != nil || left != tc.left {
					t.Errorf("%s: %d bytes are left out (%v), want %d", way, left, err, tc.left)
				}
				got, whole := to.String(), text(tc.size)
				if left == 0 && got != whole {
					t.Errorf("%s: %d bytes of %d are kept, or others", way, len(got), len(whole))
				}
				if left > 0 {
					first, rest, _ := strings.Cut(got, "\n[riposte: ")
					_, last, marked := strings.Cut(rest, "]\n")
					if !marked || first != whole[:limit*3/4] || last != whole[len(whole)-limit/4:] {
						t.Errorf("%s: the log has not its beginning, the mark and its end: %s", way, got)
					}
				}
			}
		})
	}
}

func TestLogThatBreaksOffIsKeptUntilThen(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, size := range []int{0, 100, 4096, 10000} {
		var to bytes.Buffer
		left, err := copyLog(&to, io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(broken)), 4096)
		if kept := int64(strings.Count(to.String(), "x")); !errors.Is(err, broken) || kept+left != int64(size) {
			t.Errorf("of %d bytes %d are kept and %d left out (%v)", size, kept, left, err)
		}
	}
}

func TestStoreThatFailsIsNotTakenForASourceThatDoes(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	for _, size := range []int{10, 4000, 10000} {
		to := &counted{inner: failing{full}, hash: sha256.New()}
		_, _ = copyLog(to, strings.NewReader(strings.Repeat("x", size)), 4096)
		if !errors.Is(to.err, full) {
			t.Errorf("after %d bytes the store's error is %v", size, to.err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{
		"1024": 1024, "1Ki": 1024, "10Mi": 10 << 20, "1G": 1e9, "1Gi": 1 << 30,
		"": 0, "ten": 0, "1023": 0, "2Gi": 0, "-1Mi": 0, "1.5": 0, "1000m": 0, "9999999999999999999999": 0,
	} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
}
