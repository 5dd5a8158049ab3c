#!/usr/bin/env python3
"""Drover's hand on a control host: playbooks as jobs that outlive their caller.

One verb per call, a JSON request on stdin, a JSON answer on stdout. A job is a folder:

    jobs/<id>/job.json        what is run: argument list, environment, bounds
              vars.json       extra variables, removed when the play has ended
              inventory.json  the hosts
              started/        made once, by the one supervisor that may run the play
              pid             the supervisor: process, start time, boot
              events.jsonl    what the play says
              mailbox/        N.request.json: what the play asks of Drover; N.answer.json: the answer
              stdout, stderr, supervisor.log
              rc              the exit code, renamed into place as the last act

Standard library of Python 3.6 only.
"""

import base64
import configparser
import errno
import hashlib
import http.client
import ipaddress
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

JOBS_KEPT_MAX = 1000
EVENT_BYTES_MAX = 256 * 1024
EVENT_LINES_MAX = 500
OUTPUT_BYTES_MAX = 8 * 1024 * 1024
DIAGNOSTICS_BYTES_MAX = 32 * 1024
ASKED_BYTES_MAX = 256 * 1024
PLAYBOOKS_MAX = 1000
PLAYBOOK_BYTES_MAX = 64 * 1024
PLAYBOOK_DIGEST_BYTES_MAX = 16 * 1024 * 1024
PLAYBOOK_LINES_MAX = 150
REQUEST_BYTES_MAX = 64 * 1024 * 1024
START_SECONDS_MAX = 10
INVENTORY_SECONDS_MAX = 30
ARTIFACT_SECONDS_MAX = 8
SIGNAL_PATIENCE_SECONDS = 10
ANSIBLE_MIN = (2, 14)
# The longest path of a Unix socket.
SOCKET_BYTES_MAX = 107
# Programs of a play make sockets in its TMPDIR: ansible-core 2.21 adds 32 bytes to it.
TMPDIR_BYTES_MAX = 60
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# What an administrator has to change; everything else may pass by itself, such as a full disk.
LASTING_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
                  errno.ELOOP, errno.ENAMETOOLONG, errno.ENOEXEC}


# The variables that say where a connection goes, and the connections that go there.
ADDRESS_VARIABLES = ("ansible_host", "ansible_ssh_host", "ansible_paramiko_host", "ansible_winrm_host", "ansible_psrp_host")
ADDRESSED_CONNECTIONS = {"smart", "ssh", "paramiko", "paramiko_ssh", "winrm", "psrp"}
SSH_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
SSH_HOST_NAME = re.compile(r"-o\s*[\"']?hostname\b", re.IGNORECASE)


LONE_SURROGATE = re.compile(u"[\ud800-\udfff]")


class Refusal(Exception):
    """An answer that is not what was asked for. `kind`: `refused` and `no_such_playbook` are about the job,
    `unfit` about what an administrator has to change on this host, `unavailable` about what may pass by itself."""

    def __init__(self, kind, reason):
        super().__init__(reason)
        self.kind = kind


def lasting(error):
    return "unfit" if error.errno in LASTING_ERRORS else "unavailable"


# ---- jobs -----------------------------------------------------------------------------------


def job_folder(request):
    return os.path.join(request["spool"], "jobs", request["job"])


def launch(request):
    folder = job_folder(request)
    if not os.path.isdir(folder):
        build(folder, request)
        prune(os.path.dirname(folder))
    if not os.path.isdir(os.path.join(folder, "started")):
        start_supervisor(folder)
    end = time.monotonic() + 2 * START_SECONDS_MAX
    while not is_under_way(folder):
        if time.monotonic() > end:
            raise Refusal("unavailable", "the job was not under way after %d s" % (2 * START_SECONDS_MAX))
        time.sleep(0.01)
    return {}


def is_under_way(folder):
    return os.path.exists(os.path.join(folder, "pid")) or state(folder)["state"] in ("ended", "lost")


