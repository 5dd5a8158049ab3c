"""Filters for the playbooks of Drover."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible.errors import AnsibleFilterError
from ansible.release import __version__

# Since 2.19 a text is a template only where it is marked as one. Before, every text is, unless it is wrapped.
if tuple(int(part) for part in re.findall(r"[0-9]+", __version__)[:2]) >= (2, 19):
    def wrap_var(value):
        return value
else:
    from ansible.utils.unsafe_proxy import wrap_var

SERVER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def drover_instances(app_instances):
    """`server::application[::haproxy server]` joined by commas, as a list in the same order."""
    found = []
    for composite in [part.strip() for part in str(app_instances).split(",") if part.strip()]:
        parts = [part.strip() for part in composite.split("::")]
        if len(parts) not in (2, 3) or not all(parts):
            raise AnsibleFilterError(
                "`%s` in app_instances is not of the form server::application or server::application::haproxy_server"
                % composite)
        server, app = parts[0], parts[1]
        if not SERVER_NAME.match(server) or server in ("all", "ungrouped"):
            raise AnsibleFilterError("`%s` in app_instances is not a name of one server" % server)
        haproxy = parts[2] if len(parts) == 3 else "%s_%s" % (server, app)
        found.append({"composite": composite, "server": server, "app": app, "haproxy": haproxy})
    if not found:
        raise AnsibleFilterError("app_instances names no instance")
    twice = sorted({one["composite"] for one in found if [two["composite"] for two in found].count(one["composite"]) > 1})
    if twice:
        raise AnsibleFilterError("`%s` is in app_instances more than once" % twice[0])
    # What came from a literal stays one: nobody evaluates a name that looks like a template.
    return wrap_var(found)


def drover_half(instances, half):
    """The instances with an even (`even`) or odd (`odd`) index."""
    return wrap_var(list(instances)[{"even": 0, "odd": 1}[half]::2])


def drover_reports(instances, outcome, detail=None):
    """What Drover reads as `the instances became outcome`."""
    return wrap_var([{"composite": one["composite"], "outcome": outcome, "detail": detail} for one in instances])


class FilterModule(object):
    def filters(self):
        return {"drover_instances": drover_instances, "drover_half": drover_half, "drover_reports": drover_reports}
