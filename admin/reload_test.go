package admin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
)

func TestConfigReload(t *testing.T) {
	t.Parallel()
	problems := config.Problems{{File: config.DynamicName, Line: 1, Err: config.ErrUnknown}, {File: config.DynamicName, Line: 2, Err: config.ErrLater}}
	warning := &config.Problem{File: config.StaticName, Path: "X", Err: errors.New("odd")}
	current := &config.Config{Dynamic: testConfig, Warnings: config.Problems{warning}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name   string
		ctx    context.Context
		reload func(context.Context) error
		code   Code
		words  string
	}{
		{"all is well", t.Context(), func(context.Context) error { return nil }, "", ""},
		{"two mistakes", t.Context(), func(context.Context) error { return fmt.Errorf("reloading:\n%w", problems) }, User,
			"reloading:\ndomains.conf:1: unknown setting\ndomains.conf:2: not supported by this version yet"},
		{"keys that can't be read", t.Context(), func(context.Context) error { return &live.KeysError{Problems: []error{errors.New("a.key")}} }, User, "a.key"},
		{"who asked is gone", gone, func(ctx context.Context) error { return ctx.Err() }, Unavailable, "canceled"},
		{"nothing to reload", t.Context(), nil, Unavailable, "can't reload"},
	} {
		a := &Admin{opts: Options{Config: func() *config.Config { return current }, Reload: test.reload}}
		res, err := a.ConfigReload(test.ctx, Nothing{})
		wantError(t, test.name, err, test.code, test.words)
		if err == nil && (res.Domains != len(testConfig.Domains) || res.Accounts != len(testConfig.Accounts) || len(res.Warnings) != 1 || res.Warnings[0] != "mox.conf: X: odd") {
			t.Errorf("%s: got %+v", test.name, res)
		}
	}
}

func TestConfigStatus(t *testing.T) {
	t.Parallel()
	if s := (&Admin{}).configStatus(); s != nil {
		t.Errorf("unknown: got %+v", s)
	}
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	for _, test := range []struct {
		name   string
		status live.Status
		want   ConfigStatus
	}{
		{"no problem", live.Status{Loaded: at}, ConfigStatus{Loaded: at.UTC()}},
		{"a problem", live.Status{Loaded: at, Problem: "x", Since: at.Add(time.Hour)}, ConfigStatus{Loaded: at.UTC(), Problem: "x", Since: at.Add(time.Hour).UTC()}},
	} {
		a := &Admin{opts: Options{ConfigStatus: func() live.Status { return test.status }}}
		if got := a.configStatus(); *got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}
