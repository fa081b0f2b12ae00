"""Windows cover a recording, and each has the answer of its samples alone."""

import math
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_models import RATE, assert_same, noise, random_model
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk.corpus import audio, decoding
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError
from soctk.inference import answers
from soctk.inference.answers import Division
from soctk.inference.windows import Cutter, batches, cut


@pytest.fixture(scope="module")
def model():
    return random_model("mean+soc_full")


def expected_bounds(total: int, rate: int, window: float, hop: float, shortest: float) -> list[tuple[int, int]]:
    """Return the first and the last sample plus one of each window, from a list of all starts."""
    starts = [round(k * hop * rate) for k in range(math.ceil(total / (hop * rate)) + 1)]
    starts = [start for start in starts if start == 0 or start + math.ceil(shortest * rate) <= total]
    length = round(window * rate)
    whole = [start for start in starts if start + length < total]
    starts = starts[: len(whole) + 1]
    return [*((start, start + length) for start in starts[:-1]), (starts[-1], total)]


@given(
    rate=st.sampled_from([1000, 8000, 11025]),
    seconds=st.floats(0.06, 3),
    window=st.floats(0.06, 2),
    share=st.floats(0.05, 1),
    shortest=st.sampled_from([0.05, 0.055]),
    piece=st.integers(1, 20000),
)
def test_windows_have_the_right_bounds_whatever_the_pieces(rate, seconds, window, share, shortest, piece):
    sound = np.arange(1, round(seconds * rate) + 1, dtype=np.float32)
    pieces = [sound[start : start + piece] for start in range(0, len(sound), max(piece, rate // 50))]
    sound = np.concatenate(pieces)
    if len(sound) < shortest * rate:
        return
    cutter = Cutter(rate, window, share * window, shortest)
    parts = [(round(start * rate), samples) for start, samples in cut(pieces, cutter)]
    assert [(start, start + len(samples)) for start, samples in parts] == expected_bounds(
        len(sound), rate, window, share * window, shortest
    )
    for start, samples in parts:
        np.testing.assert_array_equal(samples, sound[start : start + len(samples)])


@pytest.mark.parametrize(
    ("seconds", "window", "hop", "bounds"),
    [
        (3.0, 3.0, 1.0, [(0, 3)]),
        (2.0, 3.0, 1.0, [(0, 2)]),
        (3.5, 3.0, 1.0, [(0, 3), (1, 3.5)]),
        (5.0, 3.0, 1.0, [(0, 3), (1, 4), (2, 5)]),
        (2.0, 1.0, 1.0, [(0, 1), (1, 2)]),
        (2.04, 1.0, 1.0, [(0, 1), (1, 2.04)]),  # 40 ms are no window
        (2.06, 1.0, 1.0, [(0, 1), (1, 2), (2, 2.06)]),
    ],
)
def test_a_window_has_the_answer_of_its_samples(model, seconds, window, hop, bounds):
    (samples,) = noise(seconds)
    segments = list(model.windows(samples, RATE, window, hop))
    assert [(segment.start, segment.end) for segment in segments] == bounds
    for segment in segments:
        own = samples[round(segment.start * RATE) : round(segment.end * RATE)]
        assert segment.result.posteriors == pytest.approx(model(own, RATE).posteriors, abs=1e-5)


def test_a_part_of_a_recording_has_the_answers_of_its_samples_at_the_times_of_the_recording(model, tmp_path):
    (samples,) = noise(6.0)
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    clip, own = Clip(tmp_path / "x.wav", 1.0, 4.5), samples[RATE : round(4.5 * RATE)]
    (whole,) = answers.recording(model, "x", clip, None, Division())
    assert (whole.start, whole.end) == (1.0, 4.5)
    assert whole.result.posteriors == pytest.approx(model(own, RATE).posteriors, abs=1e-5)
    *found, total = answers.recording(model, "x", clip, None, Division(3.0, 1.0))
    assert [(each.start, each.end) for each in (*found, total)] == [(1, 4), (2, 4.5), (1, 4.5)]
    for each, segment in zip(found, model.windows(own, RATE, 3.0, 1.0), strict=True):
        assert each.result.posteriors == pytest.approx(segment.result.posteriors, abs=1e-5)


@pytest.fixture(scope="module")
def batching(tmp_path_factory):
    """A model on a small wav2vec 2.0 with random weights, which encodes several utterances at a time."""
    folder = tmp_path_factory.mktemp("encoders") / "small"
    torch.manual_seed(1)
    settings = {
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
        "conv_dim": (8, 8), "conv_stride": (10, 32), "conv_kernel": (20, 32), "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2, "feat_extract_norm": "layer",
    }  # fmt: skip
    Wav2Vec2Model(Wav2Vec2Config(**settings)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return random_model("mean+soc_full", name=str(folder), layers=[1, 2])


def test_windows_that_are_encoded_together_have_the_answers_of_their_samples(batching, monkeypatch):
    sizes, encode = [], type(batching.runtime.encoder).hidden_states

    def counting(encoder, waveforms, layers):
        sizes.append(len(waveforms))
        return encode(encoder, waveforms, layers)

    monkeypatch.setattr(type(batching.runtime.encoder), "hidden_states", counting)
    (samples,) = noise(20.5)
    segments = list(batching.windows(samples, RATE, window=3.0, hop=1.0))
    assert sizes == [8, 8, 2, 1]
    for segment in segments:
        own = samples[round(segment.start * RATE) : round(segment.end * RATE)]
        assert segment.result.posteriors == pytest.approx(batching(own, RATE).posteriors, abs=1e-5)


def test_a_batch_has_windows_of_one_length_and_at_most_24_s_of_sound():
    parts = [(float(i), np.zeros(size)) for i, size in enumerate([70, 70, 50, *[70] * 5, 300, 10])]
    assert [[size for size, _ in batch] for batch in batches(parts, 10)] == [
        [0, 1], [2], [3, 4, 5], [6, 7], [8], [9],
    ]  # fmt: skip


@pytest.mark.parametrize("error", [SoctkError("damaged", remedy="Replace it."), ValueError("too short")])
def test_the_windows_before_a_fault_are_classified(error):
    def parts():
        yield 0.0, np.zeros(10)
        yield 1.0, np.zeros(10)
        raise error

    found = batches(parts(), 10)
    assert [start for start, _ in next(found)] == [0.0, 1.0]
    with pytest.raises(type(error)):
        next(found)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.aiff", "a.mp3"])
def test_the_windows_of_a_file_are_those_of_its_samples(model, tmp_path, monkeypatch, name):
    monkeypatch.setattr(decoding, "_BLOCK", 1000)
    soundfile.write(tmp_path / name, noise(2.5, channels=2).T, RATE)
    expected = list(model.windows(audio.load_native(tmp_path / name)[0], RATE, 1.0, 0.7))
    assert_same(model.windows(tmp_path / name, window=1.0, hop=0.7), expected)
    assert_same([next(model.windows(str(tmp_path / name), window=1.0, hop=0.7))], expected[:1])


def test_the_channel_of_the_model_is_used(tmp_path):
    sound = noise(2.0, channels=2)
    soundfile.write(tmp_path / "a.wav", sound.T, RATE, subtype="FLOAT")
    for channel, own in (("1", sound[0]), ("2", sound[1]), ("mix", sound.mean(0))):
        model = random_model(channel=channel)
        segments = list(model.windows(tmp_path / "a.wav", window=1.0))
        assert_same(segments, list(model.windows(sound, RATE, window=1.0)))
        assert_same(segments, list(random_model().windows(own, RATE, window=1.0)))


def test_a_long_file_is_not_read_whole(tmp_path):
    path, count = tmp_path / "long.flac", 20 * 60 * RATE
    soundfile.write(path, np.zeros(count, dtype=np.float32), RATE)
    tracemalloc.start()
    try:
        blocks, _ = audio.load_blocks(path)
        parts = [len(samples) for _, samples in cut(blocks, Cutter(RATE, 3.0, 1.0))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parts) == 20 * 60 - 2
    assert peak < 4 * count / 2  # all samples need 4 bytes each


def test_a_fault_after_the_beginning_is_reported_after_the_answers_before_it(model, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_BLOCK", RATE)
    (samples,) = noise(4.0)
    samples[3 * RATE + 5] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    segments = model.windows(tmp_path / "nan.wav", window=1.0, hop=1.0)
    assert next(segments).result.posteriors == pytest.approx(model(samples[:RATE], RATE).posteriors, abs=1e-5)
    with pytest.raises(SoctkError, match=r"nan\.wav: NaN or infinite samples"):
        list(segments)


def test_a_damaged_file_gives_one_message(model, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_BLOCK", RATE)
    soundfile.write(tmp_path / "a.flac", noise(8.0)[0], RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[len(content) // 2 :] = b"\0" * (len(content) - len(content) // 2)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(SoctkError, match=r"a\.flac: (cannot be decoded|cut short)"):
        list(model.windows(tmp_path / "a.flac", window=1.0, hop=1.0))
    soundfile.write(tmp_path / "a.wav", noise(8.0)[0], RATE)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:50000])
    with pytest.raises(SoctkError, match=r"a\.wav: cut short"):
        model.windows(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0.01}, "window is 0.01 s; choose at least 0.05 s"),
        ({"window": math.nan}, "window is nan s"),
        ({"hop": 0}, "hop is 0 s; choose 0.01 s to 3 s, the length of the window"),
        ({"hop": 1e-6}, "hop is 1e-06 s; choose"),
        ({"hop": 4.0}, r"hop is 4 s; choose 0\.01 s to 3 s"),
    ],
)
def test_windows_that_make_no_sense_are_refused_at_once(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.windows(noise(5.0), RATE, **arguments)
    with pytest.raises(ValueError, match=message):
        model.stream(RATE, **arguments)


def test_windows_respect_the_limit_of_the_encoder(monkeypatch):
    model = random_model(speeds=(0.8, 1.25))
    monkeypatch.setattr(type(model.runtime.encoder), "max_seconds", 2.0)
    assert model.max_seconds == pytest.approx(1.6)
    with pytest.raises(ValueError, match=r"window is 1\.7 s; choose at most 1\.6 s, which is what the encoder takes"):
        model.windows(noise(5.0), RATE, window=1.7)
    with pytest.raises(ValueError, match=r"hop is 1\.6 s; choose at most 1\.5375 s with this encoder"):
        model.windows(noise(5.0), RATE, window=1.6, hop=1.6)
    with pytest.raises(SoctkError, match=r"has 2\.1 s at the speed 0\.8, .* takes 2 s\nClassify it in windows"):
        model(noise(1.7), RATE)
    with pytest.raises(SoctkError, match=r"has 48\.0 ms at the speed 1\.25, .* at least 50 ms"):
        model(noise(0.06), RATE)
    # A rest of 60 ms lasts 48 ms at the speed 1.25, so it joins the window before.
    segments = list(model.windows(noise(3.06), RATE, window=1.5, hop=1.5))
    assert [(segment.start, segment.end) for segment in segments] == [(0, 1.5), (1.5, 3.06)]
    assert next(model.windows(noise(1.6), RATE, window=1.6)).result.posteriors == pytest.approx(
        model(noise(1.6), RATE).posteriors, abs=1e-5
    )


def test_the_limit_of_whisper_is_a_message(shared):
    model = random_model(name=str(shared / "upstreams" / "whisper-tiny-en-encoder"), layers=[1])
    with pytest.raises(
        SoctkError, match=r"the recording has 31\.0 s, and the encoder takes 30 s\nClassify it in windows"
    ):
        model(noise(31.0), RATE)
    with pytest.raises(ValueError, match="window is 31 s; choose at most 30 s, which is what the encoder takes"):
        model.windows(noise(31.0), RATE, window=31.0)
    segments = list(model.windows(noise(31.0), RATE, window=30.0, hop=20.0))
    assert [(segment.start, segment.end) for segment in segments] == [(0, 30), (20, 31)]


def test_a_model_with_recentring_needs_the_speaker(model):
    recentred = random_model("mean", "linear", "recentre.by=speaker")
    speaker = recentred.enrol([noise(1.0), noise(2.0, seed=1)], RATE)
    for method in (lambda **options: recentred.windows(noise(2.0), RATE, **options), recentred.stream):
        with pytest.raises(ValueError, match="needs recordings of the speaker"):
            method(**({"sample_rate": RATE} if method == recentred.stream else {}))
    (segment,) = recentred.windows(noise(2.0), RATE, speaker=speaker)
    assert segment.result.posteriors == pytest.approx(recentred(noise(2.0), RATE, speaker).posteriors, abs=1e-5)
    with pytest.raises(ValueError, match="this speaker is from another model"):
        random_model("stats", "linear", "recentre.by=speaker")(noise(1.0), RATE, speaker)
    with pytest.raises(ValueError, match="no re-centring, so it takes no speaker"):
        model(noise(1.0), RATE, speaker)
