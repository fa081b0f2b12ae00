"""Changes of training utterances, rows of recordings, batches, and label smoothing."""

import numpy as np
import pytest
import torch
from conftest import with_segments
from encoders import options, tuned, write_encoder
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from soctk.corpus import audio
from soctk.features.extract import Extraction
from soctk.finetuning.augmentation import Augmenter
from soctk.finetuning.encoder import load
from soctk.finetuning.inputs import LayerInputs
from soctk.finetuning.model import smoothed
from soctk.finetuning.recordings import Recordings, Waveforms
from soctk.finetuning.trainer import _is_over


def augmenter(*overrides: str, epoch: int = 1, seed: int = 1, speeds: int = 3) -> Augmenter:
    return Augmenter(options("lora", *(f"finetune.{each}" for each in overrides)), speeds, seed, epoch)


@pytest.fixture
def waveform() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


def test_seed_epoch_and_utterance_determine_the_changes(waveform):
    overrides = ("noise=1", "gain=6", "time_masks=2", "channel_masks=2")
    frames = torch.randn(50, 24, generator=torch.Generator().manual_seed(0))

    def changed(utterance="a", **which):
        one = augmenter(*overrides, **which)
        return one.waveform(waveform, utterance), one.mask(frames, utterance).numpy()

    for ours, again in zip(changed(), changed(), strict=True):
        assert np.array_equal(ours, again)
    for other in (changed("b"), changed(epoch=2), changed(seed=2)):
        assert not any(np.array_equal(ours, theirs) for ours, theirs in zip(changed(), other, strict=True))


def test_the_noise_has_a_ratio_in_the_range(waveform):
    ratios = []
    for utterance in map(str, range(40)):
        noisy = augmenter("noise=1", "snr=[3, 9]").waveform(waveform, utterance)
        ratios.append(10 * np.log10(np.square(waveform).sum() / np.square(noisy - waveform).sum()))
    assert 3 <= min(ratios) < 4.5
    assert 7.5 < max(ratios) <= 9.01


def test_the_share_of_utterances_with_noise(waveform):
    noisy = [augmenter("noise=0.3").waveform(waveform, str(i)) is not None for i in range(300)]
    assert 0.2 < np.mean(noisy) < 0.4
    assert augmenter().waveform(waveform, "a") is None
    assert not augmenter().changes_waveforms


def test_the_level_changes_by_at_most_the_gain(waveform):
    levels = [np.abs(augmenter("gain=6").waveform(waveform, str(i))).max() / np.abs(waveform).max() for i in range(60)]
    decibels = 20 * np.log10(levels)
    assert -6.01 <= decibels.min() < -4
    assert 4 < decibels.max() <= 6.01


@given(st.integers(1, 80), st.integers(1, 30), st.integers(0, 3), st.integers(0, 3), st.integers(0, 99))
def test_masked_spans_have_the_mean_over_time_and_the_rest_is_unchanged(length, width, times, channels, seed):
    frames = torch.randn(length, width, generator=torch.Generator().manual_seed(seed))
    one = augmenter(f"time_masks={times}", f"channel_masks={channels}", "time_mask=0.2", "channel_mask=0.3", seed=seed)
    masked = one.mask(frames, "a")
    differs = masked != frames
    mean = frames.mean(0, keepdim=True).expand_as(frames)
    assert torch.equal(masked[differs], mean[differs])
    rows, columns = differs.all(1).sum(), differs.all(0).sum()
    assert rows <= times * 0.2 * length or columns == width
    assert columns <= channels * 0.3 * width or rows == length


def test_each_speed_is_drawn(waveform):
    counts = np.bincount([augmenter().speed(str(i)) for i in range(300)], minlength=3)
    assert counts.min() > 70
    assert {augmenter(speeds=1).speed(str(i)) for i in range(20)} == {0}


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoders") / "whisper", "whisper")


