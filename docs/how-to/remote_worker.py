#!/usr/bin/env python3
"""Does tasks of the kind `remote`: DROVER_URL=… DROVER_API_KEY=… remote_worker.py [queue …]"""
import http.client, json, os, socket, sys, threading, time, urllib.error, urllib.request

LEASE_S = 10  # How long Drover waits for a heartbeat before another worker gets the task.
BODY_MAX = 1 << 20  # The most bytes of a request. Drover hangs up on a larger one, which looks like no answer.


class Refused(Exception):
    """Drover does not take this request, however often it is sent."""


def call(verb, **body):
    """The answer; None where the lease no longer holds the task."""
    headers = {"Authorization": "Bearer " + os.environ["DROVER_API_KEY"], "Content-Type": "application/json"}
    url = f"{os.environ['DROVER_URL']}/api/v1/workers/{verb}"
    data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    if len(data) > BODY_MAX:
        raise Refused(f"{verb}: the request would have {len(data)} bytes; at most {BODY_MAX} are taken")
    while True:
        try:
            request = urllib.request.Request(url, data, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 409:
                return None
            if error.code < 500 and error.code not in (408, 425, 429):
                raise Refused(f"{verb}: {error.code} {error.read().decode(errors='replace')}") from None
            print(f"{verb}: {error}; trying again", file=sys.stderr)
        except (OSError, http.client.HTTPException, ValueError) as error:  # No answer, or half of one.
            print(f"{verb}: {error}; trying again", file=sys.stderr)
        time.sleep(1)


def keep_alive(lease, held, stop, done):
    while not done.wait(LEASE_S / 3):
        try:
            beat = call("heartbeat", lease_id=lease, lease_s=LEASE_S, holding=[held])
        except Refused:
            beat = None
        if beat is None or held["task_id"] in beat["stop_task_ids"]:
            return stop.set()


def report(lease, held, verb, what):
    """Reports how a task ended. A report that cannot be sent or is refused becomes a failure with the reason."""
    try:
        return call(verb, lease_id=lease, **held, **what)
    except Exception as error:  # Also a result that is no JSON, or has a text that is no Unicode.
        reason = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
    print(f"{held['task_id']}: {reason}", file=sys.stderr)
    what = {"error": {"code": "report_refused", "message": reason[:2000]}, "retryable": False}
    try:
        call("fail", lease_id=lease, **held, **what)
    except Refused as error:
        print(f"{held['task_id']}: {error}", file=sys.stderr)


def work(task, stop):  # Yours. Send task["idempotency_key"] along with whatever must happen once.
    if stop.wait(task["payload"].get("seconds", 0)):
        return "fail", {"outcome": "cancelled"}
    return "complete", {"result": {"words": len(task["payload"]["text"].split())}}


def main():
    lease, name = None, f"{socket.gethostname()}-{os.getpid()}"
    while True:
        # `holding` is what this worker has claimed and not reported: nothing, when it asks for the next task.
        asked = {"worker": name, "queues": sys.argv[1:] or ["default"], "wait_s": 20, "lease_s": LEASE_S}
        claimed = call("claim", lease_id=lease, holding=[], **asked)
        lease = claimed and claimed["lease_id"]
        for task in claimed["tasks"] if claimed else []:
            held = {"task_id": task["task_id"], "attempt": task["attempt"]}
            stop, done = threading.Event(), threading.Event()
            threading.Thread(target=keep_alive, args=(lease, held, stop, done), daemon=True).start()
            try:
                verb, what = work(task, stop)
            except Exception as error:
                verb, what = "fail", {"error": {"code": type(error).__name__[:64], "message": str(error)}}
            report(lease, held, verb, what)
            done.set()


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        sys.exit(str(error))
