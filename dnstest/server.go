package dnstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// serveTries is how often another port is tried if one is only free for UDP.
	serveTries = 20

	// serveTimeout bounds the wait for a query over TCP, and for a client to take a
	// reply.
	serveTimeout = 10 * time.Second

	// servedMax bounds the queries that are replied to at a time.
	servedMax = 100
)

var errServe = errors.New("dnstest: no port is free for both UDP and TCP")

// Server is a DNS server on loopback, for UDP and TCP.
type Server struct {
	Addr string // With the port, the same for both.

	backend backend
	udp     net.PacketConn
	tcp     net.Listener
	stop    chan struct{}
	slots   chan struct{}
	wg      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // Nil when closed.
}

// Serve starts a server for the zone on a free port of 127.0.0.1.
func (z *Zone) Serve(ctx context.Context) (*Server, error) { return serve(ctx, z) }

// serve starts a server on a free port of 127.0.0.1.
func serve(ctx context.Context, b backend) (*Server, error) {
	for range serveTries {
		var lc net.ListenConfig
		udp, err := lc.ListenPacket(ctx, "udp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listening for DNS: %w", err)
		}
		tcp, err := lc.Listen(ctx, "tcp", udp.LocalAddr().String())
		if err != nil {
			if err := udp.Close(); err != nil {
				return nil, fmt.Errorf("closing socket of DNS: %w", err)
			}
			continue
		}
		s := &Server{
			Addr: udp.LocalAddr().String(), backend: b, udp: udp, tcp: tcp,
			stop: make(chan struct{}), slots: make(chan struct{}, servedMax), conns: map[net.Conn]bool{},
		}
		s.wg.Go(s.serveUDP)
		s.wg.Go(s.serveTCP)
		return s, nil
	}
	return nil, errServe
}

// Close stops the server, and waits for what it does.
func (s *Server) Close() error {
	close(s.stop)
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close() // Its goroutine does the same.
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// begin takes a slot; it returns false if the server is being closed.
func (s *Server) begin() bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.stop:
		return false
	}
}

// wait waits for d, or returns false if the server is being closed.
func (s *Server) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

func (s *Server) serveUDP() {
	buf := make([]byte, 64<<10)
	for s.begin() {
		n, addr, err := s.udp.ReadFrom(buf)
		if err != nil {
			return // Closed: a socket without peer has no other errors worth waiting for.
		}
		replies, delay := s.backend.handle(buf[:n], "udp")
		s.wg.Go(func() {
			defer func() { <-s.slots }()
			if !s.wait(delay) {
				return
			}
			for _, p := range replies {
				// As with any datagram, nobody knows whether it arrives.
				_, _ = s.udp.WriteTo(p, addr)
			}
		})
	}
}

func (s *Server) serveTCP() {
	for s.begin() {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer func() { <-s.slots }()
			if s.register(c) {
				s.serveConn(c)
			}
			s.forget(c)
		})
	}
}

// register has a connection closed by Close. It returns false if that was called.
func (s *Server) register(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = true
	return true
}

// serveConn replies to queries until the client closes the connection, or
// something fails.
func (s *Server) serveConn(c net.Conn) {
	if s.backend.refusesTCP() {
		return
	}
	for {
		if err := c.SetDeadline(time.Now().Add(serveTimeout)); err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, packet); err != nil {
			return
		}
		replies, delay := s.backend.handle(packet, "tcp")
		if !s.wait(delay) {
			return
		}
		for _, p := range replies {
			if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...)); err != nil {
				return
			}
		}
	}
}

// forget closes a connection. The client has what it gets.
func (s *Server) forget(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	_ = c.Close()
}
