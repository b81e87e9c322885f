package auth

import (
	"sync"
	"time"
)

// abortWait is how long End waits for a session that it has aborted. One that
// takes longer computes something, and can read and write nothing any more.
const abortWait = time.Second

// Session is one client's connection that has logged in. Its methods may be called
// from any goroutine, and don't wait.
type Session interface {
	// End makes the session end when it next waits for a command, and tell its client.
	End()
	// Abort makes it end now, whatever it does.
	Abort()
}

// Sessions are those of one server that have logged in, by account, so that they
// can be ended when the account changes. The zero value has none. It is safe for
// concurrent use.
type Sessions struct {
	mu        sync.Mutex
	moment    int64                                // Grows with each call of End.
	ended     map[string]int64                     // When those of an account were ended last. Bounded by the accounts there have been.
	byAccount map[string]map[Session]chan struct{} // Channels are closed when the session has left.
}

// Now returns the moment that Enter wants, before credentials are looked at.
func (s *Sessions) Now() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moment
}

// Enter adds a session that has logged in with credentials that were looked at
// since a moment. It returns false if the account's sessions were ended after
// that: what was looked at may not hold any more, and the client should try again.
// Leave must be called when the session uses nothing of the account any more.
func (s *Sessions) Enter(account string, since int64, session Session) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended[account] > since {
		return nil, false
	}
	if s.byAccount == nil {
		s.byAccount = map[string]map[Session]chan struct{}{}
	}
	if s.byAccount[account] == nil {
		s.byAccount[account] = map[Session]chan struct{}{}
	}
	s.byAccount[account][session] = make(chan struct{})
	return func() { s.leave(account, session) }, true
}

func (s *Sessions) leave(account string, session Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.byAccount[account][session])
	delete(s.byAccount[account], session)
	if len(s.byAccount[account]) == 0 {
		delete(s.byAccount, account)
	}
}

// End ends the sessions of an account, and returns when they are gone: running
// commands get the grace time, then they are aborted. Logins that are under way
// fail. It returns how many there were, and how many are left all the same.
func (s *Sessions) End(account string, grace time.Duration) (ended, left int) {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = map[string]int64{}
	}
	s.moment++
	s.ended[account] = s.moment
	sessions := make(map[Session]chan struct{}, len(s.byAccount[account]))
	for session, gone := range s.byAccount[account] {
		sessions[session] = gone
	}
	s.mu.Unlock()
	for session := range sessions {
		session.End()
	}
	ended = len(sessions)
	waitGone(sessions, grace)
	for session := range sessions {
		session.Abort()
	}
	waitGone(sessions, abortWait)
	return ended, len(sessions)
}

// waitGone removes sessions that have left, and returns when there are no others,
// or after a while.
func waitGone(sessions map[Session]chan struct{}, most time.Duration) {
	over := make(chan struct{})
	defer time.AfterFunc(most, func() { close(over) }).Stop()
	for session, gone := range sessions {
		select {
		case <-gone:
		case <-over:
		}
		select {
		case <-gone: // Also of those that are looked at late.
			delete(sessions, session)
		default:
		}
	}
}
