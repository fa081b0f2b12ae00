import re
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soctk import config, pooling, progress
from soctk.errors import SoctkError
from soctk.features.store import FeatureStore
from soctk.training import blocks
from soctk.training.blocks import describe
from soctk.training.frames import Frames, StreamedFrames
from soctk.training.inputs import Features

SETTINGS = {"upstream": "test", "layers": [3], "hidden_size": 4, "dtype": "float16", "versions": {"torch": "1"}}


def random_frames(*lengths: int, layers: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"utt{i}": torch.randn(layers, t, 4, generator=generator).half() for i, t in enumerate(lengths)}


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    """A store of three utterances with 5, 2 and 7 frames, of 4 features each."""
    store = FeatureStore.create(tmp_path / "store", SETTINGS)
    store.write_shard(random_frames(5, 2, 7), dict.fromkeys(("utt0", "utt1", "utt2"), "digest"))
    store.finish()
    return FeatureStore.open(tmp_path / "store")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_a_batch_concatenates_its_utterances_in_order(lengths, data):
    tensors = [tensor.transpose(0, 1) for tensor in random_frames(*lengths, layers=2).values()]
    frames = Frames(torch.cat(tensors), lengths)
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5))
    batch, batch_lengths = frames.batch(indices)
    assert batch.dtype == torch.float32
    assert batch_lengths.tolist() == [lengths[i] for i in indices]
    torch.testing.assert_close(batch, torch.cat([tensors[i] for i in indices]).float(), rtol=0, atol=0)


@pytest.mark.parametrize("layer_norm", [True, False, "utterance"])
def test_streamed_frames_equal_frames_in_memory(store, layer_norm):
    utterances = ["utt2", "utt0", "utt1"]
    in_memory = Frames.of(store, utterances)
    in_memory = in_memory.layer_normalised(layer_norm)
    streamed = StreamedFrames(store, utterances, [3], layer_norm)
    assert streamed.lengths == in_memory.lengths
    for one, other in zip(streamed.batch([2, 0]), in_memory.batch([2, 0]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("value", [torch.nan, -torch.inf, 1e25])
@pytest.mark.parametrize("max_bytes", [0, 1e9])
def test_an_utterance_with_nan_or_infinite_features_is_named(tmp_path, conf, value, max_bytes):
    frames = random_frames(5, 2, 7)
    dtype = "float32" if value == 1e25 else "float16"
    frames = {utt: rows.to(getattr(torch, dtype)) for utt, rows in frames.items()}
    frames["utt1"][0, 1, 2] = value
    store = FeatureStore.create(tmp_path / "store", {**SETTINGS, "dtype": dtype})
    store.write_shard(frames, dict.fromkeys(frames, "digest"))
    store.finish()
    features = Features(FeatureStore.open(tmp_path / "store"), list(frames), max_bytes=max_bytes)
    with pytest.raises(
        SoctkError, match=r"1 utterance has features that are NaN, infinite or larger than 1e\+12, such as utt1"
    ):
        features.frames(config.load(conf, "mean"), [3]).batch([0, 1, 2])


def test_layer_norm_removes_mean_and_scale_of_each_frame():
    frames = torch.randn(7, 2, 6)
    normalised = Frames(frames, [4, 3]).layer_normalised().block
    torch.testing.assert_close(normalised.mean(-1), torch.zeros(7, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalised.var(-1, correction=0), torch.ones(7, 2), atol=1e-3, rtol=0)
    scaled = frames * torch.rand(7, 2, 1).add(0.5) + torch.randn(7, 2, 1)
    torch.testing.assert_close(Frames(scaled, [4, 3]).layer_normalised().block, normalised, atol=1e-3, rtol=1e-3)


def test_layer_norm_of_an_utterance_is_over_all_its_frames_and_features():
    """Each hidden state of an utterance has mean 0 and variance 1; its frames keep their differences."""
    frames = torch.randn(7, 2, 6) * 3 + torch.arange(7).view(7, 1, 1)
    normalised = Frames(frames, [4, 3]).layer_normalised("utterance").block
    for rows, own in ((slice(0, 4), frames[:4]), (slice(4, 7), frames[4:])):
        mean = own.double().mean((0, 2), keepdim=True)
        sd = own.double().var((0, 2), correction=0, keepdim=True).sqrt()
        torch.testing.assert_close(normalised[rows].double(), (own - mean) / sd, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc/meminfo on this system")
def test_max_bytes_is_half_of_the_memory_by_default(store):
    (kilobytes,) = re.findall(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    assert Features(store, ["utt0"]).max_bytes == pytest.approx(1024 * int(kilobytes) / 2, rel=0.01)


def test_frames_beyond_max_bytes_are_streamed(store, conf):
    utterances = ["utt0", "utt1", "utt2"]
    in_float32 = 4 * (5 + 2 + 7) * 4
    settings = config.load(conf, "mean")
    assert isinstance(Features(store, utterances, max_bytes=in_float32).frames(settings, [3]), Frames)
    streamed = Features(store, utterances, max_bytes=in_float32 - 1).frames(settings, [3])
    assert isinstance(streamed, StreamedFrames)
    blocks = [
        Features(store, utterances, max_bytes=limit).blocks(settings)[3, "mean"].descriptors
        for limit in (in_float32, 0)
    ]
    assert (blocks[0] == blocks[1]).all()


@pytest.mark.parametrize("nj", [1, 3])
def test_descriptors_are_in_the_order_of_the_utterances(nj, monkeypatch):
    monkeypatch.setattr(blocks, "_BATCH", 2)
    utterances = [tensor.transpose(0, 1) for tensor in random_frames(7, 2, 9, 4, 3).values()]
    mean = pooling.create("mean", 4, {"mean": {}})
    frames = Frames(torch.cat(utterances), [len(rows) for rows in utterances])
    described = describe(lambda rows, lengths: mean.pool_concatenated(rows[:, 0], lengths), frames, nj)
    expected = torch.stack([rows[:, 0].float().mean(0) for rows in utterances])
    torch.testing.assert_close(described, expected)


def test_reading_and_pooling_report_their_progress(store, conf, monkeypatch):
    """The descriptions of steps, in order; a step or a bar inside another one would come between its begin and end."""
    told = []

    @contextmanager
    def step(description):
        told.append(description)
        yield
        told.append("end")

    def track(items, description, unit, total):
        told.append(f"{description} {total} {unit}")
        return items

    monkeypatch.setattr(progress, "step", step)
    monkeypatch.setattr(progress, "track", track)
    Features(store, ["utt0", "utt1", "utt2"]).blocks(config.load(conf, "mean+soc_full", "linear"))
    one = ["pool 1 batch", "inner products of descriptors", "end"]
    assert told == ["read features", "end", *one, *one]
