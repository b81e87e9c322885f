//go:build unix && !linux

package crashtest

import "errors"

func dropSyncs() error { return errors.ErrUnsupported }