def build(folder, request):
    """Makes the job's folder under another name first, so that it is there wholly or not at all."""
    playbook = find_playbook(request["playbooks"], request["playbook"])
    program = find_program(request)
    os.makedirs(request["spool"], mode=0o700, exist_ok=True)
    os.rmdir(short_folder(request["spool"]))
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    draft = "%s.draft-%s" % (folder, os.urandom(8).hex())
    os.makedirs(os.path.join(draft, "mailbox"), mode=0o700)
    try:
        for name, text in request["files"].items():
            target = os.path.join(draft, name)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            write_file(target, text)
        for name in ("events.jsonl", "stdout", "stderr"):
            write_file(os.path.join(draft, name), "")
        check_hosts(draft, playbook, program, request)
        variables = os.path.join(folder, "vars.json")
        plan = {
            "argv": [program, "-e", "@" + variables, "--", playbook],
            "folder": os.path.dirname(playbook),
            "environment": environment(folder, program, request),
            "max_runtime_s": request["max_runtime_s"],
            "max_idle_s": request["max_idle_s"],
        }
        write_file(os.path.join(draft, "job.json"), json.dumps(plan))
        sync_folder(draft)
        try:
            os.rename(draft, folder)
        except OSError:
            if not os.path.isdir(folder):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(os.path.dirname(folder))


def environment(folder, program, request):
    inside = lambda name: os.path.join(folder, name)
    inventories = [inside("inventory.json")] + ([request["inventory"]] if request["inventory"] else [])
    for path in inventories:
        if "," in path:
            raise Refusal("refused", "the inventory path `%s` has a comma, which Ansible takes for a separator" % path)
    name, folder_of_user = account()
    return {
        "PATH": play_path(request),
        "HOME": home(folder_of_user, request["spool"]),
        "USER": name,
        "LOGNAME": name,
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": request["ansible_config"] or inside("ansible.cfg"),
        "ANSIBLE_INVENTORY": ",".join(inventories),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_CALLBACK_PLUGINS": inside("callback"),
        "ANSIBLE_STDOUT_CALLBACK": "drover_events",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "true",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "DROVER_EVENTS_FILE": inside("events.jsonl"),
        "DROVER_VARS_FILE": inside("vars.json"),
        "DROVER_MAILBOX": inside("mailbox"),
        "DROVER_ANSIBLE_PLAYBOOK": program,
    }


def check_hosts(draft, playbook, program, request):
    """Refuses a job whose hosts are other machines for Ansible than for Drover. The inventory of the administrator, and
    `group_vars` and `host_vars` beside it or beside a playbook, outrank the addresses that Drover passes."""
    folders = {os.path.dirname(playbook)}
    update = json.loads(request["files"]["vars.json"]).get("update_playbook")
    if isinstance(update, dict):
        try:
            folders.add(os.path.dirname(find_playbook(request["playbooks"], update["__ansible_unsafe"])))
        except Refusal:
            pass
    beside = [os.path.join(folder, name) for folder in folders for name in ("group_vars", "host_vars")]
    if not (request["inventory"] or request["ansible_config"] or any(map(os.path.isdir, beside))):
        return
    hosts = json.loads(request["files"]["inventory.json"])["all"]["hosts"]
    usual = default_of_configuration(request["ansible_config"], "transport") or "smart"
    for folder in sorted(folders):
        found = variables_of_hosts(folder, environment(draft, program, request), program)
        for name in sorted(hosts):
            reason = misdirection(name, hosts[name].get("ansible_host"), found.get(name, hosts[name]), usual)
            if reason:
                raise Refusal("refused", "the variables of `%s` lead Ansible to another machine than Drover's: %s. Look at the"
                              " inventory, and at group_vars and host_vars beside it and in %s" % (name, reason, folder))


