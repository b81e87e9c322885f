package admin

import (
	"context"
	"time"
)

// ConfigStatus is how the configuration is.
type ConfigStatus struct {
	Loaded  time.Time `json:"loaded"`            // When the one in use was read or written.
	Problem string    `json:"problem,omitempty"` // Of what is on disk and therefore not in use. It can have several lines.
	Since   time.Time `json:"since,omitzero"`    // When the problem was seen first.
}

// ConfigReloadResult is the configuration after ConfigReload.
type ConfigReloadResult struct {
	Domains  int      `json:"domains"`  // Number of domains.
	Accounts int      `json:"accounts"` // Number of accounts.
	Warnings []string `json:"warnings"` // Settings that hardly do what was meant.
}

// ConfigReload reads domains.conf and the files of TLS keys and certificates again.
// If there are mistakes, the error has all of them and nothing changes.
func (a *Admin) ConfigReload(ctx context.Context, _ Nothing) (ConfigReloadResult, error) {
	if a.opts.Reload == nil {
		return ConfigReloadResult{}, &Error{Code: Unavailable, Message: "this server can't reload its configuration"}
	}
	if err := a.opts.Reload(ctx); err != nil && ctx.Err() == nil {
		return ConfigReloadResult{}, &Error{User, err.Error(), err} // Told to be mended by whoever has asked.
	} else if err != nil {
		return ConfigReloadResult{}, err
	}
	c := a.opts.Config()
	res := ConfigReloadResult{Domains: len(c.Dynamic.Domains), Accounts: len(c.Dynamic.Accounts), Warnings: []string{}}
	for _, w := range c.Warnings {
		res.Warnings = append(res.Warnings, w.Error())
	}
	return res, nil
}

// configStatus returns nil if it isn't known.
func (a *Admin) configStatus() *ConfigStatus {
	if a.opts.ConfigStatus == nil {
		return nil
	}
	s := a.opts.ConfigStatus()
	c := &ConfigStatus{Loaded: s.Loaded.UTC().Round(0), Problem: s.Problem}
	if s.Problem != "" {
		c.Since = s.Since.UTC().Round(0)
	}
	return c
}
