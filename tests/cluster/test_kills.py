"""Extraction and training in workers that are killed give the same files as an undisturbed run on this machine."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import yaml
from conftest import ROOT

from soctk import config
from soctk.cluster import option
from soctk.features import extract
from soctk.features.extract import Extraction
from soctk.features.store import FeatureStore
from soctk.parallel import Processes
from soctk.scoring.runs import RunDirectory
from soctk.training import distributed_runs
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

pytestmark = pytest.mark.slow

# An encoder that kills its process at an utterance of N samples if the file `victims/N` exists, which it removes first.
ENCODER = """
import os, signal
from pathlib import Path
import numpy as np

VICTIMS = Path(__file__).with_name("victims")

class Deadly:
    hidden_sizes = [160]
    frame_shift = 10.0

    def __init__(self, device):
        pass

    def hidden_states(self, waveforms, layers):
        victim = VICTIMS / str(len(waveforms[0]))
        if victim.exists():
            victim.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return [waveform[: len(waveform) // 160 * 160].reshape(1, -1, 160) for waveform in waveforms]
"""


def files_of(path: Path, *names: str) -> dict[str, bytes]:
    """Return the contents of the files with these names below `path`, by relative path."""
    return {str(file.relative_to(path)): file.read_bytes() for name in names for file in sorted(path.rglob(name))}


def test_a_worker_killed_in_the_middle_of_a_shard_ten_times_changes_nothing(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(extract, "SHARD_SECONDS", 1.0)
    module = tmp_path / "deadly.py"
    module.write_text(ENCODER)
    victims = tmp_path / "victims"
    victims.mkdir()
    extraction = Extraction(f"{module}:Deadly")
    extract.extract(corpus, tmp_path / "undisturbed", extraction)
    samples = [soundfile.info(corpus.wav[utt]).frames for utt in corpus.utterances[1::3][:10]]  # at most one of a shard
    for number in samples:
        (victims / str(number)).touch()
    assert len(list(victims.iterdir())) == 10
    with option.open_cluster("local:2", "cpu", tmp_path / "feats", [tmp_path / "data"]) as (executor, _):
        summary = extract.extract(corpus, tmp_path / "feats", extraction, executor=executor)
    assert (summary.left, list(victims.iterdir())) == (0, [])
    assert summary.utterances + summary.others == 36  # others: a worker was killed after it had written a shard
    undisturbed = files_of(tmp_path / "undisturbed", "*.safetensors", "index.tsv", "store.json")
    assert files_of(tmp_path / "feats", "*.safetensors", "index.tsv", "store.json") == undisturbed
    assert len(undisturbed) > 10
    assert not list((tmp_path / "feats").glob(".soctk*"))  # no temporary file is left


@pytest.fixture
def ssh(tmp_path) -> Path:
    """A cluster file with two hosts: two addresses of this machine, on which a real sshd listens."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("no sshd (Debian: apt install openssh-server)")
    if os.getuid() == 0 and not Path("/run/sshd").is_dir():
        pytest.skip("sshd needs the folder /run/sshd when root starts it")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True)
    hosts, port = ["127.0.0.1", "127.0.0.2"], _free_port()
    lines = [f"ListenAddress {host}:{port}" for host in hosts]
    lines += [f"HostKey {tmp_path}/host", f"AuthorizedKeysFile {tmp_path}/user.pub", f"AllowUsers {getpass.getuser()}"]
    lines += ["PasswordAuthentication no", "KbdInteractiveAuthentication no", "PidFile none", "StrictModes no"]
    (tmp_path / "sshd_config").write_text("\n".join(lines) + "\n")
    connect = {"port": port, "username": getpass.getuser(), "client_keys": [f"{tmp_path}/user"], "known_hosts": None}
    cluster = {"kind": "ssh", "hosts": hosts, "workers": 1, "options": {"connect_options": connect}}
    (tmp_path / "ssh.yaml").write_text(yaml.safe_dump(cluster))
    with (tmp_path / "sshd.log").open("w") as log:
        daemon = subprocess.Popen([program, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=log)
    try:
        deadline = time.monotonic() + 20
        while (text := (tmp_path / "sshd.log").read_text()).count("listening on") < len(hosts):
            if "Cannot assign requested address" in text:
                pytest.skip("this machine has one loopback address only")
            assert daemon.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        yield tmp_path / "ssh.yaml"
    finally:
        daemon.kill()
        daemon.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_lost_host_changes_nothing(tmp_path, corpus, ssh, monkeypatch):
    """The encoder kills the process that would start its worker again, and then its worker."""
    monkeypatch.setattr(extract, "SHARD_SECONDS", 1.0)
    module = tmp_path / "host_killer.py"  # another name than in other tests: Python keeps modules
    module.write_text(
        ENCODER.replace("os.kill(os.getpid()", "os.kill(os.getppid(), signal.SIGKILL); os.kill(os.getpid()")
    )
    (tmp_path / "victims").mkdir()
    extraction = Extraction(f"{module}:Deadly")
    extract.extract(corpus, tmp_path / "undisturbed", extraction)
    (tmp_path / "victims" / str(soundfile.info(corpus.wav[corpus.utterances[1]]).frames)).touch()
    with option.open_cluster(str(ssh), "cpu", tmp_path / "feats", [tmp_path / "data"]) as (executor, _):
        assert len(executor.on_each_worker(os.getpid)) == 2
        extract.extract(corpus, tmp_path / "feats", extraction, executor=executor)
        assert len(executor.on_each_worker(os.getpid)) == 1
    assert not list((tmp_path / "victims").iterdir())
    undisturbed = files_of(tmp_path / "undisturbed", "*.safetensors", "index.tsv", "store.json")
    assert files_of(tmp_path / "feats", "*.safetensors", "index.tsv", "store.json") == undisturbed


@pytest.fixture
def store(tmp_path, corpus) -> FeatureStore:
    extract.extract(corpus, tmp_path / "feats", Extraction("mfcc"))
    return FeatureStore.open(tmp_path / "feats")


def settings(head: str):
    own = ["train.epochs=100", "train.batch_size=8"] if head == "mlp" else ["head.C=[0.01, 0.1]"]
    return config.load([ROOT / "conf"], "soc" if head == "mlp" else "mean+soc_full", head, overrides=own)


def train_and_die(folder: Path, *arguments):
    """Train a run, but kill this worker first inside, then after the first run of each fold."""
    run = arguments[-2]
    marker = folder / f"{run.fold}-{run.seed}"
    if marker.exists():
        return distributed_runs._train(*arguments)
    marker.touch()
    if run.seed == 1:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()  # in the middle of the run
        distributed_runs._train(*arguments)
        time.sleep(1)
    distributed_runs._train(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)  # the run is finished, and the client does not know


@pytest.mark.parametrize(("head", "folds"), [("mlp", [1, 2]), ("linear", [3])])
def test_runs_whose_workers_are_killed_have_the_files_of_a_local_run(tmp_path, corpus, store, head, folds):
    seeds, count = [1, 2], 2 * len(folds)
    local = Experiment(settings(head), corpus, Features(store, corpus.utterances), tmp_path / "local")
    assert local.run(folds, seeds, nj=2) == count
    experiment = Experiment(settings(head), corpus, Features(store, corpus.utterances), tmp_path / "exp")
    (tmp_path / "markers").mkdir()

    class Deadly:
        def run(self, jobs):
            return executor.run(
                [replace(job, function=train_and_die, shared=(tmp_path / "markers", *job.shared)) for job in jobs]
            )

    with option.open_cluster("local:2", "cpu", tmp_path / "exp", []) as (executor, _):
        assert distributed_runs.run(Deadly(), [(experiment, folds)], seeds) == count
        # Finished runs are not repeated.
        assert distributed_runs.run(Deadly(), [(experiment, folds)], seeds) == 0
    assert len(list((tmp_path / "markers").iterdir())) == count  # each run has killed a worker
    # The head mlp trains the folds of a seed together on this machine, and one by one in workers.
    names = ("config.yaml",) if head == "mlp" else ("predictions.tsv", "model.safetensors", "config.yaml")
    assert files_of(tmp_path / "exp", *names) == files_of(tmp_path / "local", *names)
    assert len(files_of(tmp_path / "exp", *names)) == len(names) * count
    for run in RunDirectory.of_experiment(tmp_path / "exp"):
        tables = [
            pd.read_csv(tmp_path / name / f"fold{run.fold}" / f"seed{run.seed}" / "predictions.tsv", sep="\t")
            for name in ("exp", "local")
        ]
        pd.testing.assert_frame_equal(*tables, atol=1e-4, rtol=0)
    assert not list((tmp_path / "exp").rglob("*.unfinished"))


def test_after_the_client_was_stopped_only_what_is_missing_is_done(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(extract, "SHARD_SECONDS", 1.0)
    extraction = Extraction("mfcc")
    with (
        pytest.raises(KeyboardInterrupt),
        option.open_cluster("local:2", "cpu", tmp_path / "feats", []) as (executor, _),
    ):

        class Interrupted:
            def run(self, jobs):
                results = executor.run(jobs)
                yield next(results)
                yield next(results)
                raise KeyboardInterrupt

        extract.extract(corpus, tmp_path / "feats", extraction, executor=Interrupted())
    shards = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "feats").glob("*.safetensors")}
    assert len(shards) >= 2
    summary = extract.extract(corpus, tmp_path / "feats", extraction, executor=Processes(1))
    assert 0 < summary.utterances < 36
    assert summary.left == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "feats").glob("*.safetensors")}
    assert shards.items() <= after.items()
