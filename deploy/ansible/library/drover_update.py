#!/usr/bin/python3
"""Runs the update playbook for the instances of a batch, one server after the other."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: drover_update
short_description: Run an update playbook once per server of a batch
description:
    - Runs C(ansible-playbook) with the variables of this play plus C(server), C(app) and C(app_instances) of the server,
      and stops at the first server that fails; the servers after it are not touched.
    - The variables go through files, literally; nothing of them is in an argument list.
    - An instance counts as updated when the run succeeds and its counts show work on the server, at least one task that was
      done and none that found the server unreachable. A playbook that reports each instance (C(drover_report) with C(ok) in
      a result) is asked for each one; else the run counts for all of its instances. In a job of Drover the agents have the
      last word.
options:
    playbook: {description: "The update playbook, relative to I(folder).", required: true}
    folder: {description: The folder of the playbooks., required: true}
    instances: {description: "Dictionaries with composite, server and app.", required: true}
    variables: {description: What every run is given besides., default: {}}
    then: {description: What an updated instance is reported as., default: verifying}
"""

import json
import os
import shutil
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule

OUTPUT_BYTES_MAX = 64 * 1024
EVENTS_BYTES_MAX = 64 * 1024 * 1024
REASON_CHARACTERS_MAX = 1500


def by_server(instances):
    """The instances of each server, servers in the order of their first instance."""
    found = []
    for one in instances:
        for server, members in found:
            if server == one["server"]:
                members.append(one)
                break
        else:
            found.append((one["server"], [one]))
    return found


def literally(value):
    """Tagged so that Ansible never takes a text for a template."""
    if isinstance(value, dict):
        return {key: literally(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [literally(inner) for inner in value]
    return {"__ansible_unsafe": value} if isinstance(value, str) else value


class Run(object):
    """One run of the update playbook, for one server."""

    def __init__(self, module, playbook, server, members):
        self.module, self.playbook, self.server, self.members = module, playbook, server, members
        self.events = os.environ.get("DROVER_EVENTS_FILE")

    def results(self):
        folder = tempfile.mkdtemp(prefix="drover-update-")
        try:
            offset = os.path.getsize(self.events) if self.events else 0
            code, output = self.play(folder)
            told = self.read_events(offset)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self.judge(code, output, told)

    def play(self, folder):
        variables = dict(
            self.module.params["variables"], server=self.server, app=",".join(one["app"] for one in self.members),
            app_instances=",".join(one["composite"] for one in self.members))
        own = os.path.join(folder, "vars.json")
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(literally(variables), file)
        argv = [os.environ.get("DROVER_ANSIBLE_PLAYBOOK", "ansible-playbook")]
        given = os.environ.get("DROVER_VARS_FILE")
        if given and os.path.exists(given):
            argv += ["-e", "@" + given]
        argv += ["-e", "@" + own, "--", self.playbook]
        start = [{"composite": one["composite"], "outcome": "updating", "detail": None} for one in self.members]
        environment = dict(os.environ, DROVER_START_REPORTS=json.dumps(start))
        path = os.path.join(folder, "output")
        with open(path, "wb") as output:
            code = subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   cwd=os.path.dirname(self.playbook), env=environment)
        with open(path, "rb") as output:
            output.seek(max(0, os.path.getsize(path) - OUTPUT_BYTES_MAX))
            return code, output.read().decode("utf-8", "replace").strip()

    def read_events(self, offset):
        """What the run itself said, in order."""
        if not self.events:
            return []
        told = []
        with open(self.events, "rb") as file:
            file.seek(offset)
            for line in file.read(EVENTS_BYTES_MAX).splitlines():
                try:
                    told.append(json.loads(line.decode("utf-8")))
                except ValueError:
                    continue
        return told

    def judge(self, code, output, told):
        reported = {}
        for event in told:
            report = event.get("report") or {}
            if "ok" in report:
                reported[report["composite"]] = report
        reason = None
        if code != 0:
            reasons = [event.get("message") for event in told if event["kind"] in ("failed", "unreachable")]
            reason = next((text for text in reasons if text), None) or output or "ansible-playbook ended with %d" % code
            reason = reason[-REASON_CHARACTERS_MAX:] if reason is output else reason[:REASON_CHARACTERS_MAX]
        else:
            reason = self.idleness(told)
        results = []
        for one in self.members:
            report = reported.get(one["composite"])
            if report:
                failed, detail = not report["ok"], report.get("detail")
            else:
                failed, detail = reason is not None, reason
            results.append({"composite": one["composite"], "state": "failed" if failed else "updated", "detail": detail})
        if code == 0 and all(one["state"] == "updated" for one in results):
            # A play that reports from another host is not idle; the agents show what came of it.
            reason = None
        elif reason and all(one["state"] == "updated" for one in results):
            # The run failed after its last report: whatever that was, it is not a success.
            results = [dict(one, state="failed", detail=reason) for one in results]
        return results, reason


    def idleness(self, told):
        """Why a run with exit code 0 did no work on the server, or None: such a run may be for other hosts, or for none."""
        stats = [event["stats"] for event in told if event.get("stats")]
        if not self.events or (not stats and any(event["kind"] == "truncated" for event in told)):
            return None
        counts = [host for hosts in stats for host in hosts if host["host"] == self.server]
        if not stats and any(event["kind"] == "no_hosts" for event in told):
            return "no play of the update playbook has `%s` in its `hosts:`, or the inventory lacks it" % self.server
        # Ansible counts what failed and was ignored as ok too.
        if any(host["ok"] > host["ignored"] and not host["unreachable"] for host in counts):
            return None
        if any(event["kind"] == "unreachable" and event.get("host") == self.server for event in told):
            return "`%s` was unreachable, which the update playbook ignores" % self.server
        if any(host["ignored"] for host in counts):
            return "every task on `%s` failed, which the update playbook ignores" % self.server
        return "the update playbook did no task on `%s`" % self.server


def main():
    module = AnsibleModule(argument_spec={
        "playbook": {"required": True},
        "folder": {"type": "path", "required": True},
        "instances": {"type": "list", "elements": "dict", "required": True},
        "variables": {"type": "dict", "default": {}},
        "then": {"default": "verifying"},
    })
    options = module.params
    top = os.path.realpath(options["folder"])
    playbook = os.path.realpath(os.path.join(top, options["playbook"]))
    if os.path.isabs(options["playbook"]) or not playbook.startswith(top + os.sep) or not os.path.isfile(playbook):
        module.fail_json(msg="the update playbook `%s` is not in the playbook folder" % options["playbook"], updated=[])
    updated = []
    for server, members in by_server(options["instances"]):
        try:
            results, reason = Run(module, playbook, server, members).results()
        except Exception as trouble:
            reason = "the update playbook could not be run: %s" % trouble
            results = [{"composite": one["composite"], "state": "failed", "detail": reason} for one in members]
        updated += results
        failed = [one for one in results if one["state"] == "failed"]
        if failed or reason:
            module.fail_json(msg="the update of %s failed: %s" % (server, failed[0]["detail"] or reason), updated=updated)
    reports = [{"composite": one["composite"], "outcome": options["then"], "detail": one["detail"]} for one in updated]
    module.exit_json(changed=True, updated=updated, drover_report=reports)


if __name__ == "__main__":
    main()
