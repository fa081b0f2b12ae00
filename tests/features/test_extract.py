import dataclasses
import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
import torch
from conftest import with_segments
from safetensors.torch import load_file

from soctk.corpus import audio, datadir, decoding
from soctk.errors import SoctkError
from soctk.features import disk_space, extract, upstream
from soctk.features.extract import Extraction, Summary
from soctk.features.store import FeatureStore
from soctk.parallel import Threads
from soctk.schema import UpstreamConfig
from soctk.training.frames import Frames

FBANK = Extraction("fbank")


@pytest.fixture
def small_shards(monkeypatch):
    """Make shards of two or three utterances, so that a small corpus has many shards."""
    monkeypatch.setattr(extract, "SHARD_SECONDS", 1.0)


def test_the_store_contains_the_frames_of_the_upstream(tmp_path, corpus):
    assert extract.extract(corpus, tmp_path / "feats", FBANK).utterances == 36
    loaded = Frames.of(FeatureStore.open(tmp_path / "feats"), corpus.utterances)
    encoder = upstream.load("fbank")
    expected = [encoder.hidden_states([audio.load(path, 16000)], [0])[0][0] for path in corpus.wav.values()]
    assert loaded.lengths == [len(state) for state in expected]
    torch.testing.assert_close(loaded.block[:, 0], torch.cat(expected).half(), rtol=0, atol=0)


def test_the_settings_are_recorded(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    settings = json.loads((tmp_path / "feats" / "store.json").read_text())
    assert settings.pop("versions").keys() == {"soctk", "torch", "transformers", "espnet-s3prl"}
    assert settings.pop("source").endswith(": fbank")
    assert settings == {
        "format": 2,
        "upstream": "fbank",
        "layers": [0],
        "num_layers": 1,
        "hidden_size": 240,
        "sample_rate": 16000,
        "frame_shift_ms": 10.0,
        "precision": "float32",
        "dtype": "float16",
    }


def test_the_chosen_channel_is_encoded_and_recorded(tmp_path, corpus):
    for path in corpus.wav.values():
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.stack([samples[::-1], samples], axis=1), rate)
    extract.extract(dataclasses.replace(corpus, channel="2"), tmp_path / "feats", FBANK)
    store = FeatureStore.open(tmp_path / "feats")
    assert store.settings["channel"] == "2"
    encoder = upstream.load("fbank")
    waveforms = [audio.load(path, 16000, channel="2") for path in corpus.wav.values()]
    expected = [encoder.hidden_states([waveform], [0])[0][0] for waveform in waveforms]
    torch.testing.assert_close(store.load(corpus.utterances)[:, 0], torch.cat(expected).half(), rtol=0, atol=0)
    with pytest.raises(SoctkError, match=r"other settings\n  channel: 2 stored, None requested"):
        extract.extract(corpus, tmp_path / "feats", FBANK)


def test_a_recording_with_a_corrected_sample_rate_is_extracted_again(tmp_path, corpus, small_shards, capsys):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    shards = set((tmp_path / "feats").glob("shard-*"))
    path = corpus.wav["spk0-sad-0"]
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples, rate // 2)
    summary = extract.extract(corpus, tmp_path / "feats", FBANK)
    told = "1 recording has changed since the features were extracted\n  spk0-sad-0\nThey are extracted again"
    assert told in capsys.readouterr().out
    assert 1 <= summary.utterances < 36
    assert len(shards & set((tmp_path / "feats").glob("shard-*"))) == len(shards) - 1
    extract.extract(corpus, tmp_path / "new", FBANK)
    renewed, expected = FeatureStore.open(tmp_path / "feats"), FeatureStore.open(tmp_path / "new")
    assert renewed.recordings == expected.recordings
    assert torch.equal(renewed.load(corpus.utterances), expected.load(corpus.utterances))
    assert renewed.verify() == []


