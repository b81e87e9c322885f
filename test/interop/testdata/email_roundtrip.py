"""Messages made by Python's email package come back as they were sent, and the
server sees in them the same parts as that package does."""

import email
import email.policy
from email.message import EmailMessage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from peer import equal, has, imap, ok, smtp


def simple():
    msg = EmailMessage(policy=email.policy.SMTP)
    msg["From"], msg["To"] = "Grüße <a@example.org>", "mox@localhost"
    msg["Subject"] = "Ein langer Betreff mit Umlauten äöü, der " + "sehr " * 30 + "lang ist"
    msg["Message-ID"] = "<simple@example.org>"
    msg.set_content("Grüße\n" * 10)
    return msg


def attachments():
    msg = simple()
    del msg["Message-ID"]
    msg["Message-ID"] = "<attachments@example.org>"
    msg.add_alternative("<p>Grüße</p>", subtype="html")
    msg.add_attachment(bytes(range(256)) * 1000, maintype="application", subtype="octet-stream", filename="Grüße und €.bin")
    msg.add_attachment("text", filename="t.txt")
    return msg


def nested():
    msg = MIMEMultipart("mixed", policy=email.policy.SMTP)
    msg["From"], msg["To"], msg["Subject"] = "a@example.org", "mox@localhost", "forwarded"
    msg.attach(MIMEText("see below", policy=email.policy.SMTP))
    msg.attach(MIMEMessage(attachments(), policy=email.policy.SMTP))
    return msg


def leaves(msg, path=()):
    """Yields the parts as IMAP numbers them, with their decoded content."""
    if msg.get_content_maintype() == "multipart":
        for i, part in enumerate(msg.get_payload(), 1):
            yield from leaves(part, path + (i,))
    elif msg.get_content_type() == "message/rfc822":
        inner = msg.get_payload(0)
        if inner.get_content_maintype() != "multipart":
            path += (1,)
        yield from leaves(inner, path)
    else:
        yield path or (1,), msg.get_payload(decode=True)


sent = [simple(), attachments(), nested()]
with smtp() as s:
    for msg in sent:
        equal(s.send_message(msg, "a@example.org", ["mox@localhost"]), {})

m = imap()
equal(int(ok(m.select())[0]), len(sent))
for i, msg in enumerate(sent, 1):
    raw = ok(m.fetch(str(i), "(BODY.PEEK[])"))[0][1]
    got = email.message_from_bytes(raw, policy=email.policy.SMTP)
    equal(str(got["Subject"]), str(msg["Subject"]))
    want = list(leaves(got))
    lines = lambda c: c.replace(b"\r\n", b"\n")
    equal([lines(c) for _, c in want], [lines(c) for _, c in leaves(msg)])
    for path, content in want:
        name = ".".join(map(str, path))
        data = ok(m.fetch(str(i), "(BINARY.PEEK[%s])" % name))
        # imaplib takes "~{" for a literal, too.
        equal(data[0][1], content)
    equal(got.defects, [])
    ok(m.fetch(str(i), "(BODYSTRUCTURE ENVELOPE)"))

equal(ok(m.search(None, "SUBJECT", '"Ein langer Betreff"')), [b"1 2"])
m.literal = "umlauten äöü, der sehr".encode()
equal(ok(m.search("UTF-8", "SUBJECT")), [b"1 2"])
m.literal = "GRÜ".encode()
equal(ok(m.search("UTF-8", "FROM")), [b"1 2"])
m.literal = "grüße".encode()
equal(ok(m.search("UTF-8", "BODY")), [b"1 2 3"])
equal(ok(m.search(None, "HEADER", "Message-ID", "attachments@example.org")), [b"2"])
equal(ok(m.search(None, "TEXT", "attachments@example.org")), [b"2 3"])
m.logout()
