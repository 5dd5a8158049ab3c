#!/usr/bin/python3
"""Takes servers out of HAProxy and puts them back, through the HTTP API of the agent beside it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: drover_haproxy
short_description: Drain servers of an HAProxy backend and return them
description:
    - In a job of Drover it asks Drover, which follows the job, and waits for the answer. Drover drains and returns by
      its own rule, with evidence; this module has none. The mailbox is the folder in the environment variable
      DROVER_MAILBOX, which only the owner of the job can enter, and only servers of the job are accepted.
    - Without Drover (C(ansible-playbook) by hand) it talks to the agent at I(api_url). Every state is read back, but
      sessions are not looked at. A drain lasts I(drain_delay) and counts as C(by timer, not proven).
options:
    action:
        description:
            - C(drain) refuses when too few servers outside the batch take traffic, drains, and waits until nobody uses the
              servers or I(drain_delay) is over.
            - C(verify) waits until HAProxy's health checks of the drained servers have passed for I(settle) seconds.
            - C(return) sets the servers ready and waits until HAProxy sends them traffic.
            - C(restore) is C(verify) and C(return) after a failure; it never fails, and says what stays drained and why.
        required: true
        choices: [drain, verify, return, restore]
    instances: {description: "Dictionaries with composite, haproxy (and what `drain` found).", required: true}
    skipped: {description: Instances of later batches that are left alone., default: []}
    updated: {description: What the update said about each instance (action=restore)., default: []}
    api_url: {description: "http://agent:port/api/v1/haproxy/instance; empty means there is no HAProxy."}
    backend: {description: The backend.}
    token_file: {description: File on the control host whose first line is the agent's bearer token.}
    drain_delay: {description: Seconds a drain may last., default: 300}
    min_ready: {description: "Servers outside the batch that must take traffic; default: what Drover is set to, else 1."}
    settle: {description: Seconds for which the checks must have passed., default: 2}
    health_timeout: {description: Seconds to wait for passed checks., default: 120}
    ready_timeout: {description: Seconds to wait until HAProxy sends traffic., default: 30}
"""

import json
import os
import re
import time
from urllib.error import HTTPError
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.urls import open_url

ANSWER_BYTES_MAX = 4 * 1024 * 1024
CALL_SECONDS_MAX = 10
CALL_TRIES = 3
SAMPLE_SECONDS = 0.25
# How long Drover may be away, besides the time the step itself takes: it is restarted, or another node takes over.
DROVER_AWAY_SECONDS_MAX = 600
REQUESTS_MAX = 1000
CONFIRM_SECONDS_MAX = 5
# After a failed update a server is not waited for as long: what is broken is left drained.
RESTORE_HEALTH_SECONDS_MAX = 15
MASK_MAINT = 0x23
MASK_DRAIN = 0x18
PASSED = ("L4OK", "L6OK", "L7OK", "PROCOK")


class Failure(Exception):
    pass


