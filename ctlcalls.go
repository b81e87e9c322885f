package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mjl-/mox/admin"
)

// ctlCalls are all calls of the control socket.
// TestCtlCallsHaveTranscripts fails for one without a testdata/ctl/*.txt.
var ctlCalls = []ctlCall{
	{name: "status", doc: "How the server is, and its version.", run: plain((*admin.Admin).Status)},
	{name: "stop", doc: "Stop in order. The last line of the stream comes when the data directory is free.", run: stream(stopCall), untilGone: true},
	{name: "configReload", doc: "Read domains.conf and the files of TLS keys and certificates again.", run: plain((*admin.Admin).ConfigReload)},
	{name: "setPassword", doc: "Give an account another password.", run: plain((*admin.Admin).SetPassword)},
	{name: "logLevels", doc: "The levels from which lines are logged.", run: plain((*admin.Admin).LogLevels)},
	{name: "setLogLevel", doc: "Change a level until the server stops.", run: plain((*admin.Admin).SetLogLevel)},
	{name: "backup", doc: "Make a backup, while mail flows. The result says whether it is complete.", run: stream(backupCall)},
	{name: "accountAdd", doc: "Add an account to the configuration.", run: plain((*admin.Admin).AccountAdd)},
	{name: "accountRemove", doc: "Remove an account, with all its mail.", run: plain((*admin.Admin).AccountRemove)},
	{name: "accountList", doc: "The accounts.", run: plain((*admin.Admin).AccountList)},
	{name: "accountAddresses", doc: "The addresses of an account.", run: plain((*admin.Admin).AccountAddresses)},
	{name: "accountDisable", doc: "Keep users of an account from logging in.", run: plain((*admin.Admin).AccountDisable)},
	{name: "accountEnable", doc: "Let users of an account log in again.", run: plain((*admin.Admin).AccountEnable)},
	{name: "addressAdd", doc: "Give an account another address.", run: plain((*admin.Admin).AddressAdd)},
	{name: "addressRemove", doc: "Take an address from its account.", run: plain((*admin.Admin).AddressRemove)},
	{name: "addressAccount", doc: "Where mail for an address goes.", run: plain((*admin.Admin).AddressAccount)},
	{name: "domainAdd", doc: "Add a domain to the configuration.", run: plain((*admin.Admin).DomainAdd)},
	{name: "domainRemove", doc: "Remove a domain.", run: plain((*admin.Admin).DomainRemove)},
	{name: "domainDisable", doc: "Take no mail for a domain for now.", run: plain((*admin.Admin).DomainDisable)},
	{name: "domainEnable", doc: "Take mail for a domain again.", run: plain((*admin.Admin).DomainEnable)},
	{name: "aliasList", doc: "The aliases of a domain.", run: plain((*admin.Admin).AliasList)},
	{name: "aliasGet", doc: "An alias.", run: plain((*admin.Admin).AliasGet)},
	{name: "aliasAdd", doc: "Add an alias.", run: plain((*admin.Admin).AliasAdd)},
	{name: "aliasUpdate", doc: "Change who may use an alias.", run: plain((*admin.Admin).AliasUpdate)},
	{name: "aliasRemove", doc: "Remove an alias.", run: plain((*admin.Admin).AliasRemove)},
	{name: "aliasAddAddresses", doc: "Add members to an alias.", run: plain((*admin.Admin).AliasAddAddresses)},
	{name: "aliasRemoveAddresses", doc: "Take members from an alias.", run: plain((*admin.Admin).AliasRemoveAddresses)},
	{name: "tlsPublicKeyList", doc: "TLS public keys, with which users log in.", run: plain((*admin.Admin).TLSPublicKeyList)},
	{name: "tlsPublicKeyGet", doc: "A TLS public key with its certificate.", run: plain((*admin.Admin).TLSPublicKeyGet)},
	{name: "tlsPublicKeyAdd", doc: "Let who has the key of a certificate log in.", run: plain((*admin.Admin).TLSPublicKeyAdd)},
	{name: "tlsPublicKeyRemove", doc: "Remove a TLS public key.", run: plain((*admin.Admin).TLSPublicKeyRemove)},
	{name: "queueList", doc: "Messages in the queue.", run: plain((*admin.Admin).QueueList)},
	{name: "queueSchedule", doc: "Change when the next attempts are.", run: plain((*admin.Admin).QueueSchedule)},
	{name: "queueTransport", doc: "Choose the transport of messages.", run: plain((*admin.Admin).QueueTransport)},
	{name: "queueFail", doc: "Give up messages and tell their senders.", run: plain((*admin.Admin).QueueFail)},
	{name: "queueHold", doc: "Keep messages from being tried.", run: plain((*admin.Admin).QueueHold)},
	{name: "queueUnhold", doc: "Let held messages be tried, in their time.", run: plain((*admin.Admin).QueueUnhold)},
	{name: "queueRequireTLS", doc: "Change what is asked of TLS for messages.", run: plain((*admin.Admin).QueueRequireTLS)},
	{name: "queueDrop", doc: "Remove messages and tell nobody.", run: plain((*admin.Admin).QueueDrop)},
	{name: "queueHoldRuleList", doc: "Rules that keep messages from being tried.", run: plain((*admin.Admin).QueueHoldRuleList)},
	{name: "queueHoldRuleAdd", doc: "Hold messages that match, in the queue and to come.", run: plain((*admin.Admin).QueueHoldRuleAdd)},
	{name: "queueHoldRuleRemove", doc: "Hold no more messages by a rule. Those that it holds stay held.", run: plain((*admin.Admin).QueueHoldRuleRemove)},
	{name: "queueRetiredList", doc: "Messages that have left the queue.", run: plain((*admin.Admin).QueueRetiredList)},
	{name: "queueRetiredGet", doc: "A message that has left the queue.", run: plain((*admin.Admin).QueueRetiredGet)},
	{name: "suppressionList", doc: "Addresses that accounts send no mail to.", run: plain((*admin.Admin).SuppressionList)},
	{name: "suppressionAdd", doc: "Keep an account from sending mail to an address.", run: plain((*admin.Admin).SuppressionAdd)},
	{name: "suppressionRemove", doc: "Let an account send mail to an address again.", run: plain((*admin.Admin).SuppressionRemove)},
	{name: "suppressionLookup", doc: "Who sends no mail to an address.", run: plain((*admin.Admin).SuppressionLookup)},
	{name: "queueTrace", doc: "The way of messages, step by step.", run: plain((*admin.Admin).QueueTrace)},
	{name: "mtastsList", doc: "MTA-STS policies of domains that mail was sent to.", run: plain((*admin.Admin).MTASTSList)},
	{name: "mtastsRefresh", doc: "Ask for the MTA-STS policy of a domain now.", run: plain((*admin.Admin).MTASTSRefresh)},
	{name: "tlsResults", doc: "What came of TLS with other servers in the last days.", run: plain((*admin.Admin).TLSResults)},
	{name: "queueWebhookList", doc: "Calls of webhooks that wait.", run: plain((*admin.Admin).QueueWebhookList)},
	{name: "queueWebhookSchedule", doc: "Change when the next attempts of calls are.", run: plain((*admin.Admin).QueueWebhookSchedule)},
	{name: "queueWebhookCancel", doc: "Give up calls.", run: plain((*admin.Admin).QueueWebhookCancel)},
	{name: "queueWebhookGet", doc: "A call that waits, with what is told.", run: plain((*admin.Admin).QueueWebhookGet)},
	{name: "queueWebhookRetiredList", doc: "Calls of webhooks that left the queue.", run: plain((*admin.Admin).QueueWebhookRetiredList)},
	{name: "queueWebhookRetiredGet", doc: "Such a call, with what was told.", run: plain((*admin.Admin).QueueWebhookRetiredGet)},
	{name: "verify", doc: "Look for anything that is wrong with the data, while mail flows. Notes have the problems.", run: stream(verifyCall)},
	{name: "retrain", doc: "Train junk filters anew from marked messages, while mail flows.", run: stream(retrainCall)},
	{name: "explain", doc: "What would happen to a message, and why.", run: plain((*admin.Admin).Explain), requestMax: explainRequestMax},
	{name: "queueDump", doc: "A message as it will be sent.", run: raw((*admin.Admin).QueueDump)},
}

