package main

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheProgramLeavesNoCoreDump(t *testing.T) {
	p := startProcess(t)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("a core dump is allowed:\n%s", limits)
	}
}

func TestOtherProcessesOfTheUserCannotReadTheMemory(t *testing.T) {
	if err := keepMemoryPrivate(); err != nil {
		t.Fatal(err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		t.Errorf("dumpable is %d: %v", dumpable, err)
	}
}