def test_rows_are_in_the_order_of_the_corpus_also_with_segments(tmp_path, corpus, whisper):
    cut = with_segments(tmp_path, corpus)
    extraction = Extraction(str(whisper), (1,), "float32", speeds=(0.9,))
    recordings = Recordings(cut, extraction, load(extraction))
    count = len(cut.utterances)
    assert [each.id for each in recordings.utterances[:count]] == cut.utterances
    assert [each.id for each in recordings.utterances[count:]] == [f"{utt}-sp0.9" for utt in cut.utterances]
    rows = Waveforms(recordings.utterances, 16000, "1", "none")
    rows.read(2)
    for row in (0, 7, count + 7):
        utterance = cut.utterances[row % count]
        expected = audio.load(cut.clip(utterance), 16000, speed=1 if row < count else 0.9)
        np.testing.assert_array_equal(rows[row], expected)
        unread = Waveforms(recordings.utterances, 16000, "1", "none")
        np.testing.assert_array_equal(unread[row], expected)


def test_a_frozen_front_end_computes_each_row_once(corpus, whisper, monkeypatch):
    extraction = Extraction(str(whisper), (1,))
    recordings = Recordings(corpus, extraction, load(extraction))
    inputs = LayerInputs(Waveforms(recordings.utterances, 16000, "1", "none"), "cpu")
    encoder, calls = tuned(whisper, "lora"), []
    front_end = encoder.front_end
    monkeypatch.setattr(encoder, "front_end", lambda waveforms: calls.extend(waveforms) or front_end(waveforms))
    first, again = (inputs.clean(encoder, [0, 3]) for _ in range(2))
    assert len(calls) == 2
    assert all(one is other for one, other in zip(first, again, strict=True))
    inputs.augmented(encoder, [0, 3], augmenter("noise=1", speeds=1))
    assert len(calls) == 4
    inputs._room = 0
    assert torch.equal(inputs.clean(encoder, [5])[0], inputs.clean(encoder, [5])[0])
    assert len(calls) == 6  # without room, row 5 is computed twice


def test_processes_divide_the_room_of_the_machine(monkeypatch):
    monkeypatch.setattr("soctk.finetuning.inputs.half_of_memory", lambda: 800)
    one, four = (LayerInputs(None, "cpu", processes) for processes in (1, 4))
    assert [one._take_room(size) for size in (400, 1)] == [True, False]
    assert [four._take_room(size) for size in (100, 1)] == [True, False]


@pytest.mark.parametrize(("tune", "dtype"), [("lora", torch.float32), ("all", torch.bfloat16)])
def test_noisy_inputs_of_a_frozen_front_end_are_float32_like_clean_ones(corpus, whisper, tune, dtype):
    recordings = Recordings(corpus, Extraction(str(whisper), (1,)), load(Extraction(str(whisper), (1,))))
    inputs, encoder = LayerInputs(Waveforms(recordings.utterances, 16000, "1", "none"), "cpu"), tuned(whisper, tune)
    convolved = []
    encoder._upstream.model.conv2.register_forward_hook(lambda _, __, output: convolved.append(output.dtype))
    rows, half = list(range(8)), augmenter("noise=0.5", speeds=1)
    names = [recordings.utterances[row].name for row in rows]
    noisy = [half.waveform(inputs.waveforms[row], name) is not None for row, name in zip(rows, names, strict=True)]
    assert len(set(noisy)) == 2  # both kinds are in the batch
    with torch.autocast("cpu", torch.bfloat16):
        frames = inputs.augmented(encoder, rows, half)
    assert set(convolved) == {dtype}
    assert all(one.requires_grad == (tune == "all") for one in frames)
    if tune == "lora":
        assert {one.dtype for one in frames} == {torch.float32}


def test_training_ends_after_epochs_without_a_lower_loss():
    records = [{"valid_loss": loss} for loss in (3.0, 2.0, 2.5, 2.0, 2.1)]
    assert [_is_over(records[:count], 3) for count in range(6)] == [False] * 5 + [True]


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_label_smoothing_equals_that_of_torch(share):
    outputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    config = options("lora", f"finetune.label_smoothing={share}")
    ours = smoothed(cross_entropy(outputs, labels), outputs, config)
    torch.testing.assert_close(ours, cross_entropy(outputs, labels, label_smoothing=share))
