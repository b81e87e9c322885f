"""smtplib: every command, TLS, extensions, refusals and large messages."""

import smtplib

from peer import HOST, equal, has, imap, ok, smtp

MSG = b"From: a@example.org\r\nTo: mox@localhost\r\nSubject: plain\r\n\r\n.\r\n..dots\r\nend\r\n"
sent = []  # What must be found in the end, in order.


def send(s, msg, to="mox@localhost", **kw):
    equal(s.sendmail("a@example.org", to, msg, **kw), {})
    sent.append(msg)


# HELO, without extensions.
with smtp() as s:
    equal(s.helo()[0], 250)
    assert not s.esmtp_features
    send(s, MSG)

# EHLO, and all other commands.
with smtp() as s:
    equal(s.ehlo()[0], 250)
    for name in ("pipelining", "size", "starttls", "8bitmime", "smtputf8", "enhancedstatuscodes", "chunking", "limits"):
        assert s.has_extn(name), name
    assert int(s.esmtp_features["size"]) >= 10 << 20
    equal(s.noop()[0], 250)
    equal(s.rset()[0], 250)
    equal(s.verify("mox")[0], 252)
    equal(s.expn("list")[0], 252)
    has(s.help(), b"RCPT")
    equal(s.docmd("UNKNOWN", "command")[0], 500)
    equal(s.docmd("DATA")[0], 503)
    equal(s.docmd("RCPT", "TO:<mox@localhost>")[0], 503)
    equal(s.mail("a@example.org", ["BODY=8BITMIME", "SIZE=%d" % len(MSG)])[0], 250)
    equal(s.mail("a@example.org")[0], 503)
    equal(s.rcpt("mox@localhost")[0], 250)
    equal(s.rset()[0], 250)
    send(s, MSG, mail_options=["BODY=8BITMIME"])
    # Several messages in one connection, the second to several recipients.
    send(s, MSG, to=["mox@localhost", "mox+tag@localhost", "anyone@elsewhere.example"])
    sent.append(MSG)  # To the other domain. The tagged address is the same as without.
    # A null sender, and a quoted local part.
    equal(s.sendmail("", '"very odd"@localhost', MSG), {})
    sent.append(MSG)

# Refusals, with what smtplib makes of them.
with smtp() as s:
    for to, code in (("rcpttotemperror", 451), ("rcpttopermerror", 550), ("rcptto452", 452), ("rcptto599", 599)):
        try:
            s.sendmail("a@example.org", to + "@localhost", MSG)
            raise AssertionError(to)
        except smtplib.SMTPRecipientsRefused as e:
            equal(e.recipients[to + "@localhost"][0], code)
    refused = s.sendmail("a@example.org", ["mox@localhost", "rcpttopermerror@localhost"], MSG)
    sent.append(MSG)
    equal(list(refused), ["rcpttopermerror@localhost"])
    for to, code in (("temperror", 451), ("permerror", 550), ("554", 554)):
        try:
            s.sendmail("a@example.org", to + "@localhost", MSG)
            raise AssertionError(to)
        except smtplib.SMTPDataError as e:
            equal(e.smtp_code, code)
    for sender in ("mailfromtemperror@localhost", "mailfrom550@localhost"):
        try:
            s.sendmail(sender, "mox@localhost", MSG)
            raise AssertionError(sender)
        except smtplib.SMTPSenderRefused as e:
            assert e.smtp_code in (451, 550), e
    s.ehlo()
    equal(s.mail("a@example.org", ["SIZE=99999999999"])[0], 552)
    equal(s.docmd("MAIL", "FROM:<a@example.org> NOSUCH=1")[0], 555)
    equal(s.docmd("MAIL", "FROM:a b c")[0] // 100, 5)

# TLS.
with smtp(starttls=True) as s:
    s.ehlo()
    assert not s.has_extn("starttls")
    equal(s.docmd("STARTTLS")[0], 503)
    send(s, MSG)

# Addresses and headers in UTF-8, and 8-bit and long lines.
with smtp() as s:
    msg = "From: ä@exämple.org\r\nTo: 用户@例え.example\r\nSubject: grüße\r\n\r\nhällo\r\n".encode()
    equal(s.sendmail("ä@exämple.org", ["用户@例え.example"], msg, mail_options=["SMTPUTF8", "BODY=8BITMIME"]), {})
    sent.append(msg)
    send(s, b"Subject: latin1\r\n\r\n\xe4\xf6\xfc\r\n", mail_options=["BODY=8BITMIME"])
    send(s, b"Subject: long\r\n\r\n" + b"x" * 100000 + b"\r\n")
    try:
        s.ehlo()
        equal(s.mail("ä@exämple.org", ["BODY=8BITMIME"])[0] // 100, 5)  # Without SMTPUTF8.
    except (smtplib.SMTPException, UnicodeEncodeError):
        pass

# BDAT, in pieces and pipelined.
with smtp() as s:
    s.ehlo()
    half = len(MSG) // 2
    s.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<mox@localhost>\r\nBDAT %d\r\n" % half + MSG[:half])
    s.send(b"BDAT %d\r\n" % (len(MSG) - half) + MSG[half:] + b"BDAT 0 LAST\r\nNOOP\r\n")
    for _ in range(6):
        equal(s.getreply()[0], 250)
    sent.append(MSG)

# 20 MB.
large = b"Subject: large\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 290000
with smtp() as s:
    send(s, large)

m = imap()
equal(int(ok(m.select())[0]), len(sent))
for i, want in enumerate(sent, 1):
    got = ok(m.fetch(str(i), "(BODY.PEEK[])"))[0][1]
    assert got.endswith(b"\r\n" + want), (i, got[:1000], want[:1000])
    head = got[: len(got) - len(want)]
    has(head, b"Return-Path: <", b"Delivered-To: ", b"Received: from ")
    assert head.endswith(b"\r\n") and not head.endswith(b"\r\n\r\n"), head
m.logout()