def default_of_configuration(configuration, key):
    """A value of the section `defaults` of Ansible's configuration, or None."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(configuration or [])
        return parser.get("defaults", key, fallback=None)
    except (configparser.Error, UnicodeDecodeError):
        return None


def vault_files(configuration, home_folder):
    """The files of passwords that a play cannot begin without, except those whose paths Ansible makes from variables."""
    named = [default_of_configuration(configuration, "vault_password_file") or ""]
    for one in (default_of_configuration(configuration, "vault_identity_list") or "").split(","):
        named.append(one.rpartition("@")[2])
    for path in map(str.strip, named):
        if path and path != "prompt" and not re.search(r"[$]|[{][{]", path):
            path = os.path.join(home_folder, path[2:]) if path.startswith("~/") else path
            yield os.path.join(os.path.dirname(configuration), path)


def variables_of_hosts(folder, variables, program):
    """What Ansible itself makes of all sources, for playbooks in `folder`."""
    beside = os.path.join(os.path.dirname(program), "ansible-inventory")
    inventory = beside if os.access(beside, os.X_OK) else shutil.which("ansible-inventory", path=variables["PATH"])
    if inventory is None:
        raise Refusal("unfit", "`ansible-inventory` is not installed beside `%s`; without it the hosts of the inventory cannot be"
                               " checked" % program)
    listed = subprocess.run([inventory, "--list", "--playbook-dir", folder], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=variables, cwd=folder, timeout=INVENTORY_SECONDS_MAX)
    if listed.returncode != 0:
        said = listed.stderr.decode("utf-8", "replace").strip()
        raise Refusal("refused", "Ansible cannot read the inventory, or group_vars and host_vars in %s: %s" % (folder, said[-1000:]))
    return json.loads(listed.stdout.decode("utf-8", "replace"))["_meta"]["hostvars"]


def misdirection(name, address, variables, usual):
    """Why a connection to the host would not go to `address`, or None. The control host has no address."""
    connection = str(variables.get("ansible_connection", usual))
    plugin = connection.rpartition(".")[2]
    if address is None:
        return None if plugin == "local" else (
            "`%s` is the control host, and `ansible_connection: %s` leads elsewhere" % (name, connection))
    for key in ADDRESS_VARIABLES:
        given = variables.get(key, address)
        if not is_same_address(str(given), address):
            return "its address is `%s` in Drover, and `%s: %s` for Ansible. Keep one of them (`drover servers set NAME --address`)" % (
                address, key, given)
    for key in SSH_ARGUMENTS:
        if SSH_HOST_NAME.search(str(variables.get(key, ""))):
            return "`%s` has the option HostName" % key
    if plugin == "local" and not is_here(address):
        return "`ansible_connection: %s` is the control host, and its address in Drover is `%s`" % (connection, address)
    if plugin != "local" and plugin not in ADDRESSED_CONNECTIONS:
        return "`ansible_connection: %s` does not use its address, `%s`" % (connection, address)
    return None


def is_same_address(given, address):
    if given.lower() == address.lower():
        return True
    try:
        return ipaddress.ip_address(given) == ipaddress.ip_address(address)
    except ValueError:
        found = addresses(given)
        return bool(found) and found <= addresses(address)


def addresses(text):
    try:
        return {found[4][0] for found in socket.getaddrinfo(text, None)}
    except (OSError, UnicodeError):
        return set()


def is_here(address):
    """Whether an address is one of this host: only those can be bound."""
    try:
        found = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)
        for family, kind, protocol, _, place in found:
            with socket.socket(family, kind, protocol) as one:
                one.bind(place)
        return bool(found)
    except (OSError, UnicodeError):
        return False


def account():
    """The name and the home of this user, who may have no entry in the user database."""
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError:
        return str(os.getuid()), ""
    return user.pw_name, user.pw_dir


def home(folder_of_user, spool):
    """The home of a play. Ansible keeps its temporary folder in it, so it must be a folder that can be written:
    the user's own, else that of the calling service, else one in the spool."""
    for folder in (folder_of_user, os.environ.get("HOME", "")):
        if os.path.isabs(folder) and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    folder = os.path.join(spool, "home")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def short_folder(spool):
    """A new folder of this user alone whose path leaves room for the names of sockets: in the spool where that is short
    enough, because a service's own /tmp is removed when the service stops, and a play goes on."""
    own = os.path.join(spool, "tmp")
    tried = []
    for top, prefix in ((own, ""), ("/tmp", "drover-"), ("/var/tmp", "drover-")):
        if len(os.fsencode(os.path.join(top, prefix + "12345678"))) > TMPDIR_BYTES_MAX:
            continue
        try:
            if top == own:
                os.makedirs(own, mode=0o700, exist_ok=True)
            return tempfile.mkdtemp(prefix=prefix, dir=top)
        except OSError as error:
            tried.append("%s: %s" % (top, error.strerror))
    raise Refusal("unfit", "no temporary folder can be made for plays: %s; a shorter `ansible.spool` helps" % "; ".join(tried))


