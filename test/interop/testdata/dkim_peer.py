"""Signs, verifies and seals messages with dkimpy: a list of tasks in JSON on
standard input, a list of results on standard output. Messages and keys are in
base64. Keys in DNS are looked up as the system does.
"""

import base64
import json
import sys
import types


class Result:
    def __init__(self, text):
        self.method, _, value = text.strip().partition("=")
        self.result = value.split()[0] if value else ""


class Header:
    """What dkimpy asks of an Authentication-Results field: whose it is, and what it
    says of arc. A package of Debian's that reads all of it is not needed for that."""

    @classmethod
    def parse(cls, text):
        header = cls()
        parts = text.partition(":")[2].split(";")
        header.authserv_id = parts[0].strip()
        header.results = [Result(p) for p in parts[1:]]
        return header


authres = types.ModuleType("authres")
authres.AuthenticationResultsHeader = Header
authres.core = types.SimpleNamespace(SyntaxError=ValueError)
sys.modules["authres"] = authres

import dkim  # noqa: E402: it looks for authres.


def run(task):
    message = base64.b64decode(task["Message"])
    text = {k: v.encode() for k, v in task.items() if k != "Message" and isinstance(v, str)}
    if task["Op"] == "verify":
        return dkim.verify(message)
    if task["Op"] == "arcverify":
        return dkim.arc_verify(message)[0].decode()
    key = base64.b64decode(task["Key"])
    if task["Op"] == "sign":
        canon = (text["HeaderCanon"], text["BodyCanon"])
        header = dkim.sign(message, text["Selector"], text["Domain"], key, canonicalize=canon, signature_algorithm=text["Algorithm"])
    else:
        header = b"".join(dkim.arc_sign(message, text["Selector"], text["Domain"], key, text["Server"]))
    return base64.b64encode(header).decode()


json.dump([run(task) for task in json.load(sys.stdin)], sys.stdout)
