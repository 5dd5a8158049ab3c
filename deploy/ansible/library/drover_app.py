#!/usr/bin/python3
"""Puts an artifact under applications that are plain folders, and restarts them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: drover_app
short_description: Update applications that are folders with releases
description:
    - "An application is described in I(apps_dir)/NAME.yml, the file that drover-agent reads; paths in it are relative to
      I(apps_dir). Used here: path (the folder of the application), version_file, distr_path_file, pid_file, health_url,
      restart_argv (run in the folder of the application)."
    - "Per application: download to PATH/releases/FILE, compare with the SHA-256 in URL.sha256, point
      PATH/current at it, write the version, restart, wait for the application to be well."
    - A restart is restart_argv, or TERM to the process of pid_file when something restarts it.
    - Every application is tried; the task fails when one of them does.
options:
    apps_dir: {description: The folder of the descriptions; apps_dir of drover-agent., default: /etc/drover-agent/apps}
    apps: {description: Names joined by commas., required: true}
    url: {description: "Where the artifact is, http or https.", required: true}
    server: {description: "The server's name, told to the artifact server.", required: true}
    app_instances: {description: "Composite names of the applications, in the same order, for the reports.", default: ""}
    mode: {description: C(deliver) only downloads., choices: [update, deliver], default: update}
    version: {description: "The version; default: the first number with dots in the file name, else the file name."}
    checksum: {description: "Whether URL.sha256 must exist.", choices: [required, if_present], default: if_present}
    download_timeout: {description: Seconds for one download., default: 600}
    stop_timeout: {description: Seconds for the old process to go., default: 60}
    start_timeout: {description: Seconds for the new process to be well., default: 120}
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.urls import open_url

try:
    import yaml
except ImportError:
    yaml = None

ARTIFACT_BYTES_MAX = 8 * 1024 * 1024 * 1024
ANSWER_BYTES_MAX = 64 * 1024
VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)+(?:-(?:SNAPSHOT|rc[0-9]+))?")


class Failure(Exception):
    pass


class Artifact(object):
    def __init__(self, options):
        self.url = options["url"]
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Failure("`%s` is not an http or https address" % self.url)
        self.file = parts.path.rpartition("/")[2]
        if not self.file or self.file.startswith(".") or "\0" in self.file or len(self.file) > 200:
            raise Failure("the path of `%s` does not end in a usable file name" % self.url)
        self.checksum_url = urlunsplit(parts._replace(path=parts.path + ".sha256"))
        found = VERSION.search(self.file)
        self.version = options["version"] or (found.group(0) if found else self.file)
        self.must_have_checksum = options["checksum"] == "required"
        self.timeout = options["download_timeout"]

    def expected(self, headers):
        """The SHA-256 that the artifact must have, or None if nobody publishes one."""
        try:
            answer = open_url(self.checksum_url, headers=headers, timeout=30)
            text = to_text(answer.read(ANSWER_BYTES_MAX), errors="replace").split()
        except HTTPError as refused:
            if refused.code in (404, 410) and not self.must_have_checksum:
                return None
            raise Failure("cannot read the checksum %s: HTTP %s" % (self.checksum_url, refused.code))
        except Exception as trouble:
            raise Failure("cannot read the checksum %s: %s" % (self.checksum_url, trouble))
        if not text or not re.match(r"[0-9a-fA-F]{64}\Z", text[0]):
            raise Failure("%s is not a SHA-256 checksum" % self.checksum_url)
        return text[0].lower()

    def download(self, target, headers):
        expected = self.expected(headers)
        draft = "%s.part-%d" % (target, os.getpid())
        digest, size = hashlib.sha256(), 0
        end = time.time() + self.timeout
        try:
            try:
                answer = open_url(self.url, headers=headers, timeout=30)
                with open(draft, "wb") as file:
                    while True:
                        chunk = answer.read(1 << 20)
                        if not chunk:
                            break
                        size += len(chunk)
                        if size > ARTIFACT_BYTES_MAX or time.time() > end:
                            raise Failure("the download of %s is too large or takes longer than %d s" % (self.url, self.timeout))
                        digest.update(chunk)
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            except HTTPError as refused:
                raise Failure("cannot download %s: HTTP %s" % (self.url, refused.code))
            except Failure:
                raise
            except Exception as trouble:
                raise Failure("cannot download %s: %s" % (self.url, trouble))
            if expected and digest.hexdigest() != expected:
                raise Failure("the checksum of %s does not match: expected %s, got %s"
                              % (self.url, expected, digest.hexdigest()))
            os.rename(draft, target)
        finally:
            if os.path.exists(draft):
                os.remove(draft)


class Application(object):
    def __init__(self, apps_dir, name):
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise Failure("`%s` is not the name of an application" % name)
        self.name = name
        file = os.path.join(apps_dir, name + ".yml")
        facts = read_yaml(file)
        if facts.get("name") != name:
            raise Failure("%s describes `%s`, not `%s`; a description is called like its application"
                          % (file, facts.get("name"), name))
        inside = lambda key: os.path.join(apps_dir, facts[key]) if facts.get(key) else None
        self.folder = inside("path")
        if not self.folder or not os.path.isdir(self.folder):
            raise Failure("%s names no folder that exists; `path` is the folder of the application" % file)
        self.version_file = inside("version_file") or os.path.join(self.folder, "VERSION")
        self.distr_path_file = inside("distr_path_file")
        self.pid_file = inside("pid_file")
        self.health_url = facts.get("health_url")
        self.restart_argv = facts.get("restart_argv")
        if self.restart_argv is not None and not (
                isinstance(self.restart_argv, list) and all(isinstance(part, str) for part in self.restart_argv)):
            raise Failure("restart_argv of `%s` is not a list of texts" % name)

    def deliver(self, artifact, headers):
        releases = os.path.join(self.folder, "releases")
        if not os.path.isdir(releases):
            os.makedirs(releases)
        artifact.download(os.path.join(releases, artifact.file), headers)

    def switch(self, artifact):
        draft = os.path.join(self.folder, ".current-%d" % os.getpid())
        if os.path.lexists(draft):
            os.remove(draft)
        os.symlink(os.path.join("releases", artifact.file), draft)
        os.rename(draft, os.path.join(self.folder, "current"))
        write(self.version_file, artifact.version + "\n")
        if self.distr_path_file:
            write(self.distr_path_file, artifact.url + "\n")

    def restart(self, options):
        """What was done, in words."""
        if self.restart_argv:
            done = subprocess.run(self.restart_argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  cwd=self.folder, timeout=options["stop_timeout"] + options["start_timeout"])
            if done.returncode != 0:
                raise Failure("%s ended with %d: %s" % (self.restart_argv[0], done.returncode,
                                                        to_text(done.stdout[-1000:], errors="replace").strip()))
            return "restarted"
        if not self.pid_file:
            return "not restarted"
        old = self.running()
        if old:
            os.kill(old[0], signal.SIGTERM)
            wait(options["stop_timeout"], lambda: self.is_gone(old),
                 "process %d is still there %d s after TERM" % (old[0], options["stop_timeout"]))
        wait(options["start_timeout"], lambda: self.running() not in (None, old),
             "nothing started it again within %d s" % options["start_timeout"])
        return "process %d" % self.running()[0]

    def running(self):
        """Process and its start time, so that a reused number is not taken for the same process."""
        try:
            with open(self.pid_file) as file:
                pid = int(file.readline())
            with open("/proc/%d/stat" % pid) as file:
                fields = file.read().rpartition(")")[2].split()
        except (IOError, OSError, ValueError):
            return None
        return None if fields[0] in ("Z", "X") else (pid, fields[19])

    def is_gone(self, process):
        try:
            with open("/proc/%d/stat" % process[0]) as file:
                fields = file.read().rpartition(")")[2].split()
        except (IOError, OSError):
            return True
        return fields[0] in ("Z", "X") or fields[19] != process[1]

    def wait_until_well(self, version, seconds):
        if not self.health_url:
            return
        said = ["nothing"]

        def is_well():
            try:
                answer = open_url(self.health_url, timeout=5, use_proxy=False)
                text = to_text(answer.read(ANSWER_BYTES_MAX), errors="replace").strip()
            except Exception as trouble:
                said[0] = str(trouble)
                return False
            said[0] = text[:200]
            try:
                told = json.loads(text)
            except ValueError:
                told = text if VERSION.match(text) and VERSION.match(text).end() == len(text) else None
            told = told.get("version") if isinstance(told, dict) else told if isinstance(told, str) else None
            return told is None or told == version

        if not poll(seconds, is_well):
            raise Failure("%s was not well as version %s within %d s; it last said: %s"
                          % (self.health_url, version, seconds, said[0]))


def poll(seconds, holds):
    end = time.time() + seconds
    while not holds():
        if time.time() >= end:
            return False
        time.sleep(0.1)
    return True


def wait(seconds, holds, complaint):
    if not poll(seconds, holds):
        raise Failure(complaint)


def read_yaml(path):
    try:
        with open(path) as file:
            found = yaml.safe_load(file.read(ANSWER_BYTES_MAX))
    except IOError as trouble:
        raise Failure("the description %s cannot be read: %s" % (path, trouble.strerror))
    except yaml.YAMLError:
        raise Failure("%s is not YAML" % path)
    if not isinstance(found, dict):
        raise Failure("%s does not describe an application" % path)
    return found


def write(path, text):
    draft = "%s.part-%d" % (path, os.getpid())
    with open(draft, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, path)


def update(name, artifact, options):
    application = Application(options["apps_dir"], name)
    application.deliver(artifact, {"X-Drover-Instance": "%s/%s" % (options["server"], name)})
    if options["mode"] == "deliver":
        return "%s is delivered" % artifact.file
    application.switch(artifact)
    how = application.restart(options)
    application.wait_until_well(artifact.version, options["start_timeout"])
    return "version %s, %s" % (artifact.version, how)


def main():
    module = AnsibleModule(argument_spec={
        "apps_dir": {"type": "path", "default": "/etc/drover-agent/apps"},
        "apps": {"required": True},
        "url": {"required": True},
        "server": {"required": True},
        "app_instances": {"default": ""},
        "mode": {"choices": ["update", "deliver"], "default": "update"},
        "version": {},
        "checksum": {"choices": ["required", "if_present"], "default": "if_present"},
        "download_timeout": {"type": "int", "default": 600},
        "stop_timeout": {"type": "int", "default": 60},
        "start_timeout": {"type": "int", "default": 120},
    })
    options = module.params
    if yaml is None:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    names = [name.strip() for name in options["apps"].split(",")]
    composites = [name.strip() for name in options["app_instances"].split(",")]
    if len(composites) != len(names):
        composites = [None] * len(names)
    reports, failures = [], []
    for name, composite in zip(names, composites):
        try:
            ok, detail = True, update(name, Artifact(options), options)
        except (Failure, IOError, OSError, subprocess.SubprocessError) as trouble:
            ok, detail = False, str(trouble)
            failures.append("%s: %s" % (name, trouble))
        if composite:
            reports.append({"composite": composite, "outcome": "verifying" if ok else "updating", "detail": detail, "ok": ok})
    if failures:
        module.fail_json(msg="; ".join(failures), drover_report=reports)
    module.exit_json(changed=True, drover_report=reports)


if __name__ == "__main__":
    main()
