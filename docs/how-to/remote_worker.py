#!/usr/bin/env python3
"""Does tasks of the kind `remote`: DROVER_URL=… DROVER_API_KEY=… remote_worker.py [queue …]"""
import json, os, socket, sys, threading, time, urllib.error, urllib.request

LEASE_S = 10  # How long Drover waits for a sign of life before somebody else gets the task.


def call(verb, **body):
    headers = {"Authorization": "Bearer " + os.environ["DROVER_API_KEY"], "Content-Type": "application/json"}
    url = f"{os.environ['DROVER_URL']}/api/v1/workers/{verb}"
    while True:
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 409:  # The lease ran out: what it held belongs to others.
                return None
            if error.code < 500 and error.code not in (408, 429):
                sys.exit(f"{verb}: {error.code} {error.read().decode()}")
        except OSError as error:
            print(f"{verb}: {error}; trying again", file=sys.stderr)
        time.sleep(1)


def keep_alive(lease, task, stop, done):
    while not done.wait(LEASE_S / 3):
        beat = call("heartbeat", lease_id=lease, lease_s=LEASE_S)
        if beat is None or task["task_id"] in beat["stop_task_ids"]:
            return stop.set()


def work(task, stop):  # Yours. Send task["idempotency_key"] along with whatever must happen once.
    if stop.wait(task["payload"].get("seconds", 0)):
        return "fail", {"outcome": "cancelled"}
    return "complete", {"result": {"words": len(task["payload"]["text"].split())}}


lease, name = None, f"{socket.gethostname()}-{os.getpid()}"
while True:
    claimed = call("claim", worker=name, queues=sys.argv[1:] or ["default"], wait_s=20, lease_id=lease, lease_s=LEASE_S)
    lease = claimed and claimed["lease_id"]
    for task in claimed["tasks"] if claimed else []:
        stop, done = threading.Event(), threading.Event()
        threading.Thread(target=keep_alive, args=(lease, task, stop, done), daemon=True).start()
        try:
            verb, what = work(task, stop)
        except Exception as error:
            verb, what = "fail", {"error": {"code": type(error).__name__, "message": str(error)}}
        call(verb, lease_id=lease, task_id=task["task_id"], attempt=task["attempt"], **what)
        done.set()
