package readmodels_test

import (
	"testing"

	"pgregory.net/rapid"

	"agentkey/readmodels"
)

func TestNamesThatLookAlikeHaveOneSkeleton(t *testing.T) {
	for _, alike := range [][]string{
		{"GitHub", "GitНub", "G\u0456tHub", "GIТHUB", "GlTHUB", "git-hub", "Git\u200dHub", "GitHub\u3164", "ＧｉｔＨｕｂ"},
		{"PayPal", "PayPaI", "Раураl", "paypa1"},
		{"Modern", "Modem"},
		{"Slack", "ЅlасK"},
	} {
		for _, name := range alike {
			if got, want := readmodels.Skeleton(name), readmodels.Skeleton(alike[0]); got != want {
				t.Errorf("%q is %q, and %q is %q", name, got, alike[0], want)
			}
		}
	}
	for _, apart := range [][2]string{
		{"GitHub", "GitLab"}, {"C", "C++"}, {"C#", "C++"}, {"学習", "学校"}, {"Asana", "Asena"}, {"😀", "😁"},
	} {
		if readmodels.Skeleton(apart[0]) == readmodels.Skeleton(apart[1]) {
			t.Errorf("%q looks like %q", apart[0], apart[1])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if readmodels.Skeleton(name) != readmodels.Skeleton(" "+name+"\u200d") {
			t.Fatalf("a blank around %q changes how it looks", name)
		}
	})
}
