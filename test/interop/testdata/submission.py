"""smtplib submits mail with each mechanism it has.

Run as: python3 submission.py host submission-port imap-port submissions-port ca-file
(peer.py has other names for some of these).
"""

import smtplib
import sys

from peer import CA, HOST, IMAPS, PASSWORD, SMTP, TIMEOUT, USER, context, equal, has

SUBMISSION, SUBMISSIONS = SMTP, IMAPS


def connect(how):
    if how == "tls":
        return smtplib.SMTP_SSL(HOST, SUBMISSIONS, local_hostname="client.example", timeout=TIMEOUT, context=context())
    s = smtplib.SMTP(HOST, SUBMISSION, local_hostname="client.example", timeout=TIMEOUT)
    if how == "starttls":
        s.starttls(context=context())
    return s


def message(subject):
    return ("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n\r\nHello.\r\n" % (USER, USER, subject)).encode()


for how in ("plain", "starttls", "tls"):
    with connect(how) as s:
        s.ehlo()
        offered = s.esmtp_features["auth"].split()
        has(offered, "PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS")
        assert "CRAM-MD5" not in offered, offered
        # Nothing without a login.
        equal(s.docmd("MAIL", "FROM:<%s>" % USER)[0], 530)
    for mechanism in ("PLAIN", "LOGIN"):
        with connect(how) as s:
            s.ehlo()
            s.user, s.password = USER, "wrong" + PASSWORD
            method = getattr(s, "auth_" + mechanism.lower())
            try:
                s.auth(mechanism, method)
                raise AssertionError("a wrong password was taken")
            except smtplib.SMTPAuthenticationError as e:
                equal(e.smtp_code, 535)
            s.password = PASSWORD
            # With the initial response, and with a challenge.
            equal(s.auth(mechanism, method, initial_response_ok=how == "tls")[0], 235)
            equal(s.sendmail(USER, [USER], message("python %s %s" % (mechanism, how))), {})
    # As most scripts do it: the best mechanism that smtplib knows.
    with connect(how) as s:
        s.login(USER, PASSWORD)
        equal(s.sendmail(USER, [USER], message("python best %s" % how)), {})
