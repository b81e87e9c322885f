"""COMPRESS with zlib, in each way that it flushes, and what UNAUTHENTICATE makes of it."""

import zlib

from peer import PASSWORD, USER, context, equal, has, imap, ok


def compress(m, flush):
    """Makes m, of imaplib, compress what it sends, and returns the compressor."""
    has(ok(m.xatom("COMPRESS", "DEFLATE"))[0], b"active")
    out, into, got = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15), bytearray()

    def fill():
        data = m.sock.recv(m.step)
        assert data, "connection closed"
        got.extend(into.decompress(data))

    def read(n):
        while len(got) < n:
            fill()
        data = bytes(got[:n])
        del got[:n]
        return data

    def readline():
        while b"\n" not in got:
            fill()
        return read(got.index(b"\n") + 1)

    def send(data):
        m.sock.sendall(out.compress(data) + out.flush(flush))

    m.read, m.readline, m.send, m.step = read, readline, send, 65536
    return out


def session(m, flush):
    out = compress(m, flush)
    ok(m.select("INBOX"))
    big = b"Subject: big\r\n\r\n" + b"".join(b"%d %x\r\n" % (i, i * i * 2654435761) for i in range(20000))
    ok(m.append("INBOX", None, None, big))
    ok(m.noop())
    n = int(ok(m.select("INBOX"))[0])
    equal(ok(m.fetch(str(n), "(BODY.PEEK[])"))[0][1], big)
    for _ in range(50):
        ok(m.noop())
        ok(m.fetch("1:*", "(FLAGS UID)"))
    ok(m.store(str(n), "+FLAGS", r"(\Deleted)"))
    ok(m.expunge())
    return out


for mode in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH):
    m = imap()
    session(m, mode)
    equal(m.logout()[0], "BYE")

# After TLS, compression is between it and the commands.
m = imap(login=False)
m.starttls(context())
ok(m.login(USER, PASSWORD))
session(m, zlib.Z_SYNC_FLUSH)
equal(m.logout()[0], "BYE")

# UNAUTHENTICATE ends it. The next login comes at once, in plain text.
for last in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH):
    m = imap()
    out = session(m, zlib.Z_SYNC_FLUSH)
    login = b'x2 LOGIN "%s" "%s"\r\n' % (USER.encode(), PASSWORD.encode())
    m.step = 1  # What comes behind the reply must not be taken for compressed.
    m.sock.sendall(out.compress(b"x1 UNAUTHENTICATE\r\n") + out.flush(last) + login)
    line = m.readline()
    while not line.startswith(b"x1 "):
        line = m.readline()
    has(line, b"x1 OK")
    plain = b""
    while b"x2 OK" not in plain:
        data = m.sock.recv(65536)
        assert data, plain
        plain += data
    m.shutdown()
