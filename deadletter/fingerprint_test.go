package deadletter_test

import (
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/deadletter"
)

func fingerprint(message string) string { return deadletter.Fingerprint("charge", "*E", message, "") }

func TestFingerprintIsEqualForOneCause(t *testing.T) {
	for _, cause := range [][]string{
		{"order 17 not found", "order 4711 not found", "order  -3 not found"},
		{`no customer "ann"`, `no customer "bob \"the\" builder"`, `no customer ""`},
		{"no customer 'ann'", "no customer 'o'hara'"},
		{"unknown `a`", "unknown `b c`"},
		{"user f47ac10b-58cc-4372-a567-0e02b2c3d479 is gone", "user 00000000-0000-4000-8000-000000000001 is gone"},
		{"commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "commit deadbeefdeadbeefdead"},
		{"token aGVsbG8gd29ybGQgMTIzNDU2Nzg5MA==", "token V1StGXR8Z5jdHi6BmyTzQ9x"},
		{"request 01ARZ3NDEKTSV4RRFFQ69G5FAV", "request 01BX5ZZKBKACTAV9WEVGEMMVRZ"},
		{"dial tcp 10.0.0.1:8080: refused", "dial tcp 192.168.17.203:443: refused"},
		{"dial tcp [fe80::1ff:fe23:4567:890a]:80: refused", "dial tcp [2001:db8::2]:443: refused"},
		{"timed out after 1.5s", "timed out after 150ms", "timed out after 1m30s"},
		{"at 2024-01-02T03:04:05Z", "at 2025-11-12T13:14:15.678Z"},
		{"pointer 0xc000012345", "pointer 0xc0ffee"},
		{"order-17 failed", "order-4711 failed"},
		{"customer a3f2b8 failed", "customer c9d1e0 failed"},
		{"index out of range [5] with length 3", "index out of range [12] with length 0"},
		{"it broke\n\tbadly", "it broke badly"},
	} {
		for _, message := range cause[1:] {
			if fingerprint(message) != fingerprint(cause[0]) {
				t.Errorf("%q and %q have different fingerprints", message, cause[0])
			}
		}
	}
}

func TestFingerprintTellsCausesApart(t *testing.T) {
	seen := map[string]string{}
	for _, message := range []string{
		"", "order not found", "customer not found", "order 17 not found", "the order can't be found", "the order can't be charged",
		"connection refused", "connection reset", "GetUserByIdentity failed", "GetCartByIdentity failed",
		"utf8: bad", "sha256: bad", "open /var/lib/data: denied", "open /var/lib/cache: denied",
		"quote ' without end", "quote ' with another end",
	} {
		f := fingerprint(message)
		if other, ok := seen[f]; ok {
			t.Errorf("%q and %q have one fingerprint", message, other)
		}
		seen[f] = message
	}
}

func TestFingerprintCoversEachPart(t *testing.T) {
	base := deadletter.Fingerprint("a", "b", "c", "d")
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(base) {
		t.Errorf("Fingerprint = %q, want 16 hex digits", base)
	}
	for _, other := range []string{
		deadletter.Fingerprint("x", "b", "c", "d"), deadletter.Fingerprint("a", "x", "c", "d"),
		deadletter.Fingerprint("a", "b", "x", "d"), deadletter.Fingerprint("a", "b", "c", "x"),
		deadletter.Fingerprint("ab", "", "c", "d"),
	} {
		if other == base {
			t.Error("a part makes no difference")
		}
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("order 17 \"x\" f47ac10b-58cc-4372-a567-0e02b2c3d479 'y")
	f.Add("-.:+--a1.2:3-\xff\x00")
	f.Fuzz(func(t *testing.T, message string) {
		if len(fingerprint(message)) != 16 {
			t.Error("not 16 digits")
		}
		deadletter.TopFrame(message)
	})
}

func BenchmarkFingerprint(b *testing.B) {
	b.ReportAllocs()
	message := `charge order 4711 of customer "ann": dial tcp 10.0.0.1:8080: connection refused after 150ms (request f47ac10b-58cc-4372-a567-0e02b2c3d479)`
	for b.Loop() {
		deadletter.Fingerprint("charge", "*net.OpError", message, "")
	}
}

func culprit(s []int) int { return s[len(s)] }

func TestTopFrameOfARealPanic(t *testing.T) {
	var stack string
	func() {
		defer func() {
			_ = recover()
			stack = string(debug.Stack())
		}()
		culprit(nil)
	}()
	if got := deadletter.TopFrame(stack); !strings.HasSuffix(got, "deadletter_test.culprit") {
		t.Errorf("TopFrame = %q of\n%s", got, stack)
	}
}

func TestTopFrameSkipsTheMachinery(t *testing.T) {
	const recovered = "goroutine 7 [running]:\nruntime/debug.Stack()\n\t/go/src/runtime/debug/stack.go:26 +0x5e\n" +
		"main.onPanic(...)\n\t/app/main.go:9\npanic({0x1, 0x2})\n\t/go/src/runtime/panic.go:783 +0x132\n"
	const machinery = "runtime.goPanicIndex(0x0, 0x0)\n\t/go/src/runtime/panic.go:115 +0x74\n" +
		"github.com/sourcegraph/conc/panics.(*Catcher).Try(0x0)\n\t/m/panics.go:1\n" +
		"github.com/runnel-go/runnel/middleware.Recover.func1.1()\n\t/r/recover.go:1\n" +
		"github.com/runnel-go/runnel/stage/internal/lane.(*Engine[...]).run(0x1)\n\t/r/lane.go:1\n"
	for name, test := range map[string]struct{ stack, want string }{
		"below the panic":       {recovered + "main.charge({0x1, 0x2})\n\t/app/main.go:12\nmain.main()\n", "main.charge"},
		"a method":              {recovered + machinery + "shop/orders.(*Service).Charge(0xc000, {0x1})\n\t/app/o.go:1\n", "shop/orders.(*Service).Charge"},
		"a closure":             {recovered + "main.main.func1.2()\n", "main.main.func1.2"},
		"no panic in the stack": {"goroutine 7 [running]:\nruntime.Goexit()\n\t/x\nmain.charge()\n\t/y\n", "main.charge"},
		"all machinery":         {recovered + machinery + "created by main.main in goroutine 1\n\t/app/main.go:3\n", ""},
		"windows line ends":     {strings.ReplaceAll(recovered+"main.charge()\n\tC:\\app\n", "\n", "\r\n"), "main.charge"},
		"nothing":               {"", ""},
	} {
		if got := deadletter.TopFrame(test.stack); got != test.want {
			t.Errorf("%s: TopFrame = %q, want %q", name, got, test.want)
		}
	}
}
