//go:build !linux

// Command e2e-node says that there are no nodes but on Linux.
package main

import "fmt"

func main() {
	fmt.Println("e2e-node: SKIPPED: needs Linux")
}
