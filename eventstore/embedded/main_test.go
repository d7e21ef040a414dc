package embedded_test

import (
	"fmt"
	"os"
	"testing"

	"agentkey/eventstore/embedded"
)

// childFolder makes the test's own binary serve a folder until it is killed.
const childFolder = "EMBEDDED_TEST_SERVE"

func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(childFolder) != "":
		err = serveForever(os.Getenv(childFolder))
	case os.Getenv(archiveFolder) != "":
		err = archiveForever(os.Getenv(archiveFolder))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveForever says the socket's path on standard output once it can be dialled.
func serveForever(dir string) error {
	store, err := embedded.Open(embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	listener, path, err := store.ListenUnix()
	if err != nil {
		return err
	}
	fmt.Println(path)
	return store.Serve(listener, embedded.ServeOptions{})
}
