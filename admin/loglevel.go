package admin

import (
	"context"
	"log/slog"
	"regexp"

	"github.com/mjl-/mox/logfmt"
)

// levelPackagesMax bounds the packages with a level of their own. There are not
// that many packages.
const levelPackagesMax = 100

// packageName is what names of packages look like in the log.
var packageName = regexp.MustCompile(`^[a-z][a-z0-9/]{0,63}$`)

// LogLevels are the levels from which lines are logged: error, warn, info, debug,
// trace, traceauth or tracedata.
type LogLevels struct {
	Default  string            `json:"default"`
	Packages map[string]string `json:"packages"` // Those that differ from Default.
}

// LogLevels returns the levels that hold now.
func (a *Admin) LogLevels(context.Context, Nothing) (LogLevels, error) {
	levels := LogLevels{logfmt.LevelName(a.opts.Levels.Default()), map[string]string{}}
	for pkg, level := range a.opts.Levels.Packages() {
		levels.Packages[pkg] = logfmt.LevelName(level)
	}
	return levels, nil
}

// SetLogLevelRequest is for SetLogLevel.
type SetLogLevelRequest struct {
	Level   string `json:"level"`             // Empty, with Package: that follows the default again.
	Package string `json:"package,omitempty"` // Empty: for all without a level of their own.
}

// SetLogLevel changes the level of a package, or the default, until the server
// stops. It returns the levels that hold then.
func (a *Admin) SetLogLevel(ctx context.Context, req SetLogLevelRequest) (LogLevels, error) {
	if req.Package != "" && !packageName.MatchString(req.Package) {
		return LogLevels{}, userError("%q is not the name of a package", req.Package)
	}
	if req.Level == "" && req.Package != "" {
		a.opts.Levels.ClearPackage(req.Package)
		a.log.InfoContext(ctx, "log level cleared", "package", req.Package)
		return a.LogLevels(ctx, Nothing{})
	}
	level, err := logfmt.ParseLevel(req.Level)
	if err != nil {
		return LogLevels{}, userError("%v", err)
	}
	if req.Package == "" {
		a.opts.Levels.SetDefault(level)
	} else if err := a.setPackage(req.Package, level); err != nil {
		return LogLevels{}, err
	}
	a.log.InfoContext(ctx, "log level set", "package", req.Package, "level", req.Level)
	return a.LogLevels(ctx, Nothing{})
}

func (a *Admin) setPackage(pkg string, level slog.Level) error {
	packages := a.opts.Levels.Packages()
	if _, ok := packages[pkg]; !ok && len(packages) >= levelPackagesMax {
		return userError("%d packages have a level of their own already", levelPackagesMax)
	}
	a.opts.Levels.SetPackage(pkg, level)
	return nil
}