// ctlCall is one call.
type ctlCall struct {
	name      string
	doc       string // A line about it.
	run       ctlHandler
	untilGone bool // Lasts until the server has stopped, and uses nothing of it.

	requestMax int64 // Bytes of a request, 0 for ctlRequestMax.
}

// ctlHandler answers a request. It returns an error only if the answer is missing
// or not complete.
type ctlHandler func(s *ctlServer, w *ctlResponse, r *http.Request) error

// plain answers with the JSON of what fn returns.
func plain[Req, Res any](fn func(*admin.Admin, context.Context, Req) (Res, error)) ctlHandler {
	return func(s *ctlServer, w *ctlResponse, r *http.Request) error {
		req, err := ctlRequest[Req](w, r)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), ctlCallTime)
		defer cancel()
		res, err := fn(s.opts.Admin, ctx, req)
		if err != nil {
			return err
		}
		return w.json(http.StatusOK, res)
	}
}

// raw answers with the bytes that fn opens.
func raw[Req any](fn func(*admin.Admin, context.Context, Req) (admin.QueueContent, error)) ctlHandler {
	return func(s *ctlServer, w *ctlResponse, r *http.Request) error {
		req, err := ctlRequest[Req](w, r)
		if err != nil {
			return err
		}
		content, err := fn(s.opts.Admin, r.Context(), req)
		if err != nil {
			return err
		}
		defer content.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(content.Size, 10))
		w.WriteHeader(http.StatusOK)
		return w.copy(r.Context(), content)
	}
}

