package imapserver

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// watchersBench is the number of sessions that watch one mailbox.
const watchersBench = 1000

// BenchmarkWatchers measures how long it takes until each of watchersBench sessions has
// been told of a new message: after the commit, which others wait for too.
func BenchmarkWatchers(b *testing.B) {
	for _, how := range []string{"IDLE", "NOTIFY SET (selected (MessageNew MessageExpunge))", "NOTIFY SET (personal (MessageNew MessageExpunge))"} {
		word, _, _ := strings.Cut(how, " (")
		b.Run(strings.ReplaceAll(word, " ", ""), func(b *testing.B) {
			e := newEnv(b, map[string]string{"inbox": "100"})
			clients := watchers(b, e, how)
			content := testMessage(1)
			var behind time.Duration
			for b.Loop() {
				e.appendMessage("Inbox", content)
				begin := time.Now()
				for _, c := range clients {
					c.line()
				}
				behind += time.Since(begin)
			}
			b.ReportMetric(float64(behind.Microseconds())/float64(b.N)/1000, "ms/last")
		})
	}
}

// watchers returns clients that wait to be told.
func watchers(b *testing.B, e *env, how string) []*client {
	addr := e.listen()
	clients := make([]*client, watchersBench)
	for i := range clients {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = nc.Close() })
		c := newClient(b, nc)
		c.line()
		c.ok("LOGIN mox %s", password)
		if !strings.Contains(how, "personal") {
			c.ok("SELECT INBOX")
		}
		if how != "IDLE" {
			c.ok("%s", how)
		} else if _, err := fmt.Fprintf(nc, "x IDLE\r\n"); err != nil {
			b.Fatal(err)
		} else {
			c.line()
		}
		clients[i] = c
	}
	return clients
}