def test_an_extraction_that_is_killed_after_it_removed_outdated_features_can_be_continued(
    tmp_path, corpus, small_shards, monkeypatch
):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    samples, rate = soundfile.read(corpus.wav["spk2-calm-0"])
    soundfile.write(corpus.wav["spk2-calm-0"], samples[::-1], rate)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(extract, "_run_jobs", Mock(side_effect=KeyboardInterrupt))
        extract.extract(corpus, tmp_path / "feats", FBANK)
    with pytest.raises(SoctkError, match="the extraction has not finished"):
        FeatureStore.open(tmp_path / "feats")
    extract.extract(corpus, tmp_path / "feats", FBANK)
    extract.extract(corpus, tmp_path / "new", FBANK)
    renewed, expected = FeatureStore.open(tmp_path / "feats"), FeatureStore.open(tmp_path / "new")
    assert renewed.recordings == expected.recordings
    assert torch.equal(renewed.load(corpus.utterances), expected.load(corpus.utterances))


def test_notes_on_the_recordings_are_printed(tmp_path, corpus, capsys):
    for path in corpus.wav.values():
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.stack([0 * samples, samples], axis=1), rate)
    extract.extract(corpus, tmp_path / "feats", FBANK)
    assert "Note: silence in channel 1: 36, such as spk0-angry-0" in capsys.readouterr().out


def test_each_copy_is_encoded_at_its_own_speed(tmp_path, corpus, small_shards):
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
    with pytest.raises(SoctkError, match=r"other settings\n  speeds: \[0.9, 1.25\] stored, None requested"):
        extract.extract(corpus, tmp_path / "feats", FBANK)


@pytest.mark.parametrize("speeds", [(), (0.9,)])
def test_segments_give_the_features_of_separate_recordings_and_each_recording_is_read_once(
    tmp_path, corpus, monkeypatch, speeds
):
    extraction = dataclasses.replace(FBANK, speeds=speeds)
    extract.extract(corpus, tmp_path / "feats", extraction)
    segmented = with_segments(tmp_path / "segmented", corpus)
    opened = []
    blocks = decoding._blocks
    monkeypatch.setattr(decoding, "_blocks", lambda file: [opened.append(file.name), *blocks(file)][1:])
    summary = extract.extract(segmented, tmp_path / "again", extraction)
    assert summary.utterances == 36 * (1 + len(speeds))
    assert len(opened) == 2 * 6  # for the checks, and for the features; all copies are in one shard here
    expected, found = FeatureStore.open(tmp_path / "feats"), FeatureStore.open(tmp_path / "again")
    assert found.recordings == expected.recordings
    for suffix in ("", *(f"-sp{speed}" for speed in speeds)):
        names = [utt + suffix for utt in corpus.utterances]
        assert torch.equal(found.load(names), expected.load(names))


def test_segments_of_a_recording_are_in_few_shards_also_if_their_ids_are_far_apart(tmp_path, corpus, monkeypatch):
    tapes = with_segments(tmp_path / "segmented", corpus)
    order = sorted(tapes.segments, key=lambda utt: utt[::-1])  # by take, then emotion, then speaker
    names = dict(zip(sorted(tapes.segments), order, strict=True))  # an id, and the utterance whose sound it gets
    segments = {utt: tapes.segments[other] for utt, other in names.items()}
    data = dataclasses.replace(tapes, segments=segments, seconds={utt: tapes.seconds[names[utt]] for utt in names})
    monkeypatch.setattr(extract, "SHARD_SECONDS", 3.0)
    opened = []
    blocks = decoding._blocks
    monkeypatch.setattr(decoding, "_blocks", lambda file: [opened.append(file.name), *blocks(file)][1:])
    extract.extract(data, tmp_path / "feats", FBANK)
    shards = len(list((tmp_path / "feats").glob("shard-*")))
    assert shards >= 5
    assert len(opened) - 6 <= 6 + shards - 1  # a boundary of shards divides one tape at most


