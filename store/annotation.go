package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mjl-/bstore"
)

// Limits on annotations. Clients may list all at once, and keep them.
const (
	annotationsMax     = 1000      // Per account.
	annotationBytesMax = 1_000_000 // Of the names and values of an account.
	annotationNameMax  = 400       // Bytes of a name, which is a key of the database.
	annotationDepthMax = 50        // Components of a name.
)

var (
	// ErrAnnotationName means an annotation can't have that name. The text says why.
	ErrAnnotationName = errors.New("store: invalid annotation name")

	// ErrSpecialUse means a mailbox can't have that role, or not several.
	ErrSpecialUse = errors.New("store: special use is not possible")

	// ErrTooManyAnnotations means the account has as many annotations as it may.
	ErrTooManyAnnotations = errors.New("store: too many annotations")
)

// UseAnnotation is the name under which the role of a mailbox is among its
// annotations (RFC 6154, section 4). It has no row: it is the role.
const UseAnnotation = "/private/specialuse"

// AnnotationSizeError means values are too large together.
type AnnotationSizeError struct {
	Max int64 // What is left for the values of this change, in bytes.
}

func (e *AnnotationSizeError) Error() string {
	return fmt.Sprintf("store: annotations of the account are larger than %d bytes", annotationBytesMax)
}

// Annotation is a named value that clients attach to a mailbox, or to the account
// (RFC 5464). Here none means anything but UseAnnotation.
type Annotation struct {
	ID        int64
	MailboxID int64  `bstore:"unique MailboxID+Name"` // 0: of the account.
	Name      string // In lower case, as CheckAnnotationName returns it.
	CreateSeq int64
	ModSeq    int64
	Value     []byte
}

// AnnotationChange is a value for an annotation. Nil removes it; an empty value is
// one.
type AnnotationChange struct {
	Name  string
	Value []byte
}

// CheckAnnotationName returns the form in which a name is kept: lower case (RFC
// 5464, section 3.2). The error says what is wrong.
func CheckAnnotationName(name string) (string, error) {
	if err := checkAnnotationPath(name); err != nil {
		return "", err
	}
	parts := strings.Split(strings.ToLower(name), "/")[1:]
	switch {
	case len(parts) < 2:
		return "", fmt.Errorf("%w: fewer than 2 components", ErrAnnotationName)
	case parts[1] == "vendor" && len(parts) < 4:
		return "", fmt.Errorf("%w: fewer than 4 components below vendor", ErrAnnotationName)
	}
	return strings.ToLower(name), nil
}

// CheckAnnotationParent is CheckAnnotationName for what may have annotations below it
// without being one: "/private", "/shared/vendor" and the like too.
func CheckAnnotationParent(name string) (string, error) {
	if err := checkAnnotationPath(name); err != nil {
		return "", err
	}
	return strings.ToLower(name), nil
}

// checkAnnotationPath checks what holds of a name with any number of components.
func checkAnnotationPath(name string) error {
	if len(name) > annotationNameMax {
		return fmt.Errorf("%w: longer than %d bytes", ErrAnnotationName, annotationNameMax)
	}
	for _, c := range []byte(name) {
		if c < 0x20 || c >= 0x7f || c == '*' || c == '%' {
			return fmt.Errorf("%w: character %U", ErrAnnotationName, c)
		}
	}
	parts := strings.Split(strings.ToLower(name), "/")
	if len(parts) < 2 || parts[0] != "" || parts[1] != "private" && parts[1] != "shared" {
		return fmt.Errorf("%w: it does not begin with /private or /shared", ErrAnnotationName)
	}
	if len(parts)-1 > annotationDepthMax {
		return fmt.Errorf("%w: more than %d components", ErrAnnotationName, annotationDepthMax)
	}
	for _, p := range parts[1:] {
		if p == "" {
			return fmt.Errorf("%w: empty component", ErrAnnotationName)
		}
	}
	return nil
}

