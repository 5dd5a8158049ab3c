import errno, json, os, sys
folder, name = sys.argv[1:]
draft = os.path.join(folder, ".%s-%d" % (name, os.getpid()))
answer = {"done": {}}
try:
    os.makedirs(folder, 0o700, exist_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "wb") as file:
        file.write(sys.stdin.buffer.read())
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, os.path.join(folder, name))
except OSError as error:
    passes = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
    reason = "the spool folder `%s` cannot be written: %s (setting `ansible.spool`)" % (folder, error.strerror)
    answer = {"refusal": {"kind": "unavailable" if passes else "unfit", "reason": reason}}
print(json.dumps(answer))
