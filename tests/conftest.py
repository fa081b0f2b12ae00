"""Fixtures and functions that several tests use: a small corpus, runs with predictions, and the folder ../shared."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import settings

from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir
from soctk.corpus.segments import Segment

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_RATE = 16000
EMOTIONS = ("calm", "angry", "sad")

settings.register_profile("soctk", deadline=None, max_examples=50)
settings.load_profile("soctk")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared with real recordings and encoders; tests that need it are skipped where it is missing."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("no ../shared folder with real recordings and encoders")
    return path


def write_corpus(root: Path, utterances_each: int = 2, seed: int = 0) -> DataDir:
    """Write a corpus: 6 speakers x 3 emotions x `utterances_each` recordings in 3 folds.

    Each recording is noise with a tone, whose frequency depends on the emotion. Another `seed` gives other recordings.
    """
    generator = np.random.default_rng(seed)
    wav, emotion = {}, {}
    for speaker in (f"spk{i}" for i in range(6)):
        for index, name in enumerate(EMOTIONS):
            for take in range(utterances_each):
                utt = f"{speaker}-{name}-{take}"
                wav[utt] = root / "recordings of the corpus" / f"{utt}.wav"
                wav[utt].parent.mkdir(parents=True, exist_ok=True)
                samples = generator.normal(size=int(SAMPLE_RATE * generator.uniform(0.3, 0.6)))
                tone = np.sin(np.arange(len(samples)) * 0.1 * (1 + 3 * index)) * np.linspace(0.2, 1, len(samples))
                soundfile.write(wav[utt], 0.1 * samples + 0.4 * tone, SAMPLE_RATE)
                emotion[utt] = name
    speakers = {utt: utt.partition("-")[0] for utt in wav}
    data = DataDir(
        wav=wav,
        speaker=speakers,
        emotion=emotion,
        seconds={utt: soundfile.info(path).duration for utt, path in wav.items()},
        gender={speaker: "mf"[int(speaker[-1]) % 2] for speaker in speakers.values()},
        fold={speaker: int(speaker[-1]) % 3 + 1 for speaker in speakers.values()},
        emotions=EMOTIONS,
    )
    datadir.write(root / "data", data)
    return datadir.read(root / "data")


@pytest.fixture
def corpus(tmp_path) -> DataDir:
    """A new corpus for each test, with its data directory at tmp_path/data."""
    return write_corpus(tmp_path)


def with_segments(root: Path, corpus: DataDir) -> DataDir:
    """Write the corpus again, to root/data: one recording for each speaker, of which the utterances are segments."""
    segments, wav = {}, {}
    for speaker in corpus.fold:
        name = f"{speaker}-tape"
        wav[name] = root / "tapes" / f"{name}.wav"
        wav[name].parent.mkdir(parents=True, exist_ok=True)
        pieces, length = [], 0
        for utt in (utt for utt in corpus.utterances if corpus.speaker[utt] == speaker):
            samples, _ = soundfile.read(corpus.wav[utt], dtype="int16")
            pieces += [np.full(800, 1000, dtype=np.int16), samples]
            segments[utt] = Segment(name, (length + 800) / SAMPLE_RATE, (length + 800 + len(samples)) / SAMPLE_RATE)
            length += 800 + len(samples)
        soundfile.write(wav[name], np.concatenate(pieces), SAMPLE_RATE)
    datadir.write(root / "data", dataclasses.replace(corpus, wav=wav, segments=segments))
    return datadir.read(root / "data")


@pytest.fixture(scope="session")
def device() -> str:
    """The device of the tests that are marked `gpu`; they compare it with the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="session")
def conf() -> list[Path]:
    return [ROOT / "conf"]


def write_run(
    path: Path, pairs: str, utterances: list[str] | None = None, emotions: str = "abc", config: str = ""
) -> None:
    """Write predictions.tsv with the reference and hypothesis of each utterance as pairs of letters: "aa ab bb".

    The speaker of an utterance is the part of its id before the hyphen. If `config` is given, it becomes config.yaml.
    """
    words = pairs.split()
    utterances = utterances or [f"{path.parent.name}-{i}" for i in range(len(words))]
    table = {"utt": utterances, "spk": [utt.partition("-")[0] for utt in utterances]}
    table |= {"ref": [word[0] for word in words], "hyp": [word[1] for word in words]}
    table |= {emotion: [float(word[1] == emotion) for word in words] for emotion in emotions}
    path.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table).to_csv(path / "predictions.tsv", sep="\t", index=False)
    if config:
        (path / "config.yaml").write_text(config)


def accept_interrupts() -> None:
    """Restore the default action of SIGINT, which a background shell disables; a `preexec_fn` for subprocess."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_python(code: str, **options) -> subprocess.Popen:
    """Run code in a new Python process that imports soctk from this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **options)