def test_a_segment_outside_of_its_recording_is_refused_before_extraction(tmp_path, corpus):
    data = with_segments(tmp_path / "segmented", corpus)
    late = dataclasses.replace(data.segments["spk0-sad-1"], end=99.0)
    data = dataclasses.replace(data, segments={**data.segments, "spk0-sad-1": late})
    with pytest.raises(
        SoctkError, match=r"shorter than a segment needs \(1\): Times are(?s:.*)spk0-sad-1 .*to 99 s of "
    ):
        extract.extract(data, tmp_path / "feats", FBANK)


def test_an_utterance_with_the_id_of_a_copy_is_refused(tmp_path, corpus):
    first, second, *_ = corpus.utterances
    names = {utt: f"{first}-sp0.9" if utt == second else utt for utt in corpus.utterances}
    columns = ("wav", "speaker", "emotion", "seconds")
    renamed = dataclasses.replace(
        corpus, **{column: {names[utt]: value for utt, value in getattr(corpus, column).items()} for column in columns}
    )
    with pytest.raises(SoctkError, match=rf"--speed-perturb: these utterances have the ids of copies\n  {first}-sp0.9"):
        extract.extract(renamed, tmp_path / "feats", dataclasses.replace(FBANK, speeds=(0.9,)))


def test_too_short_copies_are_refused(tmp_path, corpus):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, 960), 16000)
    short = dataclasses.replace(corpus.only({"spk0-sad-0"}), wav={"spk0-sad-0": path})
    with pytest.raises(SoctkError, match=r"1 copy is shorter than 50 ms\n  spk0-sad-0-sp2\n"):
        extract.extract(short, tmp_path / "feats", dataclasses.replace(FBANK, speeds=(2.0,)))


def test_a_second_run_extracts_only_what_is_missing(tmp_path, corpus, small_shards):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    assert extract.extract(corpus, tmp_path / "feats", FBANK) == Summary(0, 0, 0, 0)
    whole = FeatureStore.open(tmp_path / "feats").load(corpus.utterances)
    shards = sorted((tmp_path / "feats").glob("shard-*"))
    assert len(shards) > 5
    shards[0].unlink()
    assert 0 < extract.extract(corpus, tmp_path / "feats", FBANK).utterances < 10
    again = FeatureStore.open(tmp_path / "feats").load(corpus.utterances)
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