def sockets(home_folder, temporary):
    """Ansible's sockets of SSH connections lie in the home; 10 bytes are the socket's name, 17 are added by ssh."""
    path = os.path.join(home_folder, ".ansible", "cp", "1234567890") + ".1234567890123456"
    return {} if len(os.fsencode(path)) <= SOCKET_BYTES_MAX else {"ANSIBLE_SSH_CONTROL_PATH_DIR": temporary + "/cp"}


def play_path(request):
    return ":".join(request["extra_path"] + [SYSTEM_PATH])


def find_program(request):
    """`ansible-playbook`: a path, or a name in the folders of programs of the caller or of the system."""
    name = request["ansible_playbook"]
    own = [folder for folder in os.environ.get("PATH", "").split(":") if os.path.isabs(folder)]
    folders = request["extra_path"] + own + SYSTEM_PATH.split(":")
    program = shutil.which(name, path=":".join(folders))
    if program is None:
        looked = "" if "/" in name else "; looked for in %s" % ", ".join(dict.fromkeys(folders))
        raise Refusal("unfit", "`%s` is not installed on the control host%s. Install ansible-core, or name the program in"
                               " the setting `ansible.ansible_playbook`" % (name, looked))
    return os.path.abspath(program)


def prune(jobs):
    """Identifiers sort by time: the oldest jobs that have ended go first. A draft that nobody
    finished within the hour is the rest of a caller that died."""
    names = sorted(os.listdir(jobs))
    for name in [name for name in names if ".draft-" in name]:
        names.remove(name)
        path = os.path.join(jobs, name)
        if os.path.isdir(path) and time.time() - os.stat(path).st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)
    for name in names[: max(0, len(names) - JOBS_KEPT_MAX)]:
        if state(os.path.join(jobs, name))["state"] in ("ended", "lost"):
            link = os.path.join(jobs, name, "tmp")
            if os.path.islink(link):
                shutil.rmtree(os.readlink(link), ignore_errors=True)
            shutil.rmtree(os.path.join(jobs, name), ignore_errors=True)


def start_supervisor(folder):
    with open(os.path.join(folder, "supervisor.log"), "ab") as log:
        subprocess.Popen(
            [sys.executable, "-I", "-S", os.path.abspath(__file__), "supervise", folder],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True, cwd="/", start_new_session=True,
            env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
        )


def supervise(folder):
    os.umask(0o077)
    os.chdir(folder)
    # Whoever makes this folder runs the play; everybody else, now and ever, leaves.
    try:
        os.mkdir("started")
    except FileExistsError:
        return
    sync_folder(".")
    # Kept pending instead of ignored: the play would inherit "ignored" and could not be interrupted.
    quiet = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
    signal.pthread_sigmask(signal.SIG_BLOCK, quiet)
    replace_file("pid", json.dumps(identity(os.getpid())))
    with open("job.json", encoding="utf-8") as file:
        plan = json.load(file)
    temporary = short_folder(os.path.dirname(os.path.dirname(folder)))
    os.symlink(temporary, "tmp")
    plan["environment"].update(sockets(plan["environment"]["HOME"], temporary), TMPDIR=temporary,
                               ANSIBLE_LOCAL_TEMP=temporary)
    code = run(plan, quiet)
    for name in (temporary, "callback"):
        shutil.rmtree(name, ignore_errors=True)
    os.remove("tmp")
    if os.path.exists("vars.json"):
        os.remove("vars.json")
    replace_file("rc", "%d\n" % code)