// stream answers with lines of JSON: notes while fn runs, and then what it
// returns.
func stream[Req, Res any](fn func(s *ctlServer, ctx context.Context, req Req, note func(admin.Note)) (Res, error)) ctlHandler {
	return func(s *ctlServer, w *ctlResponse, r *http.Request) error {
		req, err := ctlRequest[Req](w, r)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", ctlStreamType)
		w.WriteHeader(http.StatusOK)
		var mu sync.Mutex // Notes may come from several goroutines.
		send := func(f ctlFrame) error {
			mu.Lock()
			defer mu.Unlock()
			return w.frame(f)
		}
		res, err := fn(s, r.Context(), req, func(n admin.Note) {
			_ = send(ctlFrame{Note: &n}) // Who does not listen misses the result too.
		})
		if err != nil {
			return errors.Join(send(ctlFrame{Error: admin.ErrorOf(err)}), err)
		}
		text, err := json.Marshal(res)
		if err != nil {
			return fmt.Errorf("writing result: %w", err)
		}
		return send(ctlFrame{Result: text})
	}
}

// ctlStreamType is the media type of a stream.
const ctlStreamType = "application/jsonl"

// ctlFrame is a line of a stream. One field is set. The last line has Result or
// Error; a stream without is not complete.
type ctlFrame struct {
	Note   *admin.Note     `json:"note,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *admin.Error    `json:"error,omitempty"`
}

// stopCall stops the server and waits until it is gone. All that is left of it
// then is this answer.
func stopCall(s *ctlServer, ctx context.Context, _ admin.Nothing, note func(admin.Note)) (admin.Nothing, error) {
	s.opts.Admin.Stop(ctx)
	note(admin.Note{Message: "stopping"})
	<-s.gone // Comes in any case: it is closed at the end of the process's work.
	return admin.Nothing{}, s.goneErr
}

// Codes of mistakes in the use of the control socket.
const (
	ctlBadRequest   admin.Code = "request"      // Not a request of the protocol, or with fields the server doesn't know.
	ctlOtherVersion admin.Code = "version"      // Of another version of the protocol.
	ctlNoCall       admin.Code = "unknownCall"  // As from a command that is newer than the server.
	ctlTooLarge     admin.Code = "largeRequest" // More than ctlRequestMax.
)

// ctlStatuses gives the HTTP status for each code.
var ctlStatuses = map[admin.Code]int{
	admin.User:        http.StatusUnprocessableEntity,
	admin.NotFound:    http.StatusNotFound,
	admin.Unavailable: http.StatusServiceUnavailable,
	admin.Server:      http.StatusInternalServerError,
	ctlBadRequest:     http.StatusBadRequest,
	ctlOtherVersion:   http.StatusNotFound,
	ctlNoCall:         http.StatusNotFound,
	ctlTooLarge:       http.StatusRequestEntityTooLarge,
}

func ctlStatus(code admin.Code) int {
	if status, ok := ctlStatuses[code]; ok {
		return status
	}
	return http.StatusInternalServerError
}

func ctlError(code admin.Code, format string, args ...any) error {
	return &admin.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ctlRequest reads the parameters of a call: one JSON object.
func ctlRequest[Req any](w *ctlResponse, r *http.Request) (Req, error) {
	var req, none Req
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return none, ctlError(ctlBadRequest, "parameters must be application/json")
	}
	text, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, w.requestMax))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return none, ctlError(ctlTooLarge, "parameters are more than %d bytes", w.requestMax)
	} else if err != nil {
		return none, ctlError(ctlBadRequest, "reading parameters: %v", err)
	}
	if err := parseRequest(text, &req); err != nil {
		return none, ctlError(ctlBadRequest, "parameters: %v", err)
	}
	// From here on it matters whether the caller stays, not how soon it is done.
	if err := w.ctl.SetReadDeadline(time.Time{}); err != nil {
		return none, fmt.Errorf("setting deadline: %w", err)
	}
	return req, nil
}

// ctlResponse is an answer on its way.
type ctlResponse struct {
	http.ResponseWriter
	ctl    *http.ResponseController
	status int // 0 if nothing was sent.

	requestMax int64 // Bytes.
}

// WriteHeader begins the answer.
func (w *ctlResponse) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// extend gives the caller time to take the next piece.
func (w *ctlResponse) extend(d time.Duration) error {
	return w.ctl.SetWriteDeadline(time.Now().Add(d))
}

// json sends a whole answer.
func (w *ctlResponse) json(status int, v any) error {
	text, err := appendJSON(nil, v)
	if err != nil {
		return err
	}
	if err := w.extend(ctlRequestTime); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, err = w.Write(text)
	return err
}

// frame sends a line of a stream.
func (w *ctlResponse) frame(f ctlFrame) error {
	text, err := appendJSON(nil, f)
	if err != nil {
		return err
	}
	if err := w.extend(ctlRequestTime); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return w.ctl.Flush()
}

// copy sends what r has. It ends early when ctx is done, also if the caller
// takes nothing.
func (w *ctlResponse) copy(ctx context.Context, r io.Reader) error {
	stop := context.AfterFunc(ctx, func() { _ = w.ctl.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64*1024)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := w.extend(ctlReadTime); err != nil {
				return err
			}
			// Not before, so that a deadline in the past stays.
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
