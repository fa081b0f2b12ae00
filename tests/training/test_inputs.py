import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soctk.features.store import FeatureStore
from soctk.training.inputs import Frames, StreamedFrames

SETTINGS = {"upstream": "test", "layers": [3], "hidden_size": 4, "dtype": "float16", "versions": {"torch": "1"}}


def frames_of(*lengths: int, layers: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"utt{i}": torch.randn(layers, t, 4, generator=generator).half() for i, t in enumerate(lengths)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_a_batch_is_utterances_one_after_the_other(lengths, data):
    tensors = [tensor.transpose(0, 1) for tensor in frames_of(*lengths, layers=2).values()]
    frames = Frames(torch.cat(tensors), lengths)
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5))
    batch, batch_lengths = frames.batch(indices)
    assert batch.dtype == torch.float32
    assert batch_lengths.tolist() == [lengths[i] for i in indices]
    torch.testing.assert_close(batch, torch.cat([tensors[i] for i in indices]).float(), rtol=0, atol=0)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_streamed_frames_equal_those_held_in_memory(tmp_path, layer_norm):
    store = FeatureStore.create(tmp_path / "store", SETTINGS)
    store.write_shard(frames_of(5, 2, 7), dict.fromkeys(("utt0", "utt1", "utt2"), "digest"))
    store.finish()
    store = FeatureStore.open(tmp_path / "store")
    utterances = ["utt2", "utt0", "utt1"]
    held = Frames.of(store, utterances)
    held = held.layer_normalised() if layer_norm else held
    streamed = StreamedFrames(store, utterances, [3], layer_norm)
    assert streamed.lengths == held.lengths
    for one, other in zip(streamed.batch([2, 0]), held.batch([2, 0]), strict=True):
        assert torch.equal(one, other)


def test_layer_norm_takes_out_each_frames_mean_and_scale():
    frames = torch.randn(7, 2, 6)
    normalised = Frames(frames, [4, 3]).layer_normalised().block
    torch.testing.assert_close(normalised.mean(-1), torch.zeros(7, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalised.var(-1, correction=0), torch.ones(7, 2), atol=1e-3, rtol=0)
    scaled = frames * torch.rand(7, 2, 1).add(0.5) + torch.randn(7, 2, 1)
    torch.testing.assert_close(Frames(scaled, [4, 3]).layer_normalised().block, normalised, atol=1e-3, rtol=1e-3)
