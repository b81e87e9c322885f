"""A web address for webhooks, with http.server.

Run as: python3 webhooks.py host port user password. It prints its port, and then a
line of JSON for each request that it takes. Requests without the right user and
password it refuses, and each first attempt too.
"""

import base64
import http.server
import json
import sys

host, port, user, password = sys.argv[1:5]
expected = "Basic " + base64.b64encode((user + ":" + password).encode()).decode()
refused = set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != expected:
            return self.answer(401, b"who are you?")
        key = self.headers["X-Mox-Webhook-ID"]
        if self.path == "/sent?refuse=1" and key not in refused:
            refused.add(key)
            return self.answer(503, b"not now")
        assert self.headers["Content-Type"] == "application/json; charset=utf-8", self.headers["Content-Type"]
        headers = {name.lower(): value for name, value in self.headers.items()}
        print(json.dumps({"path": self.path, "headers": headers, "payload": json.loads(body)}), flush=True)
        self.answer(202, b"taken")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
