"""imaplib: every command that it has and the server implements."""

import imaplib
import time

from peer import CA, HOST, IMAPS, PASSWORD, TIMEOUT, USER, bad, context, equal, has, imap, no, ok, smtp

MSG = b"From: a@example.org\r\nTo: b@example.org\r\nDate: Mon, 2 Mar 2020 23:30:00 -0800\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nHello w\xc3\xb6rld.\r\n"

# Logins.
m = imap(login=False)
for name in ("IMAP4REV1", "IDLE", "STARTTLS", "AUTH=PLAIN", "UIDPLUS", "MOVE", "ENABLE"):
    assert name in m.capabilities, m.capabilities
bad(m.login, USER, "wrong")
m.starttls(context())
assert "STARTTLS" not in m.capabilities, m.capabilities
ok(m.authenticate("PLAIN", lambda _: b"\0" + USER.encode() + b"\0" + PASSWORD.encode()))
has(ok(m.capability())[0], b"IMAP4rev1")
equal(ok(m.namespace())[0], b'(("" "/")) NIL NIL')
ok(m.xatom("ID", '("name" "imaplib")'))
has(m.untagged_responses["ID"][0], b'"mox"')
equal(m.logout()[0], "BYE")

m = imaplib.IMAP4_SSL(HOST, IMAPS, ssl_context=context(), timeout=TIMEOUT)
ok(m.login(USER, PASSWORD))
ok(m.noop())

# Mailboxes.
for name in ("Plain", "Plain/Below", '"with space"', "Entw&APw-rfe", "&ZeVnLIqe-", '"&AOQ-/&AOQ-"', "R&-D"):
    ok(m.create(name))
has(no(m.create("Plain")), b"[ALREADYEXISTS]")
names = b"\n".join(ok(m.list()))
has(names, b'"/" INBOX', b"Plain/Below", b'"with space"', b"Entw&APw-rfe", b"&ZeVnLIqe-", b"R&-D", b"\\Sent", b"\\HasChildren")
equal(ok(m.list('""', "nothing*")), [None])
equal(len(ok(m.list("Plain/", "%"))), 1)
equal(len(ok(m.lsub('""', "Plain*"))), 2)
ok(m.unsubscribe("Plain"))
assert b'"/" Plain"' not in b"\n".join(x or b"" for x in ok(m.lsub('""', "Plain")))
ok(m.subscribe("Plain"))
ok(m.rename("Plain", "Simple"))
has(ok(m.list('""', "Simple/*"))[0], b"Simple/Below")
has(no(m.delete("Simple")), b"HASCHILDREN")
ok(m.delete("Simple/Below"))
ok(m.delete("Simple"))
has(no(m.delete("Simple")), b"NONEXISTENT")
no(m.delete("INBOX"))
has(no(m.select("Missing")), b"NONEXISTENT")

# UTF-8 in names, once it is enabled.
u = imap()
u.send(b"%s ENABLE IMAP4rev2\r\n" % u._new_tag())
while b"OK" not in u.readline():
    pass
tag = u._new_tag()
u.send(tag + b' SELECT "' + "Entwürfe".encode() + b'"\r\n')
while True:
    line = u.readline()
    if line.startswith(tag):
        has(line, b"OK")
        break
u.shutdown()

# APPEND, with flags and a date, into names of all kinds.
when = '" 3-Feb-2001 04:05:06 +0700"'
has(ok(m.append("INBOX", r"(\Seen $Work)", when, MSG))[0], b"APPENDUID")
ok(m.append("INBOX", None, None, MSG.replace(b"world", b"World")))
ok(m.append("INBOX", r"(\Flagged \Draft)", time.time(), MSG))
ok(m.append('"with space"', None, None, MSG))
ok(m.append("&ZeVnLIqe-", None, None, MSG))
has(no(m.append("Missing", None, None, MSG)), b"[TRYCREATE]")
large = b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 600000
ok(m.append("R&-D", None, None, large))

# Status and selecting.
has(ok(m.status("INBOX", "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY RECENT)"))[0], b"MESSAGES 3", b"UNSEEN 2", b"UIDNEXT 4")
equal(ok(m.select("INBOX", readonly=True)), [b"3"])
try:
    no(m.store("1", "+FLAGS", r"(\Deleted)"))
except m.readonly:
    pass
no(m.expunge())
ok(m.close())
equal(ok(m.select("INBOX")), [b"3"])
has(m.response("FLAGS")[1][0], b"$work")
has(m.response("PERMANENTFLAGS")[1][0], rb"\*")
assert m.response("UIDVALIDITY")[1][0]
equal(m.response("UIDNEXT")[1], [b"4"])
equal(m.recent()[0], "OK")

# FETCH.
equal(ok(m.fetch("1", "(BODY.PEEK[])"))[0][1], MSG)
equal(ok(m.fetch("1", "(RFC822)"))[0][1], MSG)
equal(ok(m.fetch("1", "(BODY.PEEK[]<5.10>)"))[0][1], MSG[5:15])
equal(ok(m.fetch("1", "(BODY.PEEK[TEXT]<0.5>)"))[0][1], b"Hello")
equal(ok(m.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))[0][1], b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\n")
has(ok(m.fetch("1", "(INTERNALDATE)"))[0], b'INTERNALDATE " 2-Feb-2001 21:05:06 +0000"')
equal(imaplib.Internaldate2tuple(ok(m.fetch("1", "(INTERNALDATE)"))[0])[:3], time.localtime(981147906)[:3])
equal(sorted(imaplib.ParseFlags(ok(m.fetch("1", "(FLAGS)"))[0])), [b"$work", rb"\Seen"])
has(ok(m.fetch("1", "(ENVELOPE)"))[0], b"=?utf-8?q?gr=C3=BC=C3=9Fe?=")
has(ok(m.fetch("1", "(BODYSTRUCTURE)"))[0], b'"TEXT" "PLAIN"')
equal(len([d for d in ok(m.fetch("1:*", "FAST")) if d]), 3)
equal(ok(m.uid("FETCH", "9999", "(FLAGS)")), [None])
bad(m.fetch, "99", "(FLAGS)")
bad(m.fetch, "1", "(NOSUCH)")
bad(m.partial, "1", "RFC822", "0", "10")