def run(plan, quiet):
    if os.path.exists("cancelled"):
        return -signal.SIGINT

    def own_group_and_default_signals():
        os.setpgid(0, 0)
        for number in range(1, signal.NSIG):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                pass
        signal.pthread_sigmask(signal.SIG_SETMASK, set())

    with open("stdout", "ab") as stdout, open("stderr", "ab") as stderr:
        try:
            play = subprocess.Popen(
                plan["argv"], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, close_fds=True,
                cwd=plan["folder"], env=plan["environment"], preexec_fn=own_group_and_default_signals,
            )
        except (OSError, subprocess.SubprocessError) as error:
            stderr.write(("cannot start %s: %s\n" % (plan["argv"][0], error)).encode())
            return 127
    start = changed = time.monotonic()
    size = -1
    while play.poll() is None:
        signal.sigtimedwait(quiet, 1.0)
        now = time.monotonic()
        written = output_size()
        if written != size:
            size, changed = written, now
        if now - start > plan["max_runtime_s"]:
            reason = "it ran longer than %d s" % plan["max_runtime_s"]
        elif plan["max_idle_s"] and now - changed > plan["max_idle_s"]:
            reason = "it said nothing for %d s" % plan["max_idle_s"]
        else:
            continue
        with open("stderr", "ab") as stderr:
            stderr.write(("drover stopped the play: %s\n" % reason).encode())
        stop(os.getpid(), lambda: play.poll() is not None)
    return play.returncode


def output_size():
    """Bytes written so far; output beyond its bound is dropped, which appending writers survive."""
    total = 0
    for name in ("events.jsonl", "stdout", "stderr"):
        size = os.path.getsize(name)
        total += size
        if name != "events.jsonl" and size > OUTPUT_BYTES_MAX:
            os.truncate(name, 0)
            with open(name, "ab") as file:
                file.write(b"(drover dropped %d bytes of output here)\n" % size)
    return total


def state(folder):
    if not os.path.isdir(os.path.join(folder, "started")):
        return {"state": "absent"}
    for look_again in (True, False):
        code = read_text(os.path.join(folder, "rc"))
        if code is not None:
            return {"state": "ended", "exit_code": int(code)}
        owner = read_owner(folder)
        if owner is None:
            young = time.time() - os.stat(os.path.join(folder, "started")).st_mtime < START_SECONDS_MAX
            if young:
                return {"state": "running"}
        elif is_alive(owner) or (owner["boot"] == boot() and session_members(owner["pid"])):
            return {"state": "running"}
        # The exit code may have been written between the two looks.
        if not look_again:
            return {"state": "lost"}
    return {"state": "lost"}


def status(request):
    return state(job_folder(request))


def follow(request):
    folder = job_folder(request)
    end = time.monotonic() + request["wait_ms"] / 1000
    pause = 0.02
    while True:
        # In this order: what an ended job said is then wholly there.
        now = state(folder)
        lines, offset = read_lines(os.path.join(folder, "events.jsonl"), request["offset"])
        asked = open_request(folder, request["heard"]) if now["state"] == "running" else None
        if lines or asked or now["state"] != "running" or time.monotonic() >= end:
            return dict(now, lines=lines, offset=offset, asked=asked)
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(pause * 1.5, 0.2)


def read_lines(path, offset):
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            chunk = file.read(EVENT_BYTES_MAX)
    except FileNotFoundError:
        return [], offset
    lines = []
    while len(lines) < EVENT_LINES_MAX:
        cut = chunk.find(b"\n")
        if cut < 0:
            break
        lines.append(chunk[:cut].decode("utf-8", "replace"))
        chunk = chunk[cut + 1:]
        offset += cut + 1
    if not lines and len(chunk) == EVENT_BYTES_MAX:
        return ["(a line that is too long)"], offset + len(chunk)
    return lines, offset


