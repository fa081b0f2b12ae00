"""Augmented copies: what they depend on, and how they are stored."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from soctk.corpus import audio, level
from soctk.errors import SoctkError
from soctk.features import augmentation, extract, upstream
from soctk.features.augmentation import augment
from soctk.features.extract import Extraction
from soctk.features.store import FeatureStore
from soctk.schema import AUGMENTATIONS

RATE = 16000
FBANK = Extraction("fbank", augmentations=("noise", "gain"))


def speech_like(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return noise with the envelope of syllables."""
    time = np.arange(round(RATE * seconds)) / RATE
    return (0.1 * np.random.default_rng(seed).normal(size=len(time)) * np.sin(9 * time) ** 2).astype(np.float32)


def frames(store: FeatureStore, suffix: str, utterances) -> torch.Tensor:
    return store.load([utt + suffix for utt in utterances])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_copy_depends_on_the_recording_and_the_id_of_the_utterance_alone(name):
    waveform = speech_like()
    copies = {utt: augment(waveform, RATE, name, utt) for utt in "abcdefgh"}
    for copy in copies.values():
        assert copy.shape == waveform.shape and copy.dtype == np.float32
        assert np.isfinite(copy).all()
        assert np.abs(copy - waveform).max() > 1e-3
    assert max(np.abs(copy - copies["a"]).max() for copy in copies.values()) > 1e-4
    np.testing.assert_array_equal(augment(waveform, RATE, name, "b"), copies["b"])


def test_noise_has_a_ratio_within_its_range_and_comes_in_all_kinds():
    waveform = speech_like()
    ratios, slopes = [], []
    for number in range(60):
        added = augment(waveform, RATE, "noise", f"utt{number}") - waveform
        ratios.append(20 * np.log10(level.rms(waveform) / level.rms(added)))
        power = np.abs(np.fft.rfft(added)) ** 2
        slopes.append(power[100:1000].mean() / power[4000:].mean())  # 1 for white noise, much more for pink noise
    low, high = augmentation.SNR
    assert low - 0.1 < min(ratios) < low + 2 and high - 2 < max(ratios) < high + 0.1
    white, pink = (np.isclose(slopes, 1, rtol=0.2), np.array(slopes) > 5)
    assert min(white.sum(), pink.sum()) > 8


def test_names_and_seed_are_recorded_and_copies_are_those_of_the_waveform(tmp_path, corpus):
    assert extract.extract(corpus, tmp_path / "feats", FBANK).utterances == 3 * 36
    settings = json.loads((tmp_path / "feats" / "store.json").read_text())
    assert (settings["augmentations"], settings["augmentation_seed"]) == (["noise", "gain"], augmentation.SEED)
    store, encoder = FeatureStore.open(tmp_path / "feats"), upstream.load("fbank")
    for utt in corpus.utterances[:4]:
        waveform = audio.load(corpus.wav[utt], RATE)
        for name in ("noise", "gain"):
            (expected,) = encoder.hidden_states([augment(waveform, RATE, name, utt)], [0])
            torch.testing.assert_close(store.load([f"{utt}-aug-{name}"])[:, 0], expected[0].half(), rtol=0, atol=0)
    with pytest.raises(SoctkError, match=r"other settings\n  augmentation_seed: 1 stored, None requested"):
        extract.extract(corpus, tmp_path / "feats", Extraction("fbank"))


def test_copies_do_not_depend_on_shards_processes_and_other_utterances(tmp_path, corpus, monkeypatch):
    extract.extract(corpus, tmp_path / "one", FBANK)
    half = corpus.only(set(corpus.utterances[::2]))
    monkeypatch.setattr(extract, "SHARD_SECONDS", 1.0)
    extract.extract(half, tmp_path / "two", dataclasses.replace(FBANK, augmentations=("gain", "noise")), nj=2)
    one, two = (FeatureStore.open(tmp_path / name) for name in ("one", "two"))
    for suffix in ("", "-aug-noise", "-aug-gain"):
        assert torch.equal(frames(one, suffix, half.utterances), frames(two, suffix, half.utterances))


def test_an_extraction_goes_on_with_the_copies_that_are_missing(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(extract, "SHARD_SECONDS", 2.0)
    extract.extract(corpus, tmp_path / "feats", FBANK)
    before = frames(FeatureStore.open(tmp_path / "feats"), "-aug-noise", corpus.utterances)
    for shard in list((tmp_path / "feats").glob("shard-*"))[::2]:
        shard.unlink()
    assert 0 < extract.extract(corpus, tmp_path / "feats", FBANK).utterances < 3 * 36
    assert torch.equal(frames(FeatureStore.open(tmp_path / "feats"), "-aug-noise", corpus.utterances), before)


def test_an_utterance_with_the_id_of_an_augmented_copy_is_refused(tmp_path, corpus):
    first, second, *_ = corpus.utterances
    names = {utt: f"{first}-aug-noise" if utt == second else utt for utt in corpus.utterances}
    columns = ("wav", "speaker", "emotion", "seconds")
    renamed = dataclasses.replace(
        corpus, **{column: {names[utt]: value for utt, value in getattr(corpus, column).items()} for column in columns}
    )
    with pytest.raises(SoctkError, match=rf"--augment: these utterances have the ids of copies\n  {first}-aug-noise\n"):
        extract.extract(renamed, tmp_path / "feats", FBANK)


def test_at_one_level_the_frames_are_those_of_the_scaled_waveforms(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, speeds=(0.9,), normalise="level"))
    store, encoder = FeatureStore.open(tmp_path / "feats"), upstream.load("fbank")
    assert store.settings["normalise"] == "level"
    for utt in corpus.utterances[:3]:
        waveform = audio.load(corpus.wav[utt], RATE)
        slow, noisy = audio.load(corpus.wav[utt], RATE, 0.9), augment(waveform, RATE, "noise", utt)
        for suffix, heard in (("", waveform), ("-sp0.9", slow), ("-aug-noise", noisy)):
            scaled = level.at_level(heard, 10 ** (-26 / 20))
            (expected,) = encoder.hidden_states([scaled], [0])
            torch.testing.assert_close(store.load([utt + suffix])[:, 0], expected[0].half(), rtol=0, atol=0)
    with pytest.raises(SoctkError, match=r"normalise: level stored, None requested"):
        extract.extract(corpus, tmp_path / "feats", dataclasses.replace(FBANK, speeds=(0.9,)))