# SEARCH.
equal(ok(m.search(None, "ALL")), [b"1 2 3"])
equal(ok(m.search(None, "FLAGGED")), [b"3"])
equal(ok(m.search(None, "KEYWORD", "$Work")), [b"1"])
equal(ok(m.search(None, "SENTON", "2-Mar-2020", "SENTSINCE", "2-Mar-2020")), [b"1 2 3"])
equal(ok(m.search(None, "SENTBEFORE", "2-Mar-2020")), [b""])
equal(ok(m.search(None, "BEFORE", "3-Feb-2001")), [b"1"])
equal(ok(m.search(None, "(OR (SUBJECT gr) (BODY nothing))", "NOT", "SEEN")), [b"2 3"])
m.literal = "GRÜSSE".replace("SS", "ß").encode()
equal(ok(m.search("UTF-8", "SUBJECT")), [b"1 2 3"])
m.literal = "wörld".encode()
equal(ok(m.uid("SEARCH", "CHARSET", "UTF-8", "BODY")), [b"1 2 3"])
has(no(m.search("KLINGON", "ALL")), b"BADCHARSET")

# STORE, COPY, EXPUNGE.
has(ok(m.store("2", "+FLAGS", r"(\Deleted New-Keyword)"))[0], rb"\Deleted")
ok(m.store("2", "-FLAGS.SILENT", r"(\Deleted)"))
has(ok(m.uid("STORE", "3", "FLAGS", r"(\Answered)"))[0], rb"\Answered")
equal(sorted(imaplib.ParseFlags(ok(m.fetch("3", "(FLAGS)"))[0])), [rb"\Answered"])
ok(m.copy("1:2", '"with space"'))
has(no(m.copy("1", "Missing")), b"[TRYCREATE]")
ok(m.uid("COPY", "9999", "Sent"))
ok(m.uid("MOVE", "1", "Archive"))
equal(ok(m.search(None, "ALL")), [b"1 2"])
ok(m.xatom("MOVE", "1", "Archive"))
has(ok(m.status("Archive", "(MESSAGES)"))[0], b"MESSAGES 2")
ok(m.store("1", "+FLAGS.SILENT", r"(\Deleted)"))
ok(m.uid("EXPUNGE", "1:2"))
equal(ok(m.search(None, "ALL")), [b"1"])
equal(ok(m.expunge())[-1], b"1")
equal(ok(m.search(None, "ALL")), [b""])
ok(m.check())

# A delivery is seen at once, by NOOP and in IDLE.
with smtp() as s:
    s.sendmail("a@example.org", "mox@localhost", MSG)
ok(m.noop())
equal(m.untagged_responses["EXISTS"][-1], b"1")
tag = m._new_tag()
m.send(tag + b" IDLE\r\n")
has(m.readline(), b"+ ")
with smtp() as s:
    s.sendmail("a@example.org", "mox@localhost", MSG)
equal(m.readline(), b"* 2 EXISTS\r\n")
m.send(b"DONE\r\n")
has(m.readline(), tag + b" OK")
equal(int(ok(m.select("R&-D"))[0]), 1)
equal(ok(m.fetch("1", "(BODY.PEEK[])"))[0][1], large)
equal(ok(m.fetch("1", "(BODY.PEEK[]<5000000.20>)"))[0][1], large[5000000:5000020])
ok(m.unselect())
bad(m._simple_command, "UNSELECT")  # Without a mailbox.
ok(m.select("&ZeVnLIqe-"))
ok(m.store("1", "+FLAGS", r"(\Deleted)"))
ok(m.close())
has(ok(m.status("&ZeVnLIqe-", "(MESSAGES)"))[0], b"MESSAGES 0")

# What is not there is refused, and does no harm.
for fn, args in (
    (m.getacl, ("INBOX",)),
    (m.myrights, ("INBOX",)),
    (m.setacl, ("INBOX", "a", "lrs")),
    (m.deleteacl, ("INBOX", "a")),
    (m.setannotation, ("INBOX", "/x", "y")),
    (m.getannotation, ("INBOX", "/x", "y")),
    (m.proxyauth, ("other",)),
    (m.xatom, ("XNOSUCH",)),
):
    bad(fn, *args)
ok(m.select())

# Sorting and threads: both messages have one Date and one subject.
equal(ok(m.sort("(DATE)", "UTF-8", "ALL")), [b"1 2"])
equal(ok(m.uid("SORT", "(REVERSE SUBJECT)", "UTF-8", "SUBJECT", "absent")), [b""])
equal(ok(m.thread("REFERENCES", "UTF-8", "ALL")), [b"((1)(2))"])
equal(ok(m.thread("ORDEREDSUBJECT", "UTF-8", "ALL")), [b"(1 2)"])
has(no(m.sort("(DATE)", "KLINGON", "ALL")), b"BADCHARSET")
ok(m.getquota('""'))
has(ok(m.getquotaroot("INBOX"))[0][0], b"INBOX")
equal(ok(m.search(None, "ALL")), [b"1 2"])
equal(m.logout()[0], "BYE")
