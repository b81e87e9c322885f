package imapmodel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// responsesMax bounds what a client has received and not looked at.
const responsesMax = 1 << 16

// conn is a client's connection. What the server sends is read at once, so that it
// never waits for the client.
type conn struct {
	nc        net.Conn
	responses chan string // Closed when the connection is.
	pumping   sync.WaitGroup
}

// newConn returns a connection. Tamper may change what the server sends.
func newConn(nc net.Conn, tamper func(string) []string) *conn {
	c := &conn{nc: nc, responses: make(chan string, responsesMax)}
	c.pumping.Go(func() {
		defer close(c.responses)
		br := bufio.NewReader(nc)
		for {
			text, err := readResponse(br)
			if err != nil {
				return
			}
			for _, t := range tamper(text) {
				c.responses <- t
			}
		}
	})
	return c
}

// readResponse reads a line and its literals.
func readResponse(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return "", err
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		if !ok {
			return "", fmt.Errorf("%w: line ends with LF alone", errSyntax)
		}
		b.WriteString(line)
		size, ok := literalSize(line)
		if !ok {
			return b.String(), nil
		}
		b.WriteString("\r\n")
		if _, err := io.CopyN(&b, br, int64(size)); err != nil {
			return "", err
		}
	}
}

// literalSize returns the size of the literal that a line announces.
func literalSize(line string) (int, bool) {
	i := strings.LastIndexByte(line, '{')
	if i < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	n, err := strconv.Atoi(line[i+1 : len(line)-1])
	return n, err == nil
}

var errClosed = errors.New("the server closed the connection")

// close ends the connection, and waits until nothing more comes.
func (c *conn) close() {
	_ = c.nc.Close() // The server may have done so.
	for range c.responses {
	}
	c.pumping.Wait()
}
