package main

import (
	"context"
	"errors"
)

func (inv *invocation) serve(context.Context) error {
	return errors.New("serve runs on Unix systems only; on Windows there is localserve")
}
