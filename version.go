package main

import (
	"context"
	"runtime"
	"runtime/debug"
)

const versionHelp = `Print the version of mox, of Go, and the system it was built for.
`

func runVersion(_ context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 0); err != nil {
		return err
	}
	inv.printf("mox %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// version returns the version that the go command stored when building: a tag, or
// a commit, or that neither is known.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" {
		return info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "unknown"
}
