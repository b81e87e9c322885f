package auth

import "time"

const (
	// placesMax bounds the logins that are looked at, or delayed, at a time. Each
	// may hold a goroutine and a connection for some seconds.
	placesMax = 1000

	// delayAfter is the number of failures from a network in a minute that have no
	// consequences. Each more delays what comes next by delayStep.
	delayAfter = 3
	delayStep  = time.Second
)

// places are what logins from the network have to take while they are looked at.
type places chan struct{}

func newPlaces() places { return make(places, placesMax) }

// enter takes a place, which leave gives back. If there is none it doesn't wait:
// the error is ErrBusy.
func (p places) enter() (leave func(), err error) {
	select {
	case p <- struct{}{}:
		return func() { <-p }, nil
	default:
		return nil, ErrBusy
	}
}

// delay returns how long to wait before looking at an attempt, after so many
// failures of its network in this minute.
func delay(failed int64) time.Duration {
	return max(0, time.Duration(failed-delayAfter)) * delayStep
}
