"""What the scripts here share: where the server is, and checks.

Scripts are run as: python3 script.py host smtp-port imap-port imaps-port ca-file
"""

import imaplib
import smtplib
import ssl
import sys

HOST = sys.argv[1]
SMTP, IMAP, IMAPS = (int(a) for a in sys.argv[2:5])
CA = sys.argv[5]
USER, PASSWORD = "mox@localhost", "moxmoxmox"
TIMEOUT = 30

imaplib._MAXLINE = 64 << 20


def context():
    """TLS that trusts the server's certificate, and checks its address."""
    return ssl.create_default_context(cafile=CA)


def smtp(starttls=False):
    s = smtplib.SMTP(HOST, SMTP, local_hostname="client.example", timeout=TIMEOUT)
    if starttls:
        s.starttls(context=context())
    return s


def imap(login=True):
    m = imaplib.IMAP4(HOST, IMAP, timeout=TIMEOUT)
    if login:
        ok(m.login(USER, PASSWORD))
    return m


def ok(response):
    """Returns the data of a response that must be OK."""
    typ, data = response
    assert typ == "OK", response
    return data


def no(response):
    """Returns the text of a response that must be NO."""
    typ, data = response
    assert typ == "NO", response
    return data[-1]


def bad(fn, *args):
    """Calls what the server must answer with BAD, or the library refuses."""
    try:
        response = fn(*args)
    except imaplib.IMAP4.error as e:
        return str(e)
    raise AssertionError("%s%r was accepted: %r" % (fn.__name__, args, response))


def equal(got, want):
    assert got == want, "got %r, want %r" % (got, want)


def has(got, *want):
    for w in want:
        assert w in got, "got %r, want %r in it" % (got, w)