class Drover(object):
    """Drover, which follows the job of this play."""

    def __init__(self, mailbox):
        self.mailbox = mailbox

    def ask(self, action, instances, options, seconds):
        """What became of each instance, by composite name, and why the step failed, or None."""
        number = self._post(json.dumps({
            "action": action,
            "targets": [one["composite"] for one in instances],
            "drain_delay": options["drain_delay"],
            "min_ready": options["min_ready"],
            "settle": options["settle"],
            "health_timeout": options["health_timeout"],
            "ready_timeout": options["ready_timeout"],
        }))
        path = os.path.join(self.mailbox, "%d.answer.json" % number)
        end = time.monotonic() + seconds + DROVER_AWAY_SECONDS_MAX
        while not os.path.exists(path):
            if time.monotonic() >= end:
                raise Failure("Drover did not answer the request to %s within %d s; what it did is unknown"
                              % (action, seconds + DROVER_AWAY_SECONDS_MAX))
            time.sleep(0.1)
        with open(path) as file:
            answer = json.load(file)
        return answer["targets"], answer["error"]

    def _post(self, text):
        draft = os.path.join(self.mailbox, "draft-%d" % os.getpid())
        with open(draft, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            for number in range(1, REQUESTS_MAX):
                try:
                    os.link(draft, os.path.join(self.mailbox, "%d.request.json" % number))
                    return number
                except FileExistsError:
                    continue
        finally:
            os.remove(draft)
        raise Failure("the play has asked Drover %d times; more is not possible" % REQUESTS_MAX)


def drain_by_drover(drover, instances, options):
    told, error = drover.ask("drain", instances, options, options["drain_delay"])
    for one in instances:
        said = told.get(one["composite"], {"state": "untouched", "detail": None})
        # From here on a failure must name what was touched, so that it is put back.
        one["touched"] = said["state"] not in ("untouched", "kept")
        one["kept"] = said["state"] == "kept"
        one["evidence"] = said["detail"]
    if error:
        raise Failure(error)
    return [report(one, "drained", one["evidence"]) for one in instances]


def verify_by_drover(drover, held, options):
    if not held:
        return []
    told, error = drover.ask("verify", held, options, options["health_timeout"] + options["settle"])
    if error:
        raise Failure(error)
    return [report(one, "returning", told[one["composite"]]["detail"]) for one in held]


def return_by_drover(drover, instances, held, options):
    if held:
        _, error = drover.ask("return", held, options, options["ready_timeout"] * len(held))
        if error:
            raise Failure(error)
    return done_reports(instances, options)


def restore_by_drover(drover, instances, options):
    touched = [one for one in instances if one.get("touched")]
    told, error = {}, None
    if touched:
        try:
            told, error = drover.ask("restore", touched, options, options["settle"] + RESTORE_HEALTH_SECONDS_MAX
                                     + options["ready_timeout"] * len(touched))
        except Failure as failure:
            error = str(failure)

    def outcome(one):
        if not one.get("touched"):
            return None, None
        said = told.get(one["composite"])
        if said is None:
            return error or "Drover says nothing about it", "unknown"
        if said["state"] == "serving":
            return None, None
        return said["detail"], "left_drained" if said["state"] in ("drained", "healthy", "left_drained") else "failed"

    return restored(instances, options["updated"], outcome)


class Agent(object):
    """The agent's HAProxy controller, for one backend."""

    def __init__(self, api_url, backend, token_file):
        self.url = "%s/backends/%s/servers" % (api_url.rstrip("/"), quote(backend, safe=""))
        self.backend = backend
        self.headers = {"Content-Type": "application/json"}
        if token_file:
            with open(token_file) as file:
                self.headers["Authorization"] = "Bearer " + file.readline().strip()

    def servers(self):
        data = self._call("GET", self.url)
        servers = data.get("servers") if isinstance(data, dict) else None
        if not isinstance(servers, list):
            raise Failure("the agent's list of servers of backend `%s` is unreadable" % self.backend)
        if not servers:
            raise Failure("HAProxy has no backend `%s`, or no server in it" % self.backend)
        return {one.get("name"): Server(one) for one in servers if isinstance(one, dict)}

    def set_state(self, name, state):
        self._call("POST", "%s/%s/action" % (self.url, quote(name, safe="")), json.dumps({"action": state}))

    def _call(self, method, url, body=None):
        """Repeats what is safe to repeat; setting a state twice is."""
        for left in range(CALL_TRIES - 1, -1, -1):
            try:
                return self._call_once(method, url, body)
            except TryAgain as trouble:
                if not left:
                    raise Failure("the agent does not answer %s: %s" % (url, trouble))
                time.sleep(1)

    def _call_once(self, method, url, body):
        try:
            answer = open_url(url, method=method, data=body, headers=self.headers, timeout=CALL_SECONDS_MAX,
                              follow_redirects="none", use_proxy=False)
            code = answer.getcode()
        except HTTPError as refused:
            answer, code = refused, refused.code
        except Exception as trouble:
            raise TryAgain(str(trouble))
        try:
            text = to_text(answer.read(ANSWER_BYTES_MAX + 1), errors="replace")
        except Exception as trouble:
            raise TryAgain(str(trouble))
        try:
            parsed = json.loads(text) if len(text) <= ANSWER_BYTES_MAX else None
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise Failure("the agent answered %s with something that is no JSON object (HTTP %s)" % (url, code))
        if code >= 500:
            raise TryAgain("HTTP %s: %s" % (code, parsed.get("error")))
        if code not in (200, 201) or parsed.get("success") is False or "error" in parsed:
            raise Failure("the agent refused %s %s: %s" % (method, url, parsed.get("error") or "HTTP %s" % code))
        return parsed.get("data")


class TryAgain(Exception):
    pass


class Server(object):
    """One server as HAProxy shows it; every value of the agent is a text."""

    def __init__(self, told):
        self.status = str(told.get("status", ""))
        # An asterisk marks a check that is under way; what follows is the result before it.
        self.check = str(told.get("check_status") or "").lstrip("* ")
        self.weight = str(told.get("weight", ""))
        self.admin = number(told.get("admin_state"))
        self.result = number(told.get("check_result"))
        self.health = number(told.get("check_health"))
        self.rise = number(told.get("check_rise"))
        self.fall = number(told.get("check_fall"))

    @property
    def in_maint(self):
        return bool(self.admin & MASK_MAINT) if self.admin is not None else self.status.startswith("MAINT")

    @property
    def is_drained(self):
        """A server that is down never shows the word DRAIN: then the bits decide, and without
        them there is nobody to take its traffic from."""
        if self.admin is not None:
            return bool(self.admin & (MASK_DRAIN | MASK_MAINT))
        return self.status.startswith(("DRAIN", "MAINT", "DOWN"))

    @property
    def takes_traffic(self):
        if self.admin is not None and self.admin & (MASK_DRAIN | MASK_MAINT):
            return False
        return (self.status == "no check" or re.match(r"UP\b", self.status) is not None) and self.weight != "0"

    @property
    def is_up(self):
        """Wholly up: `UP 1/3` is a server whose last check failed."""
        return self.takes_traffic and self.status in ("UP", "no check")

    @property
    def is_healthy(self):
        """Whether the checks say that it could take traffic; without checks nobody knows better."""
        if not self.is_checked:
            return True
        if self.status not in ("DRAIN", "UP") or (self.check and self.check not in PASSED):
            return False
        if self.result is not None and self.result not in (3, 4):
            return False
        if None in (self.health, self.rise, self.fall):
            return True
        return self.health >= self.rise + self.fall - 1

    @property
    def is_checked(self):
        return self.status != "no check" and bool(self.check or self.status.startswith(("UP", "DOWN")))

    def __str__(self):
        return "%s%s" % (self.status or "no status", ", check " + self.check if self.check else "")


def number(text):
    try:
        return int(text)
    except (TypeError, ValueError):
        return None


def drain(agent, instances, options):
    servers = agent.servers()
    names = [one["haproxy"] for one in instances]
    for name in names:
        if name not in servers:
            raise Failure("HAProxy backend `%s` has no server `%s`" % (agent.backend, name))
    serving = [name for name in servers if name not in names and servers[name].takes_traffic]
    min_ready = 1 if options["min_ready"] is None else options["min_ready"]
    if len(serving) < min_ready:
        raise Failure("refused to drain %s: outside the batch only %d server(s) of backend `%s` take traffic, and %d must stay"
                      % (", ".join(names), len(serving), agent.backend, min_ready))
    for one in instances:
        one["was"] = "maint" if servers[one["haproxy"]].in_maint else "serving"
    watched = [one["haproxy"] for one in instances if one["was"] != "maint"]
    # From here on a failure must name what was touched, so that it is put back.
    for one in instances:
        one["touched"] = one["was"] != "maint"
    for name in watched:
        agent.set_state(name, "drain")
    confirm(agent, watched, lambda server: server.is_drained, CONFIRM_SECONDS_MAX,
            "was told to drain, but HAProxy shows it as")
    wait_by_timer(agent, watched, options["drain_delay"])
    said = "by timer, not proven: %d s are over" % options["drain_delay"]
    for one in instances:
        one["evidence"] = said if one["touched"] else "in maintenance before the update, left so"


def wait_by_timer(agent, names, seconds):
    """Lets the drain last; what a reload of HAProxy forgets is said again."""
    end = time.time() + seconds
    while names:
        servers = agent.servers()
        for name in names:
            if not known(servers, name, agent.backend).is_drained:
                agent.set_state(name, "drain")
        if time.time() >= end:
            return
        time.sleep(min(1.0, max(0.0, end - time.time())))


def wait_until_healthy(agent, names, settle, seconds):
    """Servers whose checks did not pass in time, by name with the reason. What is drained stays drained."""
    end = time.time() + seconds
    since = {}
    while True:
        servers = agent.servers()
        now = time.time()
        waiting = {}
        for name in names:
            server = known(servers, name, agent.backend)
            if not server.is_drained:
                agent.set_state(name, "drain")
                since.pop(name, None)
                waiting[name] = "HAProxy forgot that it is drained"
            elif not server.is_checked:
                continue
            elif not server.is_healthy:
                since.pop(name, None)
                waiting[name] = "HAProxy says %s" % server
            elif now - since.setdefault(name, now) < settle:
                waiting[name] = "its checks have passed only for %d s" % (now - since[name])
        if not waiting:
            return {}
        # A server that is just settling gets its seconds.
        if now >= end + (settle if set(waiting) <= set(since) else 0):
            return waiting
        time.sleep(SAMPLE_SECONDS)


def set_ready(agent, names, seconds):
    for name in names:
        agent.set_state(name, "ready")
    confirm(agent, names, lambda server: server.is_up, seconds, "was set ready, but HAProxy shows it as")


def confirm(agent, names, holds, seconds, complaint):
    end = time.time() + seconds
    while True:
        servers = agent.servers()
        wrong = [name for name in names if not holds(known(servers, name, agent.backend))]
        if not wrong:
            return
        if time.time() >= end:
            raise Failure("`%s` %s %s" % (wrong[0], complaint, servers[wrong[0]]))
        time.sleep(SAMPLE_SECONDS)


def known(servers, name, backend):
    if name not in servers:
        raise Failure("HAProxy backend `%s` no longer has a server `%s`" % (backend, name))
    return servers[name]


def report(one, outcome, detail):
    return {"composite": one["composite"], "outcome": outcome, "detail": detail}


def done_reports(instances, options):
    details = {one["composite"]: one.get("detail") for one in options["updated"]}
    return [report(one, "done", details.get(one["composite"]) if one.get("touched")
                   else "it stays out of use, as it was before") for one in instances]


def restore(agent, instances, updated, options):
    """Puts back what is healthy; one server's trouble does not keep another one drained."""
    said = {one["composite"]: one.get("state", "untouched") for one in updated}

    def outcome(one):
        if not agent or not one.get("touched"):
            return None, None
        trouble, drained = put_back(agent, one, said.get(one["composite"], "untouched"), options)
        return trouble, "left_drained" if drained else "failed"

    return restored(instances, updated, outcome)


def restored(instances, updated, outcome):
    said = {one["composite"]: one for one in updated}
    reports = []
    for one in instances:
        update = said.get(one["composite"], {})
        state, detail = update.get("state", "untouched"), update.get("detail")
        trouble, became = outcome(one)
        if trouble:
            reports.append(report(one, became, "; ".join(text for text in (detail, trouble) if text)))
        elif state == "failed":
            reports.append(report(one, "failed", detail))
        elif state == "updated":
            reports.append(report(one, "done", detail))
        else:
            reports.append(report(one, "skipped", "left alone after the failure"))
    return reports


def put_back(agent, one, state, options):
    """Why the server does not take traffic, or None; and whether that is because it is drained."""
    name = one["haproxy"]
    drained = True
    try:
        server = known(agent.servers(), name, agent.backend)
        if server.is_up:
            return None, False
        if server.is_drained:
            settle = 0 if state == "untouched" else options["settle"]
            patience = min(options["health_timeout"], RESTORE_HEALTH_SECONDS_MAX)
            unhealthy = wait_until_healthy(agent, [name], settle, patience)
            if unhealthy:
                return "it stays drained: %s" % unhealthy[name], True
        agent.set_state(name, "ready")
        drained = False
        confirm(agent, [name], lambda server: server.is_up, options["ready_timeout"], "was set ready, but HAProxy shows it as")
        return None, False
    except Failure as failure:
        return str(failure), drained


def main():
    module = AnsibleModule(argument_spec={
        "action": {"required": True, "choices": ["drain", "verify", "return", "restore"]},
        "instances": {"type": "list", "elements": "dict", "required": True},
        "skipped": {"type": "list", "elements": "dict", "default": []},
        "updated": {"type": "list", "elements": "dict", "default": []},
        "api_url": {"default": ""},
        "backend": {"default": ""},
        "token_file": {"type": "path", "no_log": False},
        "drain_delay": {"type": "int", "default": 300},
        "min_ready": {"type": "int"},
        "settle": {"type": "float", "default": 2},
        "health_timeout": {"type": "int", "default": 120},
        "ready_timeout": {"type": "int", "default": 30},
    })
    options = module.params
    action, instances = options["action"], options["instances"]
    mailbox = os.environ.get("DROVER_MAILBOX")
    behind = bool(options["api_url"])
    drover = Drover(mailbox) if behind and mailbox else None
    try:
        agent = Agent(options["api_url"], options["backend"], options["token_file"]) if behind and not drover else None
        held = [one for one in instances if one.get("touched")]
        names = [one["haproxy"] for one in held]
        if action == "drain":
            for one in instances:
                one["touched"] = False
        if action == "restore":
            reports = (restore_by_drover(drover, instances, options) if drover
                       else restore(agent, instances, options["updated"], options))
            reports += [report(one, "skipped", "the batch before it failed") for one in options["skipped"]]
        elif drover and action == "drain":
            reports = drain_by_drover(drover, instances, options)
        elif drover and action == "verify":
            reports = verify_by_drover(drover, held, options)
        elif drover:
            reports = return_by_drover(drover, instances, held, options)
        elif action == "drain":
            drain(agent, instances, options)
            reports = [report(one, "drained", one["evidence"]) for one in instances]
        elif action == "verify":
            unhealthy = wait_until_healthy(agent, names, options["settle"], options["health_timeout"])
            if unhealthy:
                raise Failure("; ".join("`%s` is not healthy after the update: %s" % pair
                                        for pair in sorted(unhealthy.items())))
            reports = [report(one, "returning", "its checks pass") for one in held]
        else:
            set_ready(agent, names, options["ready_timeout"])
            reports = done_reports(instances, options)
    except (Failure, IOError) as failure:
        module.fail_json(msg=str(failure), instances=instances)
    module.exit_json(changed=action != "verify", instances=instances, drover_report=reports)


if __name__ == "__main__":
    main()
