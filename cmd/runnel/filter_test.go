package main

import (
	"strings"
	"testing"
)

// TestFault90_AnEmptyChoiceIsRefused, as of a shell variable that is not set: it would choose more than was meant.
func TestFault90_AnEmptyChoiceIsRefused(t *testing.T) {
	path := file(t, letters()...)
	for _, line := range []string{
		"purge --yes --older-than 0s --stage ''", "purge --yes --stage charge --until ''", "purge --yes --stage charge --older-than ''",
		"purge --yes --until 0001-01-01T00:00:00Z", "purge --yes --stage charge --state ''", "purge --yes --stage charge --state discarded,",
		"discard --stage charge --group ''", "discard --stage charge --error ''", "discard --stage charge --error-type ''", "discard --all --topic ''",
		"redrive --stage charge --since ''", "redrive --stage charge --reason ''", "restore --stage ''", "check --stage ''",
	} {
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.Trim(args[i], "'")
		}
		r := start(t, "", append([]string{"dlq", "--store", "sqlite:" + path}, args...)...)
		if r.code != exitUsage || r.out != "" || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", line, r.code, r.out, r.err)
		}
	}
	if got := events(t, path); len(got) != 4 {
		t.Errorf("%q are left, want all", got)
	}
	if out := dlq(t, path, "ops"); out != "no redrive was asked for\n" {
		t.Errorf("ops prints %q", out)
	}
}