def open_request(folder, heard):
    """The play's first request without an answer, after those that the caller has in hand."""
    mailbox, ending = os.path.join(folder, "mailbox"), ".request.json"
    try:
        names = set(os.listdir(mailbox))
    except FileNotFoundError:
        return None
    numbers = sorted(int(name[:-len(ending)]) for name in names
                     if name.endswith(ending) and name[:-len(ending)].isdigit())
    for number in numbers:
        if number > heard and "%d.answer.json" % number not in names:
            with open(os.path.join(mailbox, "%d%s" % (number, ending)), "rb") as file:
                return {"number": number, "text": file.read(ASKED_BYTES_MAX).decode("utf-8", "replace")}
    return None


def answer(request):
    mailbox = os.path.join(job_folder(request), "mailbox")
    if os.path.isdir(mailbox):
        replace_file(os.path.join(mailbox, "%d.answer.json" % request["number"]), request["text"])
    return {}


def cancel(request):
    folder = job_folder(request)
    if state(folder)["state"] != "running":
        return {}
    replace_file(os.path.join(folder, "cancelled"), "")
    owner = read_owner(folder)
    if owner is None:
        raise Refusal("unavailable", "the job is just being started; ask again")
    over = lambda: state(folder)["state"] != "running"
    if not stop(owner["pid"], over):
        raise Refusal("unavailable", "processes of the job are still there after they were killed")
    return {}


def stop(session, over):
    """Interrupts, terminates, kills every group of the session but the supervisor's own.

    Returns whether nothing but the supervisor is left.
    """
    known = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + SIGNAL_PATIENCE_SECONDS
        signalled = set()
        while time.monotonic() < end:
            members = family(session, known)
            if not members and over():
                return True
            for group in {member["group"] for member in members} - signalled - {session}:
                signalled.add(group)
                try:
                    os.killpg(group, number)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
    return not family(session, known)


def diagnostics(request):
    folder = job_folder(request)
    texts = []
    for name in ("supervisor.log", "stderr"):
        try:
            with open(os.path.join(folder, name), "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - DIAGNOSTICS_BYTES_MAX))
                texts.append(file.read().decode("utf-8", "replace"))
        except FileNotFoundError:
            pass
    return {"text": "".join(texts)}


# ---- processes ------------------------------------------------------------------------------


def boot():
    return (read_text("/proc/sys/kernel/random/boot_id") or "").strip()


def process(pid):
    """What /proc tells about a process that is not just waiting to be buried, or None."""
    try:
        with open("/proc/%s/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return {"pid": int(pid), "parent": int(fields[1]), "group": int(fields[2]), "session": int(fields[3]),
            "start": int(fields[19])}


def processes():
    return [found for found in map(process, filter(str.isdigit, os.listdir("/proc"))) if found]


def identity(pid):
    return {"pid": pid, "start": process(pid)["start"], "boot": boot()}


def is_alive(owner):
    found = process(owner["pid"])
    return found is not None and found["start"] == owner["start"] and owner["boot"] == boot()


def read_owner(folder):
    text = read_text(os.path.join(folder, "pid"))
    return json.loads(text) if text else None


def session_members(session):
    """The processes of a session besides its leader. The kernel does not give a session's number
    to a new process while one of its members lives."""
    return [found for found in processes() if found["session"] == session and found["pid"] != session]


def family(session, known):
    """Members of the session and whatever descends from them, also when it has left the session."""
    everybody = {found["pid"]: found for found in processes()}
    known.update({pid: found["start"] for pid, found in everybody.items() if found["session"] == session})
    grown = True
    while grown:
        grown = False
        for pid, found in everybody.items():
            parent = everybody.get(found["parent"])
            if pid not in known and parent and known.get(parent["pid"]) == parent["start"]:
                known[pid] = found["start"]
                grown = True
    return [found for pid, found in everybody.items() if known.get(pid) == found["start"] and pid != session]


# ---- playbooks ------------------------------------------------------------------------------


def find_playbook(folder, name):
    top = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(top, name))
    if os.path.isabs(name) or not path.startswith(top + os.sep) or not os.path.isfile(path):
        raise Refusal("no_such_playbook", name)
    return path


