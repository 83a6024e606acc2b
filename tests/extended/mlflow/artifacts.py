"""Files: up, down, listed, deleted; big ones, many at once, and in parts."""

import hashlib
import os
import subprocess
import sys
import threading

import twice
from twice import NAME, note, refused

BIG = 30 * 2**20


def script():
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.create_experiment(NAME)
    note("experiment", client.get_experiment(experiment))
    run = client.create_run(experiment, start_time=1).info.run_id
    tree(client, run)
    big(client, run)
    at_once(client, experiment)
    in_parts(client, run)
    deletions(client, run)
    elsewhere(client)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def tree(client, run):
    names = ["a.txt", "with space.txt", "ünï.txt", "per%zz.txt", "plus+and&=.txt", "hash#.txt", "d/e/f/g.txt", "d/h.json", "d/.hidden", "many/" + "x" * 150, "question?.txt", "quote'\".txt", "semi;colon,.txt"]
    for name in names:
        os.makedirs(os.path.dirname(os.path.join("up", name)), exist_ok=True)
        open(os.path.join("up", name), "w").write(f"content of {name}")
    client.log_artifacts(run, "up")
    client.log_artifacts(run, "up/d", artifact_path="other/place")
    client.log_artifact(run, "up/a.txt", artifact_path="deep/er")
    open("up/a.txt", "w").write("another content")
    client.log_artifact(run, "up/a.txt")
    for path in (None, "d", "d/e", "d/e/f/g.txt", "other", "nothing", "a.txt", "deep"):
        note(f"listing of {path}", [(f.path, f.is_dir, f.file_size or 0) for f in client.list_artifacts(run, path)])
    there = client.download_artifacts(run, "", "down")
    note("everything", sorted((os.path.relpath(os.path.join(d, f), there), open(os.path.join(d, f)).read()) for d, _, fs in os.walk(there) for f in fs))
    note("one file", open(client.download_artifacts(run, "d/h.json", "down")).read())
    note("one folder", sorted(os.listdir(client.download_artifacts(run, "other/place", "down"))))
    refused("nothing", lambda: client.download_artifacts(run, "no such file", "down"))
    open("back\\slash.txt", "w").write("x")
    refused("out of the place", lambda: client.list_artifacts(run, "../.."))


def big(client, run):
    with open("big.bin", "wb") as f:
        for i in range(BIG // 2**20):
            f.write(hashlib.sha256(str(i).encode()).digest() * 2**15)
    client.log_artifact(run, "big.bin", artifact_path="big")
    note("big listing", [(f.path, f.file_size or 0) for f in client.list_artifacts(run, "big")])
    note("big", digest(client.download_artifacts(run, "big/big.bin", "down")) == digest("big.bin"))


def at_once(client, experiment):
    run = client.create_run(experiment, start_time=2).info.run_id
    os.makedirs("small")
    for i in range(60):
        open(f"small/{i:02}.txt", "w").write(str(i) * i)
    failures = []

    def upload(thread):
        try:
            client.log_artifacts(run, "small", artifact_path=f"t{thread % 3}")
            client.log_artifact(run, "small/07.txt", artifact_path="same")
        except Exception as e:  # Shown below: a thread's exception is lost.
            failures.append(repr(e))

    threads = [threading.Thread(target=upload, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    note("failures", failures)
    for path in (None, "t0", "t2", "same"):
        note(f"after {path}", [(f.path, f.is_dir, f.file_size or 0) for f in client.list_artifacts(run, path)])
    there = client.download_artifacts(run, "t1", "down")
    note("all whole", all(open(os.path.join(there, f"{i:02}.txt")).read() == str(i) * i for i in range(60)))


PARTS = """
import mlflow, sys
client = mlflow.MlflowClient()
client.log_artifact(sys.argv[1], "big.bin", artifact_path="parts")
print(client.download_artifacts(sys.argv[1], "parts/big.bin", "parts"))
"""


def in_parts(client, run):
    """A client that is told to send and fetch in parts falls back where the server keeps files itself."""
    os.makedirs("parts")
    settings = {
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true", "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(5 * 2**20), "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 * 2**20),
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true", "MLFLOW_MULTIPART_DOWNLOAD_MINIMUM_FILE_SIZE": str(5 * 2**20),
    }
    done = subprocess.run([sys.executable, "-c", PARTS, run], env=os.environ | settings, capture_output=True, text=True, timeout=300)
    note("in parts", done.returncode)
    if done.returncode:
        print(done.stdout, done.stderr)
        return
    note("whole", digest(done.stdout.split()[-1]) == digest("big.bin"))
    note("parts listing", [(f.path, f.file_size or 0) for f in client.list_artifacts(run, "parts")])


def deletions(client, run):
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(client.get_run(run).info.artifact_uri)
    repository.delete_artifacts("d/h.json")
    repository.delete_artifacts("other")
    refused("delete what is not there", lambda: repository.delete_artifacts("no such file"))
    for path in (None, "d", "other"):
        note(f"left in {path}", [f.path for f in client.list_artifacts(run, path)])
    repository.delete_artifacts()
    note("nothing is left", client.list_artifacts(run))
    client.log_text(run, "again", "d/h.json")
    note("again", [f.path for f in client.list_artifacts(run, "d")])


def elsewhere(client):
    """A place of the user's own: the client goes there by itself."""
    place = os.path.abspath("own")
    experiment = client.create_experiment(NAME + "-own", artifact_location="file://" + place)
    run = client.create_run(experiment, start_time=3)
    client.log_text(run.info.run_id, "mine", "f.txt")
    note("own place", [f.path for f in client.list_artifacts(run.info.run_id)])
    note("own file", open(os.path.join(place, run.info.run_id, "artifacts", "f.txt")).read())


if __name__ == "__main__":
    twice.main(script)
