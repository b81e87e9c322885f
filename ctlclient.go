package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config"
)

// Limits of commands that call the server.
const (
	ctlDialTime   = 5 * time.Second
	ctlAnswerTime = ctlCallTime + time.Minute // For an answer to begin: no sooner than the server's own limit.
	ctlStreamMax  = 1 << 20                   // Bytes of a line in a stream.
	ctlErrorMax   = 64 * 1024                 // Bytes of an error.
)

// ctlClient calls the server that uses a data directory.
type ctlClient struct {
	dir      string
	version  string // Of this program.
	protocol string // Version of it, ctlVersion.
	http     *http.Client
}

// ctl returns a client for the server of the configuration.
func (inv *invocation) ctl() (*ctlClient, error) {
	dir, err := dataDir(inv.config)
	if err != nil {
		return nil, err
	}
	path, err := ctlPath(dir)
	if err != nil {
		return nil, err
	}
	return newCtlClient(dir, func(ctx context.Context) (net.Conn, error) { return dialCtl(ctx, path) }), nil
}

func newCtlClient(dir string, dial func(context.Context) (net.Conn, error)) *ctlClient {
	return &ctlClient{dir, version(), ctlVersion, &http.Client{Transport: &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives:     true, // A command has one call.
		DisableCompression:    true,
		ResponseHeaderTimeout: ctlAnswerTime,
	}}}
}

func dialCtl(ctx context.Context, path string) (net.Conn, error) {
	d := net.Dialer{Timeout: ctlDialTime}
	return d.DialContext(ctx, "unix", path)
}

// dataDir returns the data directory that mox.conf at path names. Mistakes
// elsewhere in the file don't matter: who made them must still be able to stop
// the server.
func dataDir(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading configuration: %w", err)
	}
	static, err := config.ParseStatic(text)
	if static.DataDir == "" {
		return "", errors.Join(fmt.Errorf("%s names no data directory", path), err)
	}
	dir := filepath.FromSlash(static.DataDir)
	if filepath.IsAbs(dir) {
		return dir, nil
	}
	return filepath.Join(filepath.Dir(path), dir), nil
}

// open makes a call and returns the answer, which the caller must close. An
// error that the server tells is an *admin.Error.
func (c *ctlClient) open(ctx context.Context, name string, req any) (io.ReadCloser, error) {
	text, err := appendJSON(nil, req)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ctl/"+c.protocol+"/"+name, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "mox/"+c.version)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.callError(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	return nil, errors.Join(c.answerError(resp), resp.Body.Close())
}

// callError says why there is no answer.
func (c *ctlClient) callError(err error) error {
	op, dialing := errors.AsType[*net.OpError](err)
	switch {
	case dialing && op.Op == "dial" && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use the control socket of %s: only root and the user of the server may", c.dir)
	case dialing && op.Op == "dial" && !op.Timeout():
		return fmt.Errorf("no server is running for %s", c.dir)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return errors.New("the server closed the connection without an answer: only root and the user of the server may use the control socket")
	}
	return fmt.Errorf("calling the server: %w", err)
}

// answerError returns the error in an answer. If the server is of another version
// than the command, that may be the reason for not being understood.
func (c *ctlClient) answerError(resp *http.Response) error {
	var e admin.Error
	err := json.NewDecoder(io.LimitReader(resp.Body, ctlErrorMax)).Decode(&e)
	if err != nil || e.Message == "" {
		return fmt.Errorf("the server answered %s, and not as expected: it may be another program", resp.Status)
	}
	server := resp.Header.Get("Server")
	if own := "mox/" + c.version; server != own && (e.Code == ctlBadRequest || e.Code == ctlNoCall || e.Code == ctlOtherVersion) {
		e.Message += fmt.Sprintf("\nthe command is %s and the server %s: restart the server, or use the command of its version", own, server)
	}
	return &e
}

// ctlCallPlain makes a call with one answer.
func ctlCallPlain[Res any](ctx context.Context, c *ctlClient, name string, req any) (Res, error) {
	var res Res
	body, err := c.open(ctx, name, req)
	if err != nil {
		return res, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&res); err != nil {
		return res, fmt.Errorf("reading answer: %w", err)
	}
	return res, nil
}

// ctlCallRaw makes a call that answers with bytes, and writes them to w.
func ctlCallRaw(ctx context.Context, c *ctlClient, name string, req any, w io.Writer) error {
	body, err := c.open(ctx, name, req)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("copying answer: %w", err)
	}
	return nil
}

// errCtlBroken means that a stream ended before its result.
var errCtlBroken = errors.New("the connection ended before the server said how it went")

// ctlCallStream makes a call that answers with a stream, and calls frame for each
// line but one with an error, which it returns.
func ctlCallStream(ctx context.Context, c *ctlClient, name string, req any, frame func(ctlFrame) error) error {
	body, err := c.open(ctx, name, req)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, ctlStreamMax)
	for lines.Scan() {
		var f ctlFrame
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return fmt.Errorf("reading answer: %w", err)
		}
		if f.Error != nil {
			return f.Error
		}
		if err := frame(f); err != nil {
			return err
		}
		if f.Result != nil {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", errCtlBroken, err)
	}
	return errCtlBroken
}

// print prints v as JSON if asJSON, and otherwise what human prints.
func (inv *invocation) print(asJSON bool, v any, human func()) error {
	if !asJSON {
		human()
		return nil
	}
	text, err := appendJSON(nil, v)
	if err != nil {
		return err
	}
	_, err = inv.stdout.Write(escapeUnprintable(text))
	return err
}

// printNote prints what a stream told. Warnings are among the errors.
func (inv *invocation) printNote(n admin.Note) {
	if n.Warning {
		inv.errorf("warning: %s", noteText(n))
	} else {
		inv.printf("%s\n", noteText(n))
	}
}

// noteText returns what a note says. File names in it can have any characters,
// also those that mean something to a terminal.
func noteText(n admin.Note) string {
	text := printable(n.Message)
	switch {
	case n.Total > 0:
		return fmt.Sprintf("%s: %d of %d", text, n.Done, n.Total)
	case n.Done > 0:
		return fmt.Sprintf("%s: %d", text, n.Done)
	}
	return text
}