def playbooks(request):
    top = os.path.realpath(request["playbooks"])
    names = sorted(name for name in os.listdir(top) if name.endswith((".yml", ".yaml")) and not name.startswith("."))
    found = []
    for name in names:
        path = os.path.realpath(os.path.join(top, name))
        if len(found) == PLAYBOOKS_MAX:
            break
        if path.startswith(top + os.sep) and os.path.isfile(path):
            found.append(dict(head(path, name), name=name))
    return {"playbooks": found}


def head(path, name):
    """The first lines of a playbook, or why it cannot be one."""
    if LONE_SURROGATE.search(name):
        return {"error": "its name is not UTF-8 text; rename it"}
    try:
        with open(path, "rb") as file:
            read = file.read(PLAYBOOK_BYTES_MAX + 1)
            file.seek(0)
            has_plays = any(map(has_content, file))
            file.seek(0)
            whole = file.read(PLAYBOOK_DIGEST_BYTES_MAX + 1)
        lines = read.split(b"\n")
        if len(read) > PLAYBOOK_BYTES_MAX and len(lines) <= PLAYBOOK_LINES_MAX:
            lines = lines[:-1]
        found = {"head": b"\n".join(lines[:PLAYBOOK_LINES_MAX]).decode("utf-8"), "has_plays": has_plays}
        if len(whole) <= PLAYBOOK_DIGEST_BYTES_MAX:
            found["digest"] = hashlib.sha256(whole).hexdigest()
        return found
    except UnicodeDecodeError:
        return {"error": "it is not UTF-8 text"}
    except OSError as error:
        return {"error": error.strerror or str(error)}


def has_content(line):
    """Whether a line of YAML has more than a comment, a marker of documents, or an empty value."""
    text = line.replace(b"\xef\xbb\xbf", b"").strip()
    return not text.startswith((b"#", b"%")) and text not in (b"", b"---", b"...", b"[]", b"{}", b"~", b"null")


def probe(request):
    """Whether a job could be launched here: everything a launch needs, with the sentence that helps."""
    jobs = os.path.join(request["spool"], "jobs")
    try:
        os.makedirs(jobs, mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=jobs) as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Refusal(lasting(error), "the spool folder `%s` cannot be written by the user `%s`: %s (setting `ansible.spool`)"
                      % (request["spool"], account()[0], error.strerror))
    os.rmdir(short_folder(request["spool"]))
    try:
        os.listdir(request["playbooks"])
    except OSError as error:
        raise Refusal(lasting(error), "the playbook folder `%s` cannot be read by the user `%s`: %s (setting"
                      " `ansible.playbooks`)" % (request["playbooks"], account()[0], error.strerror))
    for key, setting in (("inventory", "ansible.inventory"), ("ansible_config", "ansible.config")):
        if request[key] and not os.access(request[key], os.R_OK):
            raise Refusal("unfit", "`%s` of the setting `%s` cannot be read by the user `%s`"
                          % (request[key], setting, account()[0]))
    home_folder = home(account()[1], request["spool"])
    for path in vault_files(request["ansible_config"], home_folder):
        if not os.access(path, os.R_OK):
            raise Refusal("unfit", "the vault password file `%s`, which `%s` of the setting `ansible.config` names, does not exist or"
                          " cannot be read by the user `%s`" % (path, request["ansible_config"], account()[0]))
    program = find_program(request)
    clean = {"PATH": play_path(request), "LC_ALL": "C.UTF-8", "HOME": home_folder}
    asked = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, env=clean, cwd="/", timeout=request["patience_s"])
    if asked.returncode != 0:
        said = (asked.stdout + asked.stderr).decode("utf-8", "replace").strip()
        raise Refusal("unfit", "`%s --version` ended with %d: %s" % (program, asked.returncode, said[-500:]))
    text = asked.stdout.decode("utf-8", "replace")
    version = re.search(r"\b([0-9]+)\.([0-9]+)(\.[0-9]+)?", text.split("\n")[0])
    if version and (int(version.group(1)), int(version.group(2))) < ANSIBLE_MIN:
        raise Refusal("unfit", "`%s` is ansible-core %s; %d.%d or newer is needed"
                      % ((program, version.group(0)) + ANSIBLE_MIN))
    return {"version": text.split("\n")[0][:200]}


