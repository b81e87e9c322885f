"""smtplib submits a message and asks for notifications.

Run as: python3 notify.py host port ca-file user password envelope-id rcpt=NOTIFY...
The message comes on standard input.
"""

import smtplib
import ssl
import sys

host, port, ca, user, password, envid = sys.argv[1:7]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
with smtplib.SMTP(host, int(port), local_hostname="client.example", timeout=60) as s:
    s.starttls(context=context)
    s.login(user, password)
    assert s.has_extn("dsn"), s.esmtp_features
    steps = [s.mail(user, ["RET=FULL", "ENVID=" + envid])]
    for arg in sys.argv[7:]:
        rcpt, notify = arg.split("=", 1)
        options = ["ORCPT=rfc822;" + rcpt.upper()]
        if notify:
            options.append("NOTIFY=" + notify)
        steps.append(s.rcpt(rcpt, options))
    steps.append(s.data(sys.stdin.buffer.read()))
    assert all(code == 250 for code, _ in steps), steps