// Annotation returns the value of an annotation of a mailbox, or of the account if
// mailboxID is 0; ok is false if there is none. The value must not be changed.
func (tx *Tx) Annotation(mailboxID int64, name string) (value []byte, ok bool, err error) {
	name = strings.ToLower(name)
	if name == UseAnnotation && mailboxID != 0 {
		mb, err := tx.box(mailboxID)
		if err != nil {
			return nil, false, err
		}
		return []byte(mb.Use.String()), mb.Use != UseNone, nil
	}
	a, err := tx.annotation(mailboxID, name)
	if errors.Is(err, bstore.ErrAbsent) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, fmt.Errorf("reading annotation %q: %w", name, err)
	}
	return a.Value, true, nil
}

func (tx *Tx) annotation(mailboxID int64, name string) (Annotation, error) {
	return bstore.QueryTx[Annotation](tx.b).FilterEqual("MailboxID", mailboxID).FilterEqual("Name", name).Get()
}

// Annotations returns the annotations of a mailbox, or of the account if mailboxID is
// 0, by name.
func (tx *Tx) Annotations(mailboxID int64) ([]Annotation, error) {
	list, err := tx.annotationRows(mailboxID)
	if err != nil || mailboxID == 0 {
		return list, err
	}
	mb, err := tx.box(mailboxID)
	if err != nil {
		return nil, err
	}
	return withUse(list, mb), nil
}

// annotationRows returns those that have a row, by name.
func (tx *Tx) annotationRows(mailboxID int64) ([]Annotation, error) {
	list, err := bstore.QueryTx[Annotation](tx.b).FilterEqual("MailboxID", mailboxID).SortAsc("Name").List()
	if err != nil {
		return nil, fmt.Errorf("reading annotations: %w", err)
	}
	return list, nil
}

// withUse adds the annotation for the role of a mailbox to the others, in its place.
func withUse(list []Annotation, mb *Mailbox) []Annotation {
	if mb.Use == UseNone {
		return list
	}
	i, _ := slices.BinarySearchFunc(list, UseAnnotation, func(a Annotation, name string) int { return strings.Compare(a.Name, name) })
	return slices.Insert(list, i, Annotation{
		MailboxID: mb.ID, Name: UseAnnotation, CreateSeq: mb.CreateSeq, ModSeq: mb.ModSeq, Value: []byte(mb.Use.String()),
	})
}

