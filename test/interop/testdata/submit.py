"""smtplib submits a message.

Run as: python3 submit.py host port ca-file user password rcpt... with the message on
standard input.
"""

import smtplib
import ssl
import sys

host, port, ca, user, password = sys.argv[1:6]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
with smtplib.SMTP(host, int(port), local_hostname="client.example", timeout=60) as s:
    s.starttls(context=context)
    s.login(user, password)
    refused = s.sendmail(user, sys.argv[6:], sys.stdin.buffer.read())
    assert not refused, refused
