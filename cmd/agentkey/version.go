package main

import (
	"cmp"
	"os"
	"os/user"
	"runtime/debug"

	"agentkey/commands/words"
)

// build returns the version and the commit of this program, from what the compiler recorded in it.
// A program from an unversioned tree has the version (devel); without version control, and with go
// run, the commit is unknown.
func build() (version, commit string) {
	commit = "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)", commit
	}
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+dirty"
		}
	}
	return cmp.Or(info.Main.Version, "(devel)"), commit + modified
}

// whoRuns names the operating system's user and host, as user@host. It identifies a person, so it
// is only stored sealed.
func whoRuns() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return words.CleanLine(name)
	}
	return words.CleanLine(name + "@" + host)
}
