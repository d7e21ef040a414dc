// Command published prints the OpenAPI document as clients get it, which is what clients in other
// languages are generated from.
package main

import (
	"fmt"
	"os"

	"agentkey/api/contract"
)

func main() {
	c, err := contract.Load()
	if err == nil {
		_, err = os.Stdout.Write(c.JSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "published:", err)
		os.Exit(1)
	}
}
