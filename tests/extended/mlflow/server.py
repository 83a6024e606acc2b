"""A real `mlflow server` on a free port of 127.0.0.1, in a folder of its own, for as long as standard input stays open.

    server.py

Prints its address once it answers.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

VERSION = "3.17.2"
WAIT = 180


def answers(url):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "/health", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def main():
    from importlib.metadata import version

    if version("mlflow") != VERSION:
        sys.exit(f"this is mlflow {version('mlflow')}; the tests were written beside {VERSION}")
    # The memory of the machine, where it can be a folder: the store asks for many syncs, and nothing of it is kept.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="mlflow-db-") as fast, tempfile.TemporaryDirectory(prefix="mlflow-") as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_") and k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{fast}/db.sqlite", "--artifacts-destination", f"{folder}/artifacts",
            "--workers", "1", "--host", "127.0.0.1", "--port", str(port),
        ]
        with open(f"{folder}/log", "w") as log:
            server = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + WAIT
            # It tells nobody when it begins to listen.
            while not answers(url):
                if server.poll() is not None or time.monotonic() > until:
                    sys.exit(f"no server: exit {server.poll()}\n{open(f'{folder}/log').read()[-4000:]}")
                time.sleep(0.1)
            print(url, flush=True)
            threading.Thread(target=lambda: (server.wait(), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
            sys.stdin.read()
        finally:
            # Its workers are processes of their own, in its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("the server ended by itself"))
    main()
