"""Reads a notification with Python's email package and prints what it says.

The message comes on standard input. The result is a JSON object: fields of the
whole, of the report as a whole, of its recipients, and of the message that it is
about.
"""

import email
import email.policy
import json
import sys

m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
assert m.get_content_type() == "multipart/report", m.get_content_type()
parts = list(m.iter_parts())
assert len(parts) == 3, [p.get_content_type() for p in parts]
text, report, original = parts
assert text.get_content_type() == "text/plain", text.get_content_type()
blocks = report.get_payload()
original_type = original.get_content_type()
if original_type in ("message/rfc822", "message/global"):
    headers = original.get_payload(0)
else:
    headers = email.message_from_string(original.get_content(), policy=email.policy.default)
defects = [repr(d) for p in m.walk() for d in p.defects]
json.dump(
    {
        "from": m["From"],
        "to": m["To"],
        "autoSubmitted": m["Auto-Submitted"],
        "reportType": m.get_param("report-type"),
        "statusType": report.get_content_type(),
        "text": text.get_content(),
        "message": {k.lower(): str(v) for k, v in blocks[0].items()},
        "recipients": [{k.lower(): str(v) for k, v in b.items()} for b in blocks[1:]],
        "originalType": original_type,
        "originalMessageId": headers["Message-ID"],
        "defects": defects,
    },
    sys.stdout,
)
