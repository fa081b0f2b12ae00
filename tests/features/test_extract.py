import dataclasses
import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from soctk.config import UpstreamConfig
from soctk.corpus import audio, datadir
from soctk.errors import SoctkError
from soctk.features import extract, upstream
from soctk.features.extract import Extraction, Summary
from soctk.features.store import FeatureStore
from soctk.training.inputs import Frames

FBANK = Extraction("fbank")


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of two or three utterances, so that a small corpus has many."""
    monkeypatch.setattr(extract, "SHARD_SECONDS", 1.0)


def test_the_store_holds_what_the_upstream_gives(tmp_path, corpus):
    assert extract.extract(corpus, tmp_path / "feats", FBANK).utterances == 36
    loaded = Frames.of(FeatureStore.open(tmp_path / "feats"), corpus.utterances)
    encoder = upstream.load("fbank")
    expected = [encoder.hidden_states([audio.load(path, 16000)], [0])[0][0] for path in corpus.wav.values()]
    assert loaded.lengths == [len(state) for state in expected]
    torch.testing.assert_close(loaded.block[:, 0], torch.cat(expected).half(), rtol=0, atol=0)


def test_the_sidecar_says_how_it_was_made(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    sidecar = json.loads((tmp_path / "feats" / "store.json").read_text())
    assert sidecar.pop("versions").keys() == {"soctk", "torch", "transformers", "espnet-s3prl"}
    assert sidecar.pop("source").endswith(": fbank")
    assert sidecar == {
        "upstream": "fbank",
        "layers": [0],
        "num_layers": 1,
        "hidden_size": 240,
        "sample_rate": 16000,
        "frame_shift_ms": 10.0,
        "precision": "float32",
        "dtype": "float16",
    }


def test_copies_at_other_speeds_stand_beside_the_utterances(tmp_path, corpus, small_shards):
    perturbed = dataclasses.replace(FBANK, speeds=(0.9, 1.25))
    assert extract.extract(corpus, tmp_path / "feats", perturbed).utterances == 3 * 36
    store = FeatureStore.open(tmp_path / "feats")
    assert store.settings["speeds"] == [0.9, 1.25]
    encoder = upstream.load("fbank")
    for suffix, speed in (("", 1), ("-sp0.9", 0.9), ("-sp1.25", 1.25)):
        loaded = Frames.of(store, [utt + suffix for utt in corpus.utterances])
        paths = corpus.wav.values()
        expected = [encoder.hidden_states([audio.load(path, 16000, speed)], [0])[0][0] for path in paths]
        torch.testing.assert_close(loaded.block[:, 0], torch.cat(expected).half(), rtol=0, atol=0)
    with pytest.raises(SoctkError, match=r"other settings\n  speeds: \[0.9, 1.25\] there, None asked for"):
        extract.extract(corpus, tmp_path / "feats", FBANK)


def test_an_utterance_called_as_a_copy_would_be_is_told(tmp_path, corpus):
    first, second, *_ = corpus.utterances
    renamed = dataclasses.replace(corpus, wav={first: corpus.wav[first], f"{first}-sp0.9": corpus.wav[second]})
    with pytest.raises(SoctkError, match=rf"called as copies at another speed would be\n  {first}-sp0.9"):
        extract.extract(renamed, tmp_path / "feats", dataclasses.replace(FBANK, speeds=(0.9,)))


def test_a_copy_too_short_to_encode_is_told(tmp_path, corpus):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, 960), 16000)
    short = dataclasses.replace(corpus, wav={"brief": path})
    with pytest.raises(SoctkError, match=r"1 copies are shorter than 50 ms\n  brief-sp2\n"):
        extract.extract(short, tmp_path / "feats", dataclasses.replace(FBANK, speeds=(2.0,)))


def test_a_second_run_does_only_what_is_missing(tmp_path, corpus, small_shards):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    assert extract.extract(corpus, tmp_path / "feats", FBANK) == Summary(0, 0, 0, 0)
    whole = FeatureStore.open(tmp_path / "feats").load(corpus.utterances)
    shards = sorted((tmp_path / "feats").glob("shard-*"))
    assert len(shards) > 5
    shards[0].unlink()
    assert 0 < extract.extract(corpus, tmp_path / "feats", FBANK).utterances < 10
    again = FeatureStore.open(tmp_path / "feats").load(corpus.utterances)
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


def test_many_processes_give_the_same_features(tmp_path, corpus, small_shards):
    for nj in (1, 2):
        extract.extract(corpus, tmp_path / f"feats{nj}", FBANK, nj)
    one, two = (FeatureStore.open(tmp_path / f"feats{nj}").load(corpus.utterances) for nj in (1, 2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_a_run_killed_again_and_again_goes_on_to_the_same_store(tmp_path, corpus, small_shards):
    extract.extract(corpus, tmp_path / "undisturbed", FBANK)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["soctk.features.extract", "soctk.features.upstream.s3prl"])
    random, kills, killed = np.random.default_rng(0), 0, tmp_path / "killed"
    while kills < 20:
        process = context.Process(target=_extract_slowly, args=(tmp_path / "data", killed))
        process.start()
        while not (killed / "store.json").exists():
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:  # it came to its end before the kill; most of the store is to be made again
            for shard in list(killed.glob("shard-*"))[2:]:
                shard.unlink()
            (killed / "index.tsv").unlink()
    assert not (killed / "index.tsv").exists()
    with pytest.raises(SoctkError, match="the extraction has not finished"):
        FeatureStore.open(killed)
    extract.extract(corpus, killed, FBANK)
    after, expected = (
        {utt: tensor for shard in path.glob("shard-*") for utt, tensor in load_file(shard).items()}
        for path in (killed, tmp_path / "undisturbed")
    )
    assert after.keys() == expected.keys() == set(corpus.utterances)
    assert all(torch.equal(after[utt], expected[utt]) for utt in expected)
    assert {file.name.partition("-")[0] for file in killed.iterdir()} == {"store.json", "index.tsv", "shard"}


def _extract_slowly(data: Path, store: Path) -> None:
    """Extract in small shards, as long a time as leaves room to be killed in each part of the work."""
    torch.set_num_threads(1)
    extract.SHARD_SECONDS = 1.0
    write = Path.write_bytes
    Path.write_bytes = lambda path, content: [
        write(path, content[: len(content) // 2]),
        time.sleep(0.02),
        write(path, content),
    ]
    extract.extract(datadir.read(data), store, FBANK)


def test_parts_done_apart_make_the_same_store(tmp_path, corpus, small_shards):
    whole = extract.extract(corpus, tmp_path / "whole", FBANK)
    parts = [extract.extract(corpus, tmp_path / "parts", FBANK, nj=3, job=job) for job in (2, 3)]
    assert all(0 < part.utterances < 20 for part in parts)
    assert parts[1].left == 36 - sum(part.utterances for part in parts)
    with pytest.raises(SoctkError, match="the extraction has not finished"):
        FeatureStore.open(tmp_path / "parts")
    parts.append(extract.extract(corpus, tmp_path / "parts", FBANK, nj=3, job=1))
    assert parts[2].left == 0
    assert sum(part.utterances for part in parts) == whole.utterances
    assert (
        sum(part.seconds for part in parts)
        == pytest.approx(whole.seconds)
        == pytest.approx(sum(corpus.seconds.values()))
    )
    one, other = (FeatureStore.open(tmp_path / name).load(corpus.utterances) for name in ("whole", "parts"))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


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
        extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, layers=(1,)))
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
        assert not FeatureStore.open(tmp_path / name).load(["spk0-sad-0"]).any()


class TooLarge:
    """An upstream whose features do not fit into float16."""

    name, source, hidden_sizes, sample_rate, frame_shift, max_seconds = "large", "", [4], 16000, 20.0, 9.0
    batches = False

    def hidden_states(self, waveforms, layers):
        return [torch.full((1, 3, 4), 1e5)]


def test_features_that_overflow_float16_are_told_and_not_stored(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(extract, "_upstream", lambda extraction: TooLarge())
    with pytest.raises(
        SoctkError, match=r"spk\d-\w+-\d has features that are not finite in float16\nUse --dtype float32"
    ):
        extract.extract(corpus, tmp_path / "feats", Extraction("large"))
    assert not list((tmp_path / "feats").glob("shard-*"))
    assert extract.extract(corpus, tmp_path / "feats32", Extraction("large", dtype="float32")).utterances == 36


class Counting:
    """An upstream of two layers that says the batches it was given; it takes any."""

    name, source, hidden_sizes, sample_rate, frame_shift, max_seconds = "counting", "", [1, 1], 16000, 20.0, 9.0
    batches = True

    def __init__(self):
        self.seen = []

    def hidden_states(self, waveforms, layers):
        self.seen.append([len(waveform) / 16000 for waveform in waveforms])
        return [torch.full((len(layers), 2, 1), float(len(waveform))) for waveform in waveforms]


@pytest.mark.parametrize("batches", [True, False])
def test_batches_hold_like_lengths_and_no_more_audio_than_asked_for_and_none_are_made_where_they_would_differ(
    tmp_path, corpus, monkeypatch, batches
):
    encoder = Counting()
    encoder.batches = batches
    monkeypatch.setattr(extract, "_upstream", lambda extraction: encoder)
    extraction = Extraction("counting", layers="all", dtype="float32", batch_seconds=2.0)
    extract.extract(corpus, tmp_path / "feats", extraction)
    assert sum(map(len, encoder.seen)) == 36
    assert [length for batch in encoder.seen for length in batch] == sorted(corpus.seconds.values())
    if batches:
        assert all(len(batch) * max(batch) <= 2.0 for batch in encoder.seen)
        assert len(encoder.seen) < 12
    else:
        assert len(encoder.seen) == 36
    loaded = Frames.of(FeatureStore.open(tmp_path / "feats"), corpus.utterances)
    expected = [round(16000 * seconds) for seconds in corpus.seconds.values()]
    assert loaded.block[::2].tolist() == [[[samples], [samples]] for samples in expected]


def test_features_that_do_not_fit_on_the_disk_are_told_before_any_work(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SoctkError, match=r"not enough space: 0.00 h at 240 numbers a frame, .* 1.00kB are free\nMake"):
        extract.extract(corpus, tmp_path / "feats", FBANK)
    assert not list((tmp_path / "feats").glob("shard-*"))


def test_an_upstream_of_ours_is_checked_against_what_its_file_says(tmp_path, corpus):
    known = UpstreamConfig(source="s3prl:fbank", layers=0, hidden_size=240, frame_shift_ms=10)
    extract.extract(corpus, tmp_path / "feats", Extraction("our_fbank", known=known))
    assert json.loads((tmp_path / "feats" / "store.json").read_text())["upstream"] == "our_fbank"
    wrong = known.model_copy(update={"layers": 12, "frame_shift_ms": 20})
    with pytest.raises(SoctkError, match="s3prl:fbank has layers 0, not 12, frame_shift_ms 10, not 20\nMend the file"):
        extract.extract(corpus, tmp_path / "other", Extraction("our_fbank", known=wrong))