def test_several_processes_give_the_same_features(tmp_path, corpus, small_shards):
    for nj in (1, 2):
        extract.extract(corpus, tmp_path / f"feats{nj}", FBANK, nj)
    one, two = (FeatureStore.open(tmp_path / f"feats{nj}").load(corpus.utterances) for nj in (1, 2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.slow
def test_an_extraction_killed_20_times_ends_with_the_same_store(tmp_path, corpus, small_shards):
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
        if process.exitcode == 0:  # it finished before the kill: remove most of its work
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
    """Extract small shards, with a pause within each write, so that the process can be killed at any moment."""
    torch.set_num_threads(1)
    extract.SHARD_SECONDS = 1.0
    write = Path.write_bytes
    Path.write_bytes = lambda path, content: [
        write(path, content[: len(content) // 2]),
        time.sleep(0.02),
        write(path, content),
    ]
    extract.extract(datadir.read(data), store, FBANK)


@pytest.mark.slow
def test_two_extractions_at_once_store_each_utterance_once(tmp_path, corpus):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["soctk.features.extract", "soctk.features.upstream.s3prl"])
    store = tmp_path / "feats"
    processes = [
        context.Process(target=_extract_in_shards_of, args=(tmp_path / "data", store, seconds))
        for seconds in (1.0, 1.7)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    stored = sorted(utt for shard in store.glob("shard-*") for utt in load_file(shard))
    assert stored == sorted(corpus.utterances)
    assert {file.name.partition("-")[0] for file in store.iterdir()} == {"store.json", "index.tsv", "shard"}
    others = [json.loads((tmp_path / f"others {seconds}").read_text()) for seconds in (1.0, 1.7)]
    assert sum(encoded for encoded, _ in others) >= 36
    # A process that lists the store after the other has written to it leaves those utterances out from the start.
    assert max(encoded + by_others for encoded, by_others in others) == 36
    extract.extract(corpus, tmp_path / "alone", FBANK)
    one, other = (FeatureStore.open(path).load(corpus.utterances) for path in (store, tmp_path / "alone"))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def _extract_in_shards_of(data: Path, store: Path, seconds: float) -> None:
    torch.set_num_threads(1)
    extract.SHARD_SECONDS = seconds
    summary = extract.extract(datadir.read(data), store, FBANK)
    (store.parent / f"others {seconds}").write_text(json.dumps([summary.utterances, summary.others]))


def test_utterances_that_another_process_extracts_meanwhile_are_counted(tmp_path, corpus, small_shards, monkeypatch):
    first, half = FeatureStore.create, corpus.only(corpus.utterances[:18])

    def create_and_wait(path, settings):
        store = first(path, settings)
        monkeypatch.undo()
        monkeypatch.setattr(extract, "SHARD_SECONDS", 1.7)
        extract.extract(half, path, FBANK)
        return store

    monkeypatch.setattr(FeatureStore, "create", create_and_wait)
    summary = extract.extract(corpus, tmp_path / "feats", FBANK)
    assert (summary.utterances, summary.others, summary.left) == (18, 18, 0)


def test_separate_parts_give_the_same_store(tmp_path, corpus, small_shards):
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


def test_all_unusable_recordings_are_listed_before_extraction(tmp_path, corpus):
    corpus.wav["spk0-sad-0"].write_text("no sound")
    soundfile.write(corpus.wav["spk5-calm-1"], np.zeros(10), 16000)
    with pytest.raises(
        SoctkError, match=r"(?s)2 of 36 recordings.*spk0-sad-0.wav: a text file.*spk5-calm-1.wav: too short"
    ):
        extract.extract(corpus, tmp_path / "feats", FBANK)
    assert [file.name for file in (tmp_path / "feats").iterdir()] == ["store.json"]


def test_another_upstream_or_dtype_is_refused(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    with pytest.raises(SoctkError, match="upstream: fbank stored, mfcc requested"):
        extract.extract(corpus, tmp_path / "feats", Extraction("mfcc"))
    with pytest.raises(SoctkError, match="dtype: float16 stored, float32 requested"):
        extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, dtype="float32"))


def test_an_unknown_layer_is_refused_before_extraction(tmp_path, corpus):
    with pytest.raises(SoctkError, match="fbank has no hidden state 1"):
        extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, layers=(1,)))
    assert not (tmp_path / "feats").exists()


def test_a_store_in_which_no_recording_is_as_it_was_is_refused(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", FBANK)
    for path in corpus.wav.values():
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples[::-1], rate)
    with pytest.raises(SoctkError) as error:
        extract.extract(corpus, tmp_path / "feats", FBANK)
    assert "feats: all recordings have changed since their features were extracted\n  spk0-angry-0\n" in str(
        error.value
    )
    assert str(error.value).endswith(
        "  ... and 16 more\nRemove the store to extract again, or use another directory for this version of the corpus."
    )
    assert len(FeatureStore.open(tmp_path / "feats").recordings) == 36


def test_too_long_utterances_are_listed_before_extraction(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(upstream.load("fbank").__class__, "max_seconds", 0.45)
    too_long = [utt for utt, seconds in corpus.seconds.items() if seconds > 0.45]
    assert 5 < len(too_long) < 36
    with pytest.raises(SoctkError) as error:
        extract.extract(corpus, tmp_path / "feats", FBANK)
    assert f"fbank: {len(too_long)} utterances are longer than this encoder's limit of 0.45 s" in str(error.value)
    assert len(too_long) > 20
    assert all((f"  {utt}\n" in str(error.value)) == (i < 20) for i, utt in enumerate(too_long))
    assert f"  ... and {len(too_long) - 20} more\n" in str(error.value)
    assert not list((tmp_path / "feats").glob("shard-*"))


def test_silence_is_encoded_as_zeros(tmp_path, corpus):
    soundfile.write(corpus.wav["spk0-sad-0"], np.zeros(8000), 16000)
    for name in ("fbank", "mfcc"):
        extract.extract(corpus, tmp_path / name, Extraction(name))
        assert not FeatureStore.open(tmp_path / name).load(["spk0-sad-0"]).any()


class Overflowing:
    """An upstream of which one feature is not a number of float16."""

    name, source, hidden_sizes, sample_rate, frame_shift, max_seconds = "large", "", [4], 16000, 20.0, 9.0
    hub = note = ""
    batches = has_units = False

    def __init__(self, feature: float):
        self.frames = torch.linspace(-1, 1, 12).reshape(1, 3, 4)
        self.frames[0, 1, 2] = feature

    def hidden_states(self, waveforms, layers):
        return [self.frames.clone()]


@pytest.mark.parametrize("feature", [1e5, -1e5, 65520.0, float("nan"), float("-inf")])
def test_features_that_are_no_numbers_of_float16_are_not_stored(tmp_path, corpus, monkeypatch, feature):
    monkeypatch.setattr(upstream, "load", lambda *_: Overflowing(feature))
    with pytest.raises(
        SoctkError, match=r"the features of spk\d-\w+-\d are not finite in float16\nUse --dtype float32"
    ):
        extract.extract(corpus, tmp_path / "feats", Extraction("large"))
    assert not list((tmp_path / "feats").glob("shard-*"))
    if abs(feature) < float("inf"):
        assert extract.extract(corpus, tmp_path / "feats32", Extraction("large", dtype="float32")).utterances == 36


class Recorder:
    """An upstream with two hidden states that records the lengths of the utterances in each batch."""

    name, source, hidden_sizes, sample_rate, frame_shift, max_seconds = "recorder", "", [1, 1], 16000, 20.0, 9.0
    hub = note = ""
    has_units = False

    def __init__(self, batches: bool):
        self.batches, self.seen = batches, []

    def hidden_states(self, waveforms, layers):
        self.seen.append([len(waveform) / 16000 for waveform in waveforms])
        return [torch.full((len(layers), 2, 1), float(len(waveform))) for waveform in waveforms]


@pytest.mark.parametrize("batches", [True, False])
def test_batches_have_similar_lengths_and_limited_duration(tmp_path, corpus, monkeypatch, batches):
    encoder = Recorder(batches)
    monkeypatch.setattr(upstream, "load", lambda *_: encoder)
    extraction = Extraction(f"recorder, {batches=}", layers="all", dtype="float32", batch_seconds=2.0)
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


def test_threads_for_a_gpu_write_the_same_store_and_encode_one_batch_at_a_time(
    tmp_path, corpus, small_shards, monkeypatch
):
    class Busy(Recorder):
        calls, most, writing, overlaps = 0, 0, 0, 0

        def hidden_states(self, waveforms, layers):
            self.calls += 1
            self.most = max(self.most, self.calls)
            self.overlaps += self.writing > 0
            time.sleep(0.01)
            self.calls -= 1
            return super().hidden_states(waveforms, layers)

    encoder = Busy(batches=True)
    monkeypatch.setattr(upstream, "load", lambda *_: encoder)
    extract.extract(corpus, tmp_path / "one", Extraction("busy"))
    write = FeatureStore.write_shard

    def slow(store, *arguments):
        encoder.writing += 1
        time.sleep(0.05)
        size = write(store, *arguments)
        encoder.writing -= 1
        return size

    monkeypatch.setattr(FeatureStore, "write_shard", slow)
    summary = extract.extract(corpus, tmp_path / "threads", Extraction("busy"), executor=Threads(3))
    assert (summary.utterances, summary.left) == (36, 0)
    assert encoder.most == 1
    assert encoder.overlaps > 0  # a shard was written while another one was encoded
    stores = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "threads")]
    assert stores[0] == stores[1]
    assert len(stores[0]) > 10


