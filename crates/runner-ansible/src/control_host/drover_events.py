"""Tells what a play does as JSON lines, one write per event, so that several plays can share a file."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
    name: drover_events
    type: stdout
    short_description: JSON lines for Drover
    description:
        - Appends one JSON object per event to the file named by the environment variable DROVER_EVENTS_FILE.
        - Without that variable the events go to standard output.
"""

import json
import os
import re
import time

from ansible.plugins.callback import CallbackBase

EVENTS_MAX = int(os.environ.get("DROVER_EVENTS_MAX", "20000"))
# What a verdict needs is still told for a while when the rest is cut.
ESSENTIAL_EVENTS_MAX = EVENTS_MAX + 5000
ESSENTIAL = ("failed", "unreachable", "no_hosts", "stats")
NAME_MAX = 200
MESSAGE_MAX = 2000
COMPOSITE_MAX = 512
EVIDENCE_MAX = 1500
# The actions whose result is that of a command.
COMMANDS = ("command", "shell", "raw", "script", "expect")

SECRET_NAME = re.compile(r"passw|passphrase|token|secret|api[_-]?key|private[_-]?key|credential|authorization", re.I)
SECRET_PAIR = re.compile(
    r"(?i)([\w.-]*(?:passw(?:or)?d|passphrase|token|secret|api[_-]?key|private[_-]?key|authorization)[\w.-]*"
    r"[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic)\s+)?)([^\s\"',;&}]+)"
)
LONE_SURROGATE = re.compile(u"[\ud800-\udfff]")
# What ssh says when a session ends, and when it learns a host's key.
GOODBYE = re.compile(r"(Shared )?[Cc]onnection to \S+ closed( by remote host)?\.?\s*$|Warning: Permanently added ")
# What ansible-core from 2.19 on gives for an exception that it has no traceback of.
NO_TRACEBACK = "(traceback unavailable)"
URL_PASSWORD = re.compile(r"(://)[^/\s@]+:[^/\s@]*@")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "drover_events"

    def __init__(self, display=None):
        super(CallbackModule, self).__init__(display=display)
        path = os.environ.get("DROVER_EVENTS_FILE")
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600) if path else None
        self._counted = 0
        self._count = 0
        self._play = None
        self._task = None
        self._cut = False
        self._failed_items = set()
        self._secrets = secret_values()

    # ---- what Ansible calls ----

    def v2_playbook_on_start(self, playbook):
        self._tell("playbook_start", message=os.path.basename(playbook._file_name))
        for report in json.loads(os.environ.get("DROVER_START_REPORTS", "[]")):
            self._tell_report("ok", None, report)

    def v2_playbook_on_play_start(self, play):
        self._play, self._task = play.get_name(), None
        self._tell("play_start")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._task = task.get_name()
        self._tell("task_start")

    def v2_playbook_on_handler_task_start(self, task):
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_cleanup_task_start(self, task):
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result):
        self._tell_result("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if (result._host.get_name(), result._task._uuid) in self._failed_items:
            return
        self._tell_result("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result):
        self._tell_result("unreachable", result)

    def v2_runner_on_skipped(self, result):
        self._tell_result("skipped", result)

    def v2_runner_retry(self, result):
        # `retries` is the configured number plus one.
        told = result._result
        message = "try %s of %s failed" % (told.get("attempts", "?"), told.get("retries", 1) - 1)
        self._tell("retry", host=result._host.get_name(), message=message)

    def v2_runner_item_on_ok(self, result):
        self._tell_result("changed" if result._result.get("changed") else "ok", result, item=True)

    def v2_runner_item_on_failed(self, result):
        self._failed_items.add((result._host.get_name(), result._task._uuid))
        self._tell_result("ignored" if result._task_fields.get("ignore_errors") else "failed", result, item=True)

    def v2_runner_item_on_skipped(self, result):
        pass

    def v2_playbook_on_no_hosts_matched(self):
        self._tell("no_hosts", message="the play found no host")

    def v2_playbook_on_stats(self, stats):
        hosts = []
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            hosts.append({"host": cut(host, NAME_MAX), "ok": counts["ok"], "changed": counts["changed"],
                          "unreachable": counts["unreachable"], "failed": counts["failures"],
                          "skipped": counts["skipped"], "rescued": counts["rescued"], "ignored": counts["ignored"]})
        self._task = None
        self._tell("stats", stats=hosts)

    # ---- what is written ----

    def _tell_result(self, kind, result, item=False):
        told = result._result
        host = result._host.get_name()
        reports = reports_of(told)
        action = result._task.action
        message = failure_message(told, action) if kind in ("failed", "unreachable", "ignored") else plain_message(told, reports)
        if item:
            label = told.get("_ansible_item_label", told.get(told.get("ansible_loop_var", "item"), ""))
            message = "%s: %s" % (as_text(label), message) if message else as_text(label)
        elif kind == "skipped":
            message = as_text(told.get("skip_reason", ""))
        self._tell(kind, host=host, message=message)
        for report in reports:
            self._tell_report("ok", host, report)

    def _tell_report(self, kind, host, report):
        if not isinstance(report, dict) or "composite" not in report or "outcome" not in report:
            return
        kept = {"composite": as_text(report["composite"])[:COMPOSITE_MAX], "outcome": as_text(report["outcome"])[:32],
                "detail": self._clean(as_text(report.get("detail") or "")) or None}
        if "ok" in report:
            kept["ok"] = bool(report["ok"])
        self._tell(kind, host=host, message=kept["detail"], report=kept)

    def _tell(self, kind, host=None, message=None, **more):
        essential = kind in ESSENTIAL or "report" in more
        self._count_lines()
        if self._count >= (ESSENTIAL_EVENTS_MAX if essential else EVENTS_MAX):
            return
        event = {
            "at": int(time.time() * 1000000),
            "kind": kind,
            "play": self._name(self._play),
            "task": self._name(self._task),
            "host": self._name(host),
            "message": self._clean(message) if message else None,
        }
        event.update(more)
        self._write(event)
        if self._count >= EVENTS_MAX and not self._cut:
            self._cut = True
            self._write(dict(event, kind="truncated", host=None, report=None, stats=[],
                             message="only failures and reports are told from here on: %d events" % EVENTS_MAX))

    def _write(self, event):
        # Bytes of others that are no UTF-8 are lone surrogates here, and no JSON to most readers.
        line = LONE_SURROGATE.sub(u"\ufffd", json.dumps(event, ensure_ascii=False) + "\n").encode("utf-8")
        # Unbuffered and at once: a killed play leaves whole lines, and two plays do not mix theirs.
        os.write(1 if self._file is None else self._file, line)
        if self._file is None:
            self._count += 1
        else:
            self._count_lines()

    def _count_lines(self):
        """Counts what others appended too: a play started by a play shares the file and the bound."""
        if self._file is None:
            return
        size = os.fstat(self._file).st_size
        while self._counted < size:
            read = os.pread(self._file, min(size - self._counted, 1 << 20), self._counted)
            if not read:
                return
            self._count += read.count(b"\n")
            self._counted += len(read)

    def _name(self, name):
        return self._clean(as_text(name))[:NAME_MAX] if name else None

    def _clean(self, text):
        text = " ".join(as_text(text)[: 4 * MESSAGE_MAX].split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = URL_PASSWORD.sub(r"\1***@", text)
        return cut(SECRET_PAIR.sub(r"\1***", text), MESSAGE_MAX)


def cut(text, most):
    return text if len(text) <= most else text[: most - 1] + u"\u2026"


def secret_values():
    """The values of variables that by their name are secret, longest first."""
    try:
        with open(os.environ["DROVER_VARS_FILE"]) as file:
            variables = json.load(file)
    except (KeyError, IOError, OSError, ValueError):
        return []
    found = set()
    for name, value in variables.items():
        if isinstance(value, dict):
            value = value.get("__ansible_unsafe")
        if SECRET_NAME.search(name) and not name.endswith("_file") and len(as_text(value)) >= 4:
            found.add(" ".join(as_text(value).split()))
    return sorted(found, key=len, reverse=True)


def without_secrets(value):
    """What is worth showing of a structured value."""
    if isinstance(value, dict):
        return {str(key): "***" if SECRET_NAME.search(str(key)) else without_secrets(inner)
                for key, inner in value.items()
                if not str(key).endswith("_lines") and key not in ("invocation", "drover_report")}
    if isinstance(value, (list, tuple)):
        return [without_secrets(inner) for inner in value[:100]]
    return value


def as_text(value):
    if value is None:
        return u""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    try:
        return json.dumps(without_secrets(value), default=str, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def reports_of(told):
    message = told.get("msg")
    found = told.get("drover_report") or (message.get("drover_report") if isinstance(message, dict) else None) or []
    return found if isinstance(found, list) else [found]


def items_of(told):
    """The results of a loop; a module may have `results` of its own, which are none."""
    found = told.get("results")
    items = found if isinstance(found, (list, tuple)) else []
    return [item for item in items if isinstance(item, dict) and "ansible_loop_var" in item]


def plain_message(told, reports):
    message = told.get("msg")
    if (isinstance(message, dict) and reports) or items_of(told) or "censored" in told:
        return ""
    return as_text(message)


def failure_message(told, action=""):
    """Why a task failed, by the fields of its result: Ansible's own sentences differ from version to version."""
    if told.get("censored"):
        return as_text(told["censored"])
    failed_items = [item for item in items_of(told) if item.get("failed") or "exception" in item]
    if failed_items:
        return "; ".join(failure_message(item, action) for item in failed_items[:5])
    message = as_text(told.get("msg")).strip()
    output = first_text(told, "stderr", "stdout")
    code = told.get("rc")
    is_code = isinstance(code, int) and not isinstance(code, bool) and code != 0
    if "module_stderr" in told or "module_stdout" in told:
        return module_failure(told, action, message, code)
    if is_code and action.rpartition(".")[2] in COMMANDS:
        if "cmd" in told and "delta" not in told:
            return "cannot execute `%s`: %s" % (program_of(told["cmd"]), os.strerror(code))
        return "non-zero return code: %s" % output[-EVIDENCE_MAX:] if output else "non-zero return code (exit code %d)" % code
    if told.get("failed_when_result") and output:
        return output[-EVIDENCE_MAX:]
    if told.get("assertion") is not None and told.get("evaluated_to") is not None:
        return "%s: %s" % (message or "Assertion failed", as_text(told["assertion"]))
    if is_code and output and output not in message:
        return "%s: %s" % (message, output[-EVIDENCE_MAX:]) if message else output[-EVIDENCE_MAX:]
    raised = last_line(as_text(told.get("exception")))
    if raised == NO_TRACEBACK:
        raised = ""
    if not (message or output or raised) and told.get("failed_when_result"):
        return "the task's `failed_when` is true"
    return message or output or raised or "no reason was given"


def module_failure(told, action, message, code):
    """Why a module has no result: it crashed, or Ansible refuses its answer, which may have the reason."""
    try:
        inner = json.loads(as_text(told.get("module_stdout")))
    except ValueError:
        inner = None
    if isinstance(inner, dict) and inner.get("failed"):
        return failure_message(inner, action)
    output = next((text for text in map(without_goodbye, (first_text(told, "module_stderr"), first_text(told, "module_stdout")))
                   if text), "")
    # Of a traceback only the last line says what happened.
    is_traceback = output.startswith("Traceback ") or as_text(told.get("exception")).strip() == output
    output = last_line(output) if is_traceback else output[-EVIDENCE_MAX:]
    return "the module failed with exit code %s: %s" % (as_text(code) or "?", output or message or "it said nothing")


def first_text(told, *keys):
    return next((text for text in (as_text(told.get(key)).strip() for key in keys) if text), "")


def without_goodbye(text):
    """The text without the lines that ssh adds to what a module wrote. With a terminal the module's own lines are in stdout."""
    return "\n".join(line for line in text.splitlines() if not GOODBYE.match(line)).strip()


def last_line(text):
    return text.strip().rpartition("\n")[2].strip()


def program_of(command):
    parts = command.split() if isinstance(command, str) else [as_text(part) for part in command or []]
    return parts[0] if parts else "?"
