import dataclasses
import json
import signal
import time

import numpy as np
import pytest
import soundfile
import torch
from conftest import run_python

from soctk import audio, extract, upstream
from soctk.errors import SoctkError
from soctk.extract import Extraction
from soctk.store import FeatureStore

FBANK = Extraction("fbank")


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of two or three utterances, so that a small corpus has many."""
    monkeypatch.setattr(extract, "SHARD_SECONDS", 1.0)


def test_the_store_holds_what_the_upstream_gives(tmp_path, corpus):
    assert extract.extract(corpus, tmp_path / "feats", FBANK) == 36
    loaded = FeatureStore.open(tmp_path / "feats").load(corpus.utterances)
    encoder = upstream.load("fbank")
    expected = [encoder.hidden_states(audio.load(path, 16000))[-1] for path in corpus.wav.values()]
    assert loaded.lengths == [len(state) for state in expected]
    torch.testing.assert_close(loaded.block, torch.cat(expected).half(), rtol=0, atol=0)


def test_the_sidecar_says_how_it_was_made(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    sidecar = json.loads((tmp_path / "feats" / "store.json").read_text())
    assert sidecar.pop("versions").keys() == {"soctk", "torch", "transformers", "espnet-s3prl"}
    assert sidecar.pop("source").endswith(": fbank")
    assert sidecar == {
        "upstream": "fbank",
        "layer": 0,
        "num_layers": 1,
        "hidden_size": 240,
        "sample_rate": 16000,
        "frame_shift_ms": 10.0,
        "dtype": "float16",
    }


def test_a_second_run_does_only_what_is_missing(tmp_path, corpus, small_shards):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    assert extract.extract(corpus, tmp_path / "feats", FBANK) == 0
    whole = FeatureStore.open(tmp_path / "feats").load(corpus.utterances).block
    shards = sorted((tmp_path / "feats").glob("shard-*"))
    assert len(shards) > 5
    shards[0].unlink()
    assert 0 < extract.extract(corpus, tmp_path / "feats", FBANK) < 10
    again = FeatureStore.open(tmp_path / "feats").load(corpus.utterances).block
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


def test_many_processes_give_the_same_features(tmp_path, corpus, small_shards):
    for nj in (1, 2):
        extract.extract(corpus, tmp_path / f"feats{nj}", FBANK, nj)
    one, two = (FeatureStore.open(tmp_path / f"feats{nj}").load(corpus.utterances).block for nj in (1, 2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("shards_before_kill", [0, 1, 4])
def test_a_run_killed_at_any_moment_goes_on_to_the_same_store(tmp_path, corpus, small_shards, shards_before_kill):
    process = run_python(
        f"""
from pathlib import Path
from soctk import datadir, extract
extract.SHARD_SECONDS = 1.0
data = datadir.read(Path({str(tmp_path / "data")!r}))
extract.extract(data, Path({str(tmp_path / "killed")!r}), extract.Extraction("fbank"))
"""
    )
    killed, enough = tmp_path / "killed", False
    while process.poll() is None and not enough:
        enough = (killed / "store.json").exists() and len(list(killed.glob("shard-*"))) >= shards_before_kill
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the process ended before it could be killed"
    assert not (killed / "index.tsv").exists()
    with pytest.raises(SoctkError, match="the extraction has not finished"):
        FeatureStore.open(killed)
    assert extract.extract(corpus, killed, FBANK) < 36 or shards_before_kill == 0
    extract.extract(corpus, tmp_path / "undisturbed", FBANK)
    after, expected = (FeatureStore.open(tmp_path / name).load(corpus.utterances) for name in ("killed", "undisturbed"))
    assert after.lengths == expected.lengths
    torch.testing.assert_close(after.block, expected.block, rtol=0, atol=0)


def test_all_bad_audio_is_told_before_any_work(tmp_path, corpus):
    corpus.wav["spk0-sad-0"].write_text("no sound")
    soundfile.write(corpus.wav["spk5-calm-1"], np.zeros(10), 16000)
    with pytest.raises(
        SoctkError, match=r"(?s)2 of 36 recordings.*spk0-sad-0.wav: cannot be.*spk5-calm-1.wav: too short"
    ):
        extract.extract(corpus, tmp_path / "feats", FBANK)
    assert [file.name for file in (tmp_path / "feats").iterdir()] == ["store.json"]


def test_another_upstream_or_type_is_refused(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    with pytest.raises(SoctkError, match="upstream: fbank there, mfcc asked for"):
        extract.extract(corpus, tmp_path / "feats", Extraction("mfcc"))
    with pytest.raises(SoctkError, match="dtype: float16 there, float32 asked for"):
        extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, dtype="float32"))


def test_a_layer_that_is_not_there_is_told_before_any_work(tmp_path, corpus):
    with pytest.raises(SoctkError, match="fbank has no layer 1"):
        extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, layer=1))
    assert not (tmp_path / "feats").exists()


def test_other_recordings_under_the_same_ids_are_refused(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    samples, rate = soundfile.read(corpus.wav["spk2-calm-0"])
    soundfile.write(corpus.wav["spk2-calm-0"], samples[::-1], rate)
    with pytest.raises(SoctkError, match=r"features of other recordings than those there now\n  spk2-calm-0\nRemove"):
        extract.extract(corpus, tmp_path / "feats", FBANK)


def test_utterances_that_are_too_long_are_told_all_at_once_before_any_work(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(upstream.load("fbank").__class__, "max_seconds", 0.45)
    too_long = [utt for utt, seconds in corpus.seconds.items() if seconds > 0.45]
    assert 5 < len(too_long) < 36
    with pytest.raises(SoctkError) as error:
        extract.extract(corpus, tmp_path / "feats", FBANK)
    assert f"--upstream fbank: {len(too_long)} utterances are longer than the 0.45 s that it takes" in str(error.value)
    assert all(f"  {utt}\n" in str(error.value) for utt in too_long)
    assert not list((tmp_path / "feats").glob("shard-*"))


def test_silence_goes_through(tmp_path, corpus):
    soundfile.write(corpus.wav["spk0-sad-0"], np.zeros(8000), 16000)
    for name in ("fbank", "mfcc"):
        extract.extract(corpus, tmp_path / name, Extraction(name))
        assert not FeatureStore.open(tmp_path / name).load(["spk0-sad-0"]).block.any()


class TooLarge:
    """An upstream whose features do not fit into float16."""

    name, source, hidden_sizes, sample_rate, frame_shift, max_seconds = "large", "", [4], 16000, 20.0, 9.0

    def hidden_states(self, waveform):
        return [torch.full((3, 4), 1e5)]


def test_features_that_overflow_float16_are_told_and_not_stored(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(extract, "_upstream", lambda name, device: TooLarge())
    with pytest.raises(
        SoctkError, match=r"spk0-angry-0 has features that are not finite in float16\nUse --dtype float32"
    ):
        extract.extract(corpus, tmp_path / "feats", Extraction("large"))
    assert not list((tmp_path / "feats").glob("shard-*"))
    assert extract.extract(corpus, tmp_path / "feats32", Extraction("large", dtype="float32")) == 36
