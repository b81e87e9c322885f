//go:build unix && !linux

package crashtest

import "errors"

func dropSyncs([]string, []uint32) error { return errors.ErrUnsupported }

func holdSecondSync([]uint32, func()) error { return errors.ErrUnsupported }
