package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/message"
)

// junkMail is a message in a file, or in a part of one.
type junkMail struct {
	path         string
	offset, size int64
	junk         bool
	at           time.Time // When it came, as far as is known.
}

// junkMails returns the messages at path: a file with one, an mbox file with
// several, or a directory with such files at any depth.
func junkMails(path string, isJunk bool) ([]junkMail, error) {
	var list []junkMail
	err := filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		found, err := fileMails(path)
		for _, m := range found {
			m.junk = isJunk
			list = append(list, m)
		}
		return err
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("no messages in %s", path)
	}
	return list, err
}

// fileMails returns the messages in one file.
func fileMails(path string) ([]junkMail, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	list, err := splitMbox(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for i := range list {
		list[i].path = path
		list[i].at = info.ModTime()
		if at, ok := list[i].received(f); ok {
			list[i].at = at
		}
	}
	return list, nil
}

// mboxLine begins the line before each message of an mbox file.
const mboxLine = "From "

// splitMbox returns where the messages of an mbox file are: after lines with
// "From ", at the begin or after an empty line. In another file all is one message.
func splitMbox(r io.Reader) ([]junkMail, error) {
	lines := bufio.NewReaderSize(r, 64<<10)
	var list []junkMail
	offset, empty, whole := int64(0), true, true
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if whole && empty && bytes.HasPrefix(line, []byte(mboxLine)) && (offset == 0 || len(list) > 0 && list[0].offset > 0) {
			if n := len(list); n > 0 {
				list[n-1].size = offset - list[n-1].offset
			}
			list = append(list, junkMail{offset: offset + int64(len(line))})
		} else if offset == 0 && len(line) > 0 {
			list = append(list, junkMail{})
		}
		offset += int64(len(line))
		if errors.Is(err, io.EOF) {
			break
		}
		empty = whole && len(bytes.TrimRight(line, "\r\n")) == 0
		whole = err == nil // Else the line goes on.
	}
	if n := len(list); n > 0 {
		list[n-1].size = offset - list[n-1].offset
	}
	return list, nil
}

// received returns when a message came: what its last server says, or its sender.
func (m *junkMail) received(r io.ReaderAt) (time.Time, bool) {
	part, _ := message.Parse(io.NewSectionReader(r, m.offset, m.size), m.size) // It is usable in any case.
	h, err := message.ReadHeader(io.NewSectionReader(r, m.offset, m.size), &part)
	if err != nil {
		return time.Time{}, false
	}
	for _, field := range []string{"Received", "Date"} {
		value := h.Get(field)
		value = value[strings.LastIndexByte(value, ';')+1:]
		if at, err := message.ParseDate(value); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// words returns the words of the message.
func (m *junkMail) words(grams junk.Grams) (junk.Words, error) {
	f, err := os.Open(m.path)
	if err != nil {
		return junk.Words{}, err
	}
	defer f.Close()
	content := io.NewSectionReader(f, m.offset, m.size)
	part, err := message.Parse(content, m.size)
	if err != nil && !errors.Is(err, message.ErrMalformed) {
		return junk.Words{}, fmt.Errorf("reading %s: %w", m.path, err)
	}
	return junk.ReadWords(junk.Source{Content: content, Part: &part}, grams)
}

// byTime puts messages in the order in which they came.
func byTime(list []junkMail) {
	slices.SortStableFunc(list, func(a, b junkMail) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.path, b.path), cmp.Compare(a.offset, b.offset))
	})
}