// MailboxAnnotations returns the annotations of several mailboxes, by name, with the
// ids of those that have any.
func (tx *Tx) MailboxAnnotations(mailboxes []Mailbox) (map[int64][]Annotation, error) {
	all := map[int64][]Annotation{}
	for i := range mailboxes {
		all[mailboxes[i].ID] = nil
	}
	err := bstore.QueryTx[Annotation](tx.b).SortAsc("MailboxID", "Name").ForEach(func(a Annotation) error {
		if _, ok := all[a.MailboxID]; ok {
			all[a.MailboxID] = append(all[a.MailboxID], a)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading annotations: %w", err)
	}
	for i := range mailboxes {
		mb := &mailboxes[i]
		all[mb.ID] = withUse(all[mb.ID], mb)
	}
	return all, nil
}

// SetAnnotations changes annotations of a mailbox, or of the account if mailboxID is
// 0: all of them or none. Of several changes to one the last counts. What stays as
// it was is no change.
func (tx *Tx) SetAnnotations(mailboxID int64, changes []AnnotationChange) error {
	var box *Mailbox
	if mailboxID != 0 {
		var err error
		if box, err = tx.box(mailboxID); err != nil {
			return err
		}
	}
	last := map[string][]byte{}
	var names []string
	for _, c := range changes {
		name, err := CheckAnnotationName(c.Name)
		if err != nil {
			return err
		}
		if _, ok := last[name]; !ok {
			names = append(names, name)
		}
		last[name] = c.Value
	}
	use, setsUse := last[UseAnnotation]
	if setsUse = setsUse && box != nil; setsUse {
		delete(last, UseAnnotation)
		names = slices.DeleteFunc(names, func(name string) bool { return name == UseAnnotation })
	}
	role, err := parseUse(box, use)
	if setsUse && err != nil {
		return err
	}
	if err := tx.checkAnnotations(mailboxID, last); err != nil {
		return err
	}
	if setsUse && box.Use != role {
		if err := tx.setUse(box, role); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := tx.setAnnotation(box, name, last[name]); err != nil {
			return fmt.Errorf("setting annotation %q: %w", name, err)
		}
	}
	return nil
}

// parseUse returns the role that a value of UseAnnotation stands for.
func parseUse(box *Mailbox, value []byte) (SpecialUse, error) {
	names := strings.Fields(string(value))
	if len(names) == 0 {
		return UseNone, nil
	}
	use, ok := ParseSpecialUse(names[0])
	if !ok || len(names) > 1 || box == nil || box.Name == inbox {
		return UseNone, ErrSpecialUse
	}
	return use, nil
}

// checkAnnotations fails if the account would have more than it may, and more than
// before.
func (tx *Tx) checkAnnotations(mailboxID int64, values map[string][]byte) error {
	var count, added int
	var kept, size, before int64
	err := bstore.QueryTx[Annotation](tx.b).ForEach(func(a Annotation) error {
		count++
		before += a.size()
		if _, ok := values[a.Name]; !ok || a.MailboxID != mailboxID {
			kept += a.size()
		} else {
			added--
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading annotations: %w", err)
	}
	names := int64(0)
	for name, value := range values {
		if value != nil {
			added++
			names += int64(len(name))
			size += int64(len(name) + len(value))
		}
	}
	switch {
	case added > 0 && count+added > annotationsMax:
		return fmt.Errorf("%w: account may have %d", ErrTooManyAnnotations, annotationsMax)
	case kept+size > annotationBytesMax && kept+size > before:
		return &AnnotationSizeError{max(0, annotationBytesMax-kept-names)}
	}
	return nil
}

// size returns what counts for the limit.
func (a *Annotation) size() int64 { return int64(len(a.Name) + len(a.Value)) }

// setAnnotation sets or removes one annotation. box is nil for one of the account.
func (tx *Tx) setAnnotation(box *Mailbox, name string, value []byte) error {
	id := int64(0)
	if box != nil {
		id = box.ID
	}
	a, err := tx.annotation(id, name)
	absent := errors.Is(err, bstore.ErrAbsent)
	switch {
	case err != nil && !absent:
		return err
	case absent && value == nil, !absent && value != nil && bytes.Equal(a.Value, value):
		return nil
	}
	modSeq := tx.nextModSeq()
	switch {
	case absent:
		err = tx.b.Insert(&Annotation{MailboxID: id, Name: name, CreateSeq: modSeq, ModSeq: modSeq, Value: value})
	case value == nil:
		err = tx.b.Delete(&Annotation{ID: a.ID})
	default:
		a.Value, a.ModSeq = value, modSeq
		err = tx.b.Update(&a)
	}
	if err != nil {
		return err
	}
	tx.noteAnnotation(box, name)
	return nil
}

// noteAnnotation tells sessions that an annotation has changed. It is a change of its
// mailbox too.
func (tx *Tx) noteAnnotation(box *Mailbox, name string) {
	c := change{kind: AnnotationChanged, annotation: name}
	if box != nil {
		tx.changed(box)
		c.mailboxID, c.mailbox = box.ID, clone(box)
	}
	tx.note(c)
}

// copyAnnotations gives a mailbox the annotations of another: those of Inbox stay
// with it and go with its messages when it is renamed (RFC 5464, section 4.1).
func (tx *Tx) copyAnnotations(from, to *Mailbox) error {
	list, err := tx.annotationRows(from.ID)
	if err != nil || len(list) == 0 {
		return err
	}
	changes := make([]AnnotationChange, len(list))
	for i, a := range list {
		changes[i] = AnnotationChange{a.Name, append([]byte{}, a.Value...)}
	}
	return tx.SetAnnotations(to.ID, changes)
}

// removeAnnotations removes the annotations of a mailbox that is deleted.
func (tx *Tx) removeAnnotations(mailboxID int64) error {
	_, err := bstore.QueryTx[Annotation](tx.b).FilterEqual("MailboxID", mailboxID).Delete()
	if err != nil {
		return fmt.Errorf("removing annotations: %w", err)
	}
	return nil
}