def test_the_header_of_a_shard_is_not_read_again_for_each_other_shard(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(extract, "SHARD_SECONDS", 0.5)
    reads, read = [], FeatureStore._read_header
    monkeypatch.setattr(FeatureStore, "_read_header", lambda store, path: reads.append(path) or read(store, path))
    extract.extract(corpus, tmp_path / "feats", FBANK)
    shards = len(list((tmp_path / "feats").glob("shard-*")))
    assert shards >= 20
    assert len(reads) <= 5 * shards


def test_the_hub_id_of_the_encoder_is_recorded_but_not_compared(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(upstream, "load", lambda *_: encoder)
    encoder = Recorder(batches=False)
    encoder.hub = "some/recorder"
    extract.extract(corpus, tmp_path / "feats", Extraction("some/recorder"), nj=2, job=1)
    assert json.loads((tmp_path / "feats" / "store.json").read_text())["hub"] == "some/recorder"
    encoder.hub = ""
    assert extract.extract(corpus, tmp_path / "feats", Extraction("./recorder"), nj=2).left == 0
    assert FeatureStore.open(tmp_path / "feats").settings["hub"] == "some/recorder"


def test_a_shard_holds_at_most_10_minutes_of_audio(tmp_path, corpus, monkeypatch):
    recording = tmp_path / "long.wav"
    soundfile.write(recording, np.random.default_rng(0).uniform(-0.1, 0.1, 65 * 16000), 16000)
    ids = [f"spk0-{i:02}" for i in range(20)]
    columns = {"wav": recording, "speaker": "spk0", "emotion": "calm", "seconds": 65.0}
    long = dataclasses.replace(corpus, **{name: dict.fromkeys(ids, value) for name, value in columns.items()})
    encoder = Recorder(batches=False)
    encoder.max_seconds = 100.0
    monkeypatch.setattr(upstream, "load", lambda *_: encoder)
    extract.extract(long, tmp_path / "feats", Extraction("recorder of 65 s", dtype="float32"))
    shards = [len(load_file(shard)) for shard in (tmp_path / "feats").glob("shard-*")]
    assert (len(shards), sum(shards)) == (3, 20)  # 1300 s
    assert all(65 * utterances <= 600 for utterances in shards)


@pytest.mark.parametrize(("dtype", "bytes_each"), [("float16", 2), ("float32", 4)])
def test_the_needed_disk_space_is_announced(tmp_path, corpus, capsys, dtype, bytes_each):
    extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, dtype=dtype))
    size = sum(corpus.seconds.values()) * 100 * 240 * bytes_each  # 100 frames of 240 values per second
    announced = f"frames of 240 values in {dtype}, layers 0: {size / 1000 if size < 999_500 else size / 1e6:.3g}"
    assert announced in capsys.readouterr().out
    written = sum(shard.stat().st_size for shard in (tmp_path / "feats").glob("shard-*"))
    assert written == pytest.approx(size, rel=0.05)


def test_too_little_disk_space_is_reported_before_extraction(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SoctkError, match=r"not enough disk space: 0.00 h of audio, .* but only 1 kB are free\nFree"):
        extract.extract(corpus, tmp_path / "feats", FBANK)
    assert not list((tmp_path / "feats").glob("shard-*"))


def test_an_upstream_is_compared_with_its_file_in_conf(tmp_path, corpus):
    known = UpstreamConfig(source="s3prl:fbank", layers=0, hidden_size=240, frame_shift_ms=10)
    extract.extract(corpus, tmp_path / "feats", Extraction("our_fbank", known=known))
    assert json.loads((tmp_path / "feats" / "store.json").read_text())["upstream"] == "our_fbank"
    wrong = known.model_copy(update={"layers": 12, "frame_shift_ms": 20})
    with pytest.raises(SoctkError, match="s3prl:fbank has layers 0, not 12, frame_shift_ms 10, not 20\nCorrect"):
        extract.extract(corpus, tmp_path / "other", Extraction("our_fbank", known=wrong))


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (46_080_000, "46.1 MB"), (999_999_999, "1 GB"), (2.5e12, "2.5 TB")],
)
def test_sizes_are_written_with_units(size, text):
    assert disk_space.format_size(size) == text
