import os, sys
folder, name = sys.argv[1:]
os.makedirs(folder, 0o700, exist_ok=True)
draft = os.path.join(folder, ".%s-%d" % (name, os.getpid()))
with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "wb") as file:
    file.write(sys.stdin.buffer.read())
    file.flush()
    os.fsync(file.fileno())
os.replace(draft, os.path.join(folder, name))
