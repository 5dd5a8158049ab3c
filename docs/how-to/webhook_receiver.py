#!/usr/bin/env python3
"""Takes Drover's webhooks: WEBHOOK_SECRET=whsec_… webhook_receiver.py [port]"""
import base64, hashlib, hmac, json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 300  # An older message is a replay.
SECRETS = [base64.b64decode(text.removeprefix("whsec_")) for text in os.environ.get("WEBHOOK_SECRET", "").split()]
if not SECRETS:
    sys.exit("set WEBHOOK_SECRET to the secret that Drover returned for the webhook")
seen = set()  # A message may come twice, with the same identifier. A real receiver keeps them longer than the process.


def is_genuine(headers, body):
    message, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not seconds.isdigit() or abs(time.time() - int(seconds)) > TOLERANCE_S:
        return False
    signed = f"{message}.{seconds}.".encode() + body
    ours = [base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()) for secret in SECRETS]
    given = [part[3:].encode() for part in headers.get("webhook-signature", "").split() if part.startswith("v1,")]
    return any(hmac.compare_digest(one, other) for one in ours for other in given)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 20_000))
        status = 204
        if not is_genuine(self.headers, body):
            status = 401
        elif self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            message = json.loads(body)
            print(message["type"], json.dumps(message["data"], sort_keys=True), flush=True)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8900), Receiver)
print("listening", server.server_port, flush=True)
server.serve_forever()
