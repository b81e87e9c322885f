package interop

import "regexp"

// allowed makes a row of allowedDifferences, of patterns. Empty ones match no line.
func allowed(reason, command, ours, theirs string) difference {
	compile := func(pattern string) *regexp.Regexp {
		if pattern == "" {
			return nil
		}
		return regexp.MustCompile(pattern)
	}
	return difference{reason: reason, command: regexp.MustCompile(command), ours: compile(ours), theirs: compile(theirs)}
}

// replaced is as allowed, for lines that stand for the same.
func replaced(reason, command, ours, theirs string) difference {
	d := allowed(reason, command, ours, theirs)
	d.same = "allowed"
	return d
}

// allowedDifferences are those between Dovecot and us that are no mistake of ours.
// TestDifferential fails for one that does not show any more.
var allowedDifferences = []difference{
	// Codes and texts of refusals.
	replaced(`RFC 5530: codes are told by who has them`, `^\w+: `, `^tagged NO \[(NONEXISTENT|CANNOT|EXPUNGEISSUED)\]$`, `^tagged NO$`),
	allowed(`an untagged BAD for each mistake in one command`, `^\w+: APPEND`, ``, `^BAD$`),
	replaced(`RFC 9051, section 9: nothing may stand behind a command`, `^(errors|expunge): (NOOP extra|CHECK extra|CAPABILITY extra|ENABLE|EXPUNGE 1)$`, `^tagged BAD$`, `^tagged OK$`),

	// Mailboxes.
	allowed(`RFC 6154, section 2, and RFC 5258, section 3.1: attributes may be told unasked; we always tell all`,
		`^\w+: (LIST|LSUB) `, ` \\(hasnochildren|haschildren|subscribed|archive|drafts|junk|sent|trash)$`, ` \\(archive|drafts|junk|sent|trash)$`),
	allowed(`RFC 9051, section 6.3.4: what is above a new mailbox is made with it, if the server likes; and what is new is subscribed to`,
		`LIST|LSUB`, `"(Implied|Trailing|Implied/below)"`, `"(Implied|Trailing)"`),
	replaced(`RFC 9051, section 6.3.7: a server may want that there is a mailbox to subscribe to`, `SUBSCRIBE Missing`, `^tagged`, `^tagged`),
	allowed(`as before: that is subscribed to`, `LIST|LSUB`, `"Missing(/below)?"`, ``),
	replaced(`RFC 9051, section 6.3.5: a mailbox with others below it may be refused to be deleted, or stay as a name`, `DELETE Lists$`, `^tagged NO \[HASCHILDREN\]`, `^tagged OK`),
	allowed(`as before: that name, and names above one that was renamed`, `^list: LIST`, ``, `"(Lists|Verteiler|Verteiler/alle)" \\noselect`),

	// Selecting.
	allowed(`RFC 7162, section 3.1.2.1: HIGHESTMODSEQ comes with every SELECT`, `(SELECT|EXAMINE) `, `^OK \[HIGHESTMODSEQ M\]$`, ``),
	replaced(`RFC 9051, section 6.3.3: nothing is changed in what is open read-only`, `^select: (UID )?(STORE|EXPUNGE)`, `^tagged NO$`, `^tagged OK$`),
	allowed(`a command that can not be parsed closes nothing`, `SELECT Selected \(NOSUCH\)`, ``, `^OK \[CLOSED\]$`),
	allowed(`RFC 9051, section 6.3.2: what was selected is closed when another SELECT fails`, `SELECT ""`, `^OK \[CLOSED\]$`, ``),
	replaced(`there can't be one of that name`, `SELECT ""`, `^tagged NO \[NONEXISTENT\]$`, `^tagged NO \[CANNOT\]$`),

	// Flags.
	allowed(`RFC 9051, section 7.5.2: FETCH responses that nobody asked for may have UIDs`, `.`, `^#\d+ UID `, ``),
	allowed(`RFC 9051, section 7.1: PERMANENTFLAGS may be told again`, `^\w+: `, ``, `^OK \[PERMANENTFLAGS `),
	allowed(`RFC 9051, section 6.4.6: STORE tells the flags, also where nothing changed`, `^\w+: (UID )?STORE `, `^#\d+ FLAGS `, ``),
	replaced(`RFC 9051, section 2.3.2: \Recent is no flag to be stored, and harmless`, `STORE 4 FLAGS \(\\Recent\)`, `^(tagged OK|#4 FLAGS \(\))$`, `^tagged BAD$`),
	allowed(`a keyword that nothing has is none of the mailbox`, `\(absent\)`, ``, `^FLAGS .*"absent"`),
	replaced(`RFC 9051, section 9: that is no atom`, `bad\]flag`, `^tagged BAD$`, `^tagged NO \[CANNOT\]$`),

	allowed(`as before: keywords that are there already`, `\+FLAGS \(\$Forwarded \$MDNSent\)`, ``, `^FLAGS `),

	// Searching.
	replaced(`RFC 9051, section 9: there is no such day`, `BEFORE 31-Feb-2000`, `^tagged BAD$`, `^(SEARCH |tagged OK)$`),

	replaced(`RFC 9051, section 6.4.4: without a Date field nothing was sent before a day`, `SENTBEFORE`, `^SEARCH`, `^SEARCH`),
	replaced(`RFC 9051, section 6.4.4: what has no subject, or no text, may contain nothing, or not`, `(SUBJECT|BODY) ""`, `^SEARCH`, `^SEARCH`),
	replaced(`RFC 9051, section 6.4.4: which code goes with bytes that are not of the charset is up to the server`, `xff|xe9`, `^tagged NO \[BADCHARSET\]$`, `^tagged BAD$`),
	replaced(`RFC 9051, section 6.4.4: headers of messages within a message are in its body`, `BODY (innermost|"simple inner"|Content-Type)`, `^SEARCH`, `^SEARCH`),
	replaced(`a text that is base64 with mistakes in it is read as far as possible`, `BODY "hello world"`, `^SEARCH`, `^SEARCH`),
	allowed(`a keyword that nothing has is none of the mailbox`, `KEYWORD nothing|\$Forwarded|^random`, `^FLAGS`, `^FLAGS`),
	replaced(`RFC 9051, section 9: no such section, and a part has one byte or more`, `^search: FETCH 1 (BODY|BINARY)`, `^tagged BAD$`, `^(#1|allowed|tagged OK)`),

	replaced(`bytes that are no UTF-8 are read as ISO-8859-1, as somebody meant them`, `CHARSET UTF-8 (SUBJECT \{5\+\}\\r\\ncafé|FROM|TEXT \{2\+\})`, `^SEARCH`, `^SEARCH`),

	// Sorting.
	replaced(`RFC 5256, section 3: what stands there is taken for the charset`, `^sort: (SORT \(DATE\)|THREAD REFERENCES) ALL`, `^tagged NO \[BADCHARSET\]$`, `^tagged BAD$`),

	// Enabling.
	allowed(`RFC 5161, section 3.2: the answer is told, also if nothing was enabled`, `ENABLE `, `^ENABLED \(\)$`, ``),

	allowed(`RFC 5161, section 3.2: what was enabled before`, `ENABLE QRESYNC$`, ``, `^ENABLED \("QRESYNC"\)$`),

	// Mod-sequences.
	replaced(`STATUS of the mailbox that is selected is no mistake in itself`, `STATUS (Cond|Random)`, `^tagged OK$`, `^tagged OK \[CLIENTBUG\]$`),
	allowed(`RFC 7162, section 3.1.3: STORE tells the mod-sequence`, `STORE `, `^#\d+ MODSEQ `, ``),
	allowed(`a keyword that nothing has is none of the mailbox`, `^condstore: `, `^FLAGS `, `^FLAGS .*"zero"`),
	allowed(`RFC 7162, section 3.2.5.2: what the client has shown to know is gone is not told again`, `1:6 \(1:4 1,3:5\)`, ``, `^VANISHED \(EARLIER\) 2$`),
	replaced(`RFC 7162, section 7: UIDVALIDITY is not 0`, `QRESYNC \(0 `, `.`, `.`),
	allowed(`a command that can not be parsed closes nothing`, `\(QRESYNC \(\{validity\}\)\)|^qresync: SELECT Resync$`, `^OK \[CLOSED\]$`, `^OK \[CLOSED\]$`),
	replaced(`RFC 7162, section 3.2.7: HIGHESTMODSEQ may be told with any command`, `^(qresync|random\d+): `, `^tagged OK$`, `^tagged OK \[HIGHESTMODSEQ M\]$`),
	allowed(`RFC 7162, section 3.2.7: HIGHESTMODSEQ may be told with any command`, `^(qresync|random\d+): `, `^OK \[HIGHESTMODSEQ M\]$`, `^OK \[HIGHESTMODSEQ M\]$`),

	// Parts of messages.
	allowed(`a FETCH response without what was asked for`, `^(types|emptytype|badbase64|badqp|uuencode) FETCH \d+ \(BINARY\S*\[1?\]`, `NIL$|^#\d+ BINARY`, `^#\d+ UID `),
	replaced(`RFC 9051, section 7.5.2: what is not there is NIL`, ` FETCH `, `^#\d+ (BODY|BINARY)\[[0-9.]+.*\](<\d+>)? NIL$`, `^#\d+ (BODY|BINARY)\[[0-9.]+.*\](<\d+>)? ""$`),
	replaced(`RFC 9051, section 6.4.5.1: only a part of a multipart has a MIME header, in other messages ours are the fields about MIME`,
		` FETCH .*1\.MIME`, `^#\d+ BODY\[[0-9.]+\.MIME\] "`, `^#\d+ BODY\[[0-9.]+\.MIME\] "`),
	replaced(`RFC 3516, section 4.2: that of all is the message as it is`, ` FETCH .*BINARY\.PEEK\[\]`, `BINARY\[\]`, `BINARY\[\]|tagged|^NO`),
	replaced(`no number of bytes that can be right`, ` FETCH .*BINARY\.SIZE`, `BINARY\.SIZE`, `BINARY\.SIZE\[[0-9.]+\] "1844674407370955\d+"`),

	replaced(`RFC 2045, section 6.1: no encoding, or one with mistakes in it, is read as far as possible`, `^(types|uuencode|emptytype|badbase64|badqp) FETCH \d+ \(BINARY`, `^tagged OK$`, `^tagged NO`),
	replaced(`RFC 9051, section 6.4.5.1: a part that is no multipart has no part 1`, `^(mixed|unclosed|boundaryspace|partial) FETCH \d+ \(BODY.PEEK\[1.1\]\)`, `^#`, `^#`),
	replaced(`RFC 2046, section 5.1.1: the line end before a boundary belongs to that, also behind a multipart or an encoded message`,
		`^(alternative|nested|prefixes|encodedmessage) FETCH`, `^#\d+ (BODYSTRUCTURE|BODY|BODY\[[0-9.]+(TEXT)?\]|BINARY(\.SIZE)?\[[0-9.]+\]) `, `^#\d+ (BODYSTRUCTURE|BODY|BODY\[[0-9.]+(TEXT)?\]|BINARY(\.SIZE)?\[[0-9.]+\]) `),
	replaced(`RFC 9051, section 6.4.5.1: a message in base64 has no parts that are bytes of the file, and BINARY decodes it`, `^encodedmessage FETCH`, `^#\d+ (BODY\[1.HEADER\]|BINARY\[1\]<1>) `, `^#\d+ (BODY\[1.HEADER\]|BINARY\[1\]<1>) `),
	replaced(`RFC 9051, section 6.4.5.1: there is no blank line to be included`, `^headeronly FETCH`, `HEADER\.FIELDS`, `HEADER\.FIELDS`),
	replaced(`RFC 9051, section 7.5.2: what stands for a host that is missing is up to the server, and so is what can't be understood`, `^(addresses|groups) FETCH \d+ \(ENVELOPE`, `ENVELOPE`, `ENVELOPE`),
	replaced(`RFC 5322, section 3.6: of fields that may be there once, and are twice, any may be taken`, `^duplicates FETCH \d+ \(ENVELOPE`, `ENVELOPE`, `ENVELOPE`),
	replaced(`RFC 5322, section 2.2.3: unfolding removes the line end, and leaves the white space`, `^folded FETCH \d+ \(ENVELOPE`, `ENVELOPE`, `ENVELOPE`),
	replaced(`RFC 9051, section 7.5.2: parameters are decoded as in RFC 2231`, `^rfc2231 FETCH`, `(BODY|BODYSTRUCTURE) `, `(BODY|BODYSTRUCTURE) `),
	replaced(`RFC 2045, section 5.2: a type that can't be understood is text/plain`, `^(types|emptytype) FETCH`, `(BODY|BODYSTRUCTURE) `, `(BODY|BODYSTRUCTURE) `),
	replaced(`RFC 9051, section 7.5.2: NIL and the empty string are the same to clients`, `^emptytype FETCH \d+ \(ENVELOPE`, `ENVELOPE`, `ENVELOPE`),
	replaced(`RFC 2046, section 5.1.1: a multipart that can't be taken apart is one part`, `^(noboundary|missingboundary) FETCH`, `^#`, `^#`),
	replaced(`RFC 2046, section 5.1.1: a part without a header has the blank line that ends it`, `^emptyparts FETCH`, `MIME\] `, `MIME\] `),
	replaced(`what is told does not change because something could not be decoded`, `^(badbase64|badqp|uuencode) FETCH`, `(BODY|BODYSTRUCTURE) `, `(BODY|BODYSTRUCTURE) `),
}
