package imapserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// adminEntry tells how to reach the administrator (RFC 5464, section 6.2.2). It can't
// be set.
const adminEntry = "/shared/admin"

// metadataState is what a client wants to be told of annotations that others set.
type metadataState struct {
	mailboxes bool // ENABLE METADATA was given.
	server    bool // That, or ENABLE METADATA-SERVER.
}

func parseGetMetadata(d *imap.Decoder) imap.GetMetadata { return d.GetMetadata() }
func parseSetMetadata(d *imap.Decoder) imap.SetMetadata { return d.SetMetadata() }

// getMetadata returns annotations of a mailbox, or of the account, which here is the
// server (RFC 5464, section 4.2).
func (s *session) getMetadata(ctx context.Context, _ command, req imap.GetMetadata) (imap.Response, error) {
	if err := checkEntries(req.Entries, req.Depth != 0); err != nil {
		return imap.Response{}, err
	}
	list, name, err := s.annotations(ctx, req.Mailbox)
	if err != nil {
		return imap.Response{}, err
	}
	values, longest := selectMetadata(list, &req)
	if len(values) > 0 {
		s.writeMetadata(name, values)
	}
	if longest > 0 {
		return imap.OK("METADATA LONGENTRIES "+strconv.FormatInt(longest, 10), "some values are larger"), nil
	}
	return imap.OK("", "done"), nil
}

// checkEntries fails for names that can't be those of annotations. With parents they
// may be what annotations are below.
func checkEntries(entries []string, parents bool) error {
	check := store.CheckAnnotationName
	if parents {
		check = store.CheckAnnotationParent
	}
	for _, entry := range entries {
		if _, err := check(entry); err != nil {
			return &imap.Error{Response: imap.Bad("entry name %+q is not possible", entry).Response, Err: err}
		}
	}
	return nil
}

