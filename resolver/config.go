package resolver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mjl-/mox/dns"
)

const (
	// configCheckEvery is how often it is looked whether the configuration changed,
	// at most.
	configCheckEvery = 5 * time.Second

	// configSizeMax bounds the configuration in bytes. What is beyond is not read.
	configSizeMax = 64 << 10

	// serversMax bounds the servers taken from the configuration. Other resolvers
	// take 3.
	serversMax = 8

	portDefault = 53
)

// errNoServers is for systems without a configuration we know.
var errNoServers = fmt.Errorf("%w: no name servers configured, and none known of this system", dns.ErrTemporary)

// server is a name server.
type server struct {
	addr    netip.AddrPort
	trusted bool // Its AD bit counts.
}

// config has the servers to ask. It is safe for concurrent use.
type config struct {
	path string // Empty: servers do not change.

	mu      sync.Mutex
	servers []server // Nil: not read yet. Not changed in place.
	checked time.Time
	read    fileState
}

// fileState tells versions of a file apart.
type fileState struct {
	modified time.Time
	size     int64
}

// newConfig returns the configuration of servers, or if there are none, of the
// file at path, which may be empty.
func newConfig(servers []server, path string) *config {
	if len(servers) > 0 {
		path = ""
	}
	return &config{path: path, servers: servers}
}

// current returns the servers at now, in the order in which they are to be asked,
// and whether they are others than the caller before was given. A file that can't
// be read changes nothing.
func (c *config) current(now time.Time) (servers []server, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.path == "" || c.servers != nil && now.Sub(c.checked) < configCheckEvery {
		return c.servers, false
	}
	c.checked = now
	list, state, err := readConfig(c.path, c.read)
	switch {
	case err == nil:
		c.read = state
	case c.servers == nil:
		list = localServers
	}
	if list == nil || slices.Equal(list, c.servers) {
		return c.servers, false
	}
	c.servers = list
	return list, true
}

// localServers are asked if no others are named, as resolv.conf(5) has it.
var localServers = []server{
	{netip.MustParseAddrPort("127.0.0.1:53"), true},
	{netip.MustParseAddrPort("[::1]:53"), true},
}

// readConfig reads a resolv.conf, unless it is as before; then the list is nil.
// One that is not there names no servers.
func readConfig(path string, before fileState) ([]server, fileState, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return localServers, fileState{}, nil
	} else if err != nil {
		return nil, before, err
	}
	state := fileState{info.ModTime(), info.Size()}
	if state == before {
		return nil, before, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, before, err
	}
	// Nothing was written.
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, configSizeMax))
	if err != nil {
		return nil, before, err
	}
	return parseConfig(string(data)), state, nil
}

// parseConfig takes from a resolv.conf what concerns us: nameserver, and the
// option trust-ad, which counts for all. Search domains are for people.
func parseConfig(data string) []server {
	var servers []server
	trust := false
	for line := range strings.Lines(data) {
		words := strings.Fields(line)
		if len(words) < 2 || line[0] == '#' || line[0] == ';' {
			continue
		}
		switch words[0] {
		case "nameserver":
			ip, err := netip.ParseAddr(words[1])
			if err == nil && len(servers) < serversMax {
				servers = append(servers, newServer(netip.AddrPortFrom(ip, portDefault), false))
			}
		case "options":
			trust = trust || slices.Contains(words[1:], "trust-ad")
		}
	}
	if len(servers) == 0 {
		return localServers
	}
	for i := range servers {
		servers[i].trusted = servers[i].trusted || trust
	}
	return servers
}

// newServer returns a server. Nobody is between us and one on loopback.
func newServer(addr netip.AddrPort, trusted bool) server {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return server{addr, trusted || addr.Addr().IsLoopback()}
}

// parseServers parses addresses with or without port.
func parseServers(list []string, trusted bool) ([]server, error) {
	var servers []server
	for _, s := range list {
		addr, err := netip.ParseAddrPort(s)
		if err != nil {
			ip, ipErr := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
			if ipErr != nil {
				return nil, fmt.Errorf("address %s: %w", strconv.Quote(s), ipErr)
			}
			addr = netip.AddrPortFrom(ip, portDefault)
		}
		servers = append(servers, newServer(addr, trusted))
	}
	if len(servers) > serversMax {
		return nil, fmt.Errorf("%d of them, at most %d are used", len(servers), serversMax)
	}
	return servers, nil
}
