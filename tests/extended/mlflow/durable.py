"""What was acknowledged is there after the daemon was killed.

    durable.py log URL TOKEN NOTES      eight threads log through the real client until standard input ends, and note what was acknowledged;
                                        a line on standard output says so after every few
    durable.py check URL TOKEN NOTES    every noted thing is there, once

A call whose answer was lost with the daemon is tried again by the client: what it wrote before must not be there twice.
"""

import faulthandler
import json
import os
import sys
import threading
from collections import Counter

THREADS = 8
TOLD = 20
NOW = 1_700_000_000_000


class Notes:
    def __init__(self, path):
        self.file = open(path, "a")
        self.lock = threading.Lock()
        self.count = 0

    def add(self, *noted):
        with self.lock:
            for one in noted:
                self.file.write(json.dumps(one) + "\n")
            self.file.flush()
            before, self.count = self.count, self.count + len(noted)
            if before // TOLD != self.count // TOLD:
                print(self.count, flush=True)


def log(client, notes_path):
    from mlflow.entities import Metric, Param, RunTag

    notes, ended, failures = Notes(notes_path), threading.Event(), []
    experiment = client.create_experiment(f"durable {os.getpid()}")
    shared = client.create_run(experiment, start_time=NOW).info.run_id
    notes.add(["run", shared])

    def work(thread):
        run = client.create_run(experiment, start_time=NOW + thread).info.run_id
        notes.add(["run", run])
        step = 0
        while not ended.is_set():
            step += 1
            if step % 7 == 0:
                many = [Metric(f"batch{thread}", step + i / 10, NOW + step, step * 10 + i) for i in range(10)]
                client.log_batch(run, many, [Param(f"p{step}", str(step))], [RunTag(f"t{step}", str(step))])
                notes.add(*(["metric", run, m.key, m.value, m.timestamp, m.step] for m in many), ["param", run, f"p{step}", str(step)], ["tag", run, f"t{step}", str(step)])
            elif step % 5 == 0:
                client.log_param(shared, f"{thread}-{step}", step)
                notes.add(["param", shared, f"{thread}-{step}", str(step)])
            else:
                where = shared if step % 2 else run
                client.log_metric(where, f"m{thread}", step / 2, timestamp=NOW + step, step=step)
                notes.add(["metric", where, f"m{thread}", step / 2, NOW + step, step])

    def guarded(thread):
        try:
            work(thread)
        except Exception as e:  # Told below: an exception of a thread is lost.
            failures.append(f"thread {thread}: {e!r}")
            print("a thread failed", flush=True)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(THREADS)]
    for t in threads:
        t.start()
    sys.stdin.read()
    ended.set()
    for t in threads:
        t.join()
    if failures:
        sys.exit("\n".join(failures))
    print(f"{notes.count} acknowledged", flush=True)


def check(client, notes_path):
    noted = [json.loads(line) for line in open(notes_path)]
    wrong = []
    runs = {run: client.get_run(run) for kind, run, *_ in noted if kind == "run"}
    histories = {}
    for kind, run, *rest in noted:
        if kind == "metric":
            key = rest[0]
            if (run, key) not in histories:
                histories[run, key] = Counter((m.value, m.timestamp, m.step) for m in client.get_metric_history(run, key))
            times = histories[run, key][tuple(rest[1:])]
            if times != 1:
                wrong.append(f"{times} times: {run} {rest}")
        elif kind != "run":
            held = runs[run].data.params if kind == "param" else runs[run].data.tags
            if held.get(rest[0]) != rest[1]:
                wrong.append(f"{held.get(rest[0])}: {kind} {run} {rest}")
    twice = [(at, row) for at, rows in histories.items() for row, n in rows.items() if n > 1]
    wrong += [f"twice: {at} {row}" for at, row in twice]
    kinds = Counter(kind for kind, *_ in noted)
    print(f"{dict(kinds)} noted, {sum(map(len, histories.values()))} metrics there, {len(wrong)} wrong")
    if wrong or not kinds["metric"]:
        sys.exit("\n".join(wrong[:20]) or "nothing was noted")


def main():
    if len(sys.argv) != 5 or sys.argv[1] not in ("log", "check"):
        sys.exit(__doc__)
    # A hang shows where, and ends.
    faulthandler.dump_traceback_later(600, exit=True)
    how, url, token, notes = sys.argv[1:]
    os.environ |= {
        "MLFLOW_TRACKING_URI": url, "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "8",
        "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet",
    }
    if token != "-":
        os.environ["MLFLOW_TRACKING_TOKEN"] = token
    from mlflow import MlflowClient

    {"log": log, "check": check}[how](MlflowClient(), notes)


if __name__ == "__main__":
    main()
