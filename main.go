// Command mox is a complete mail server in one binary.
package main

func main() {}