// annotations returns all annotations of a mailbox, or of the account if the name is
// empty, sorted by name, and the name of the mailbox as it is kept.
func (s *session) annotations(ctx context.Context, mailbox string) (list []store.Annotation, name string, err error) {
	err = s.account.View(ctx, func(tx *store.Tx) error {
		var mb store.Mailbox
		if mailbox != "" {
			if mb, err = tx.Mailbox(strings.TrimSuffix(mailbox, "/")); err != nil {
				return err
			}
		}
		name = mb.Name
		list, err = tx.Annotations(mb.ID)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("reading annotations of %q: %w", mailbox, err)
	}
	if uri := s.server.opts.AdminURI; mailbox == "" && uri != "" {
		i, _ := slices.BinarySearchFunc(list, adminEntry, compareEntry)
		list = slices.Insert(list, i, store.Annotation{Name: adminEntry, Value: []byte(uri)})
	}
	return list, name, nil
}

func compareEntry(a store.Annotation, name string) int { return strings.Compare(a.Name, name) }

// selectMetadata returns those of the sorted annotations that are asked for, and the
// size of the largest that is left out for its size, 0 if none is. One that is asked
// for by its name and is not there has the value nil.
func selectMetadata(list []store.Annotation, req *imap.GetMetadata) (values []imap.MetadataValue, longest int64) {
	seen := map[string]bool{}
	add := func(entry string, a *store.Annotation) {
		switch size := int64(len(a.Value)); {
		case seen[a.Name]:
		case req.MaxSize >= 0 && size > req.MaxSize:
			longest = max(longest, size)
		default:
			seen[a.Name] = true
			values = append(values, imap.MetadataValue{Entry: entry, Value: append([]byte{}, a.Value...)})
		}
	}
	for _, entry := range req.Entries {
		name := strings.ToLower(entry)
		i, found := slices.BinarySearchFunc(list, name, compareEntry)
		switch {
		case found:
			add(entry, &list[i])
		case req.Depth == 0 && !seen[name]:
			seen[name] = true
			values = append(values, imap.MetadataValue{Entry: entry})
		}
		if req.Depth == 0 {
			continue
		}
		for i := range list {
			if below, ok := strings.CutPrefix(list[i].Name, name+"/"); ok && (req.Depth != 1 || !strings.Contains(below, "/")) {
				add(list[i].Name, &list[i])
			}
		}
	}
	return values, longest
}

// writeMetadata writes a METADATA response with values.
func (s *session) writeMetadata(mailbox string, values []imap.MetadataValue) {
	s.out.Raw("* METADATA ").Mailbox(mailbox)
	for i, v := range values {
		sep := " "
		if i == 0 {
			sep = " ("
		}
		s.out.Raw(sep).AString(v.Entry).Raw(" ")
		s.out.Append(func(b []byte) []byte { return imap.AppendMetadataValue(b, v.Value, s.out.UTF8) })
	}
	s.out.Raw(")").CRLF()
}

// setMetadata changes annotations of a mailbox or of the account, all of them or none
// (RFC 5464, section 4.3).
func (s *session) setMetadata(ctx context.Context, _ command, req imap.SetMetadata) (imap.Response, error) {
	changes := make([]store.AnnotationChange, len(req.Values))
	entries := make([]string, len(req.Values))
	for i, v := range req.Values {
		changes[i], entries[i] = store.AnnotationChange{Name: v.Entry, Value: v.Value}, v.Entry
		if req.Mailbox == "" {
			if err := checkFilter(v.Entry, v.Value); err != nil {
				return imap.Response{}, err
			}
		}
	}
	if err := checkEntries(entries, false); err != nil {
		return imap.Response{}, err
	}
	if req.Mailbox == "" && slices.ContainsFunc(entries, func(entry string) bool { return strings.EqualFold(entry, adminEntry) }) {
		return imap.Response{}, imap.No("CANNOT", "%s is read-only", adminEntry)
	}
	err := s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		var mb store.Mailbox
		if req.Mailbox != "" {
			var err error
			if mb, err = tx.Mailbox(strings.TrimSuffix(req.Mailbox, "/")); err != nil {
				return err
			}
		}
		return tx.SetAnnotations(mb.ID, changes)
	})
	if err != nil {
		return imap.Response{}, metadataError(fmt.Errorf("setting annotations of %q: %w", req.Mailbox, err))
	}
	return imap.OK("", "done"), nil
}

// metadataError makes an error about the size of values one that says what is
// possible: RFC 5464, section 4.3. A value can't be larger than a literal.
func metadataError(err error) error {
	var size *store.AnnotationSizeError
	if !errors.As(err, &size) {
		return err
	}
	e := imap.No(metadataSizeCode(min(size.Max, literalMax)), "annotations would be too large together")
	e.Err = err
	return e
}

func metadataSizeCode(most int64) string { return "METADATA MAXSIZE " + strconv.FormatInt(most, 10) }

// rules are what the change feed is asked for.
func (m metadataState) rules() []store.Rule {
	events := store.Events(0)
	if m.mailboxes {
		events |= store.EventAnnotations
	}
	if m.server {
		events |= store.EventServer
	}
	return []store.Rule{{Scope: store.ScopeAll, Events: events}}
}

// enableMetadata makes the session tell what others do to annotations, unless NOTIFY
// says what to tell.
func (s *session) enableMetadata(m metadataState) {
	s.metadata = m
	s.follow()
}

// tellMetadata writes which annotations others have changed, without values (RFC
// 5464, section 4.4.2).
func (s *session) tellMetadata(list []store.AnnotationNews) {
	for len(list) > 0 {
		name := annotatedName(&list[0])
		s.out.Raw("* METADATA ").Mailbox(name)
		for len(list) > 0 && annotatedName(&list[0]) == name {
			s.out.Raw(" ").AString(list[0].Name)
			list = list[1:]
		}
		s.out.CRLF()
	}
}

// annotatedName is the name of a mailbox in METADATA, empty for the server.
func annotatedName(a *store.AnnotationNews) string {
	if a.Mailbox == nil {
		return ""
	}
	return a.Mailbox.Name
}