# ---- texts ----------------------------------------------------------------------------------


def text_of(value):
    """JSON that every reader takes: file names and outputs of others may hold bytes that are no UTF-8, which Python
    keeps as lone surrogates."""
    return LONE_SURROGATE.sub(u"\ufffd", json.dumps(value, ensure_ascii=False)).encode("utf-8")


# ---- files ----------------------------------------------------------------------------------


def read_text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write_file(path, text):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def replace_file(path, text):
    draft = "%s.draft-%d" % (path, os.getpid())
    write_file(draft, text)
    os.replace(draft, path)
    sync_folder(os.path.dirname(path) or ".")


def sync_folder(path):
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def artifact(request):
    """What stands at the address of an artifact."""
    address = urllib.parse.urlsplit(request["url"])
    if address.scheme.lower() not in ("http", "https"):
        return {"state": "not_checked"}

    def late(*_):
        raise socket.timeout("no answer in %d seconds" % ARTIFACT_SECONDS_MAX)

    signal.signal(signal.SIGALRM, late)
    signal.alarm(ARTIFACT_SECONDS_MAX)
    try:
        # Some servers answer HEAD with another status than GET, so only GET proves that nothing is there.
        for method in ("HEAD", "GET"):
            try:
                return {"state": "found", "size": fetch(address, method)}
            except urllib.error.HTTPError as error:
                status = "%d %s" % (error.code, error.reason)
                if method == "GET":
                    return {"state": "absent" if error.code in (404, 410) else "unknown", "reason": "the server answers " + status}
    except urllib.error.URLError as error:
        return {"state": "unknown", "reason": str(error.reason)}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"state": "unknown", "reason": str(error) or type(error).__name__}
    finally:
        signal.alarm(0)


def fetch(address, method):
    """The size of what an address names, or None; an error without it. User and password go into the header they stand for."""
    user, _, host = address.netloc.rpartition("@")
    asked = urllib.request.Request(urllib.parse.urlunsplit(address._replace(netloc=host, fragment="")), method=method,
                                   headers={"User-Agent": "drover", "Accept-Encoding": "identity"})
    if user:
        plain = urllib.parse.unquote(user)
        asked.add_unredirected_header("Authorization", "Basic " + base64.b64encode(plain.encode("utf-8")).decode("ascii"))
    if method == "GET":
        asked.add_header("Range", "bytes=0-0")
    with urllib.request.urlopen(asked, timeout=ARTIFACT_SECONDS_MAX) as found:
        size = found.headers.get("Content-Length")
        if found.status == 206:
            size = (found.headers.get("Content-Range") or "").rpartition("/")[2]
    return int(size) if size and size.isdigit() else None


VERBS = {"launch": launch, "follow": follow, "answer": answer, "status": status, "cancel": cancel, "diagnostics": diagnostics,
         "probe": probe, "playbooks": playbooks, "artifact": artifact}


def main():
    if sys.argv[1] == "supervise":
        supervise(sys.argv[2])
        return
    os.umask(0o077)
    try:
        request = json.loads(sys.stdin.buffer.read(REQUEST_BYTES_MAX).decode("utf-8"))
        answer = {"done": VERBS[sys.argv[1]](request)}
    except Refusal as refusal:
        answer = {"refusal": {"kind": refusal.kind, "reason": str(refusal)}}
    except OSError as error:
        kind = lasting(error) if sys.argv[1] in ("launch", "probe", "playbooks") else "unavailable"
        answer = {"refusal": {"kind": kind, "reason": str(error)}}
    except subprocess.SubprocessError as error:
        answer = {"refusal": {"kind": "unavailable", "reason": str(error)}}
    sys.stdout.buffer.write(text_of(answer) + b"\n")


main()
