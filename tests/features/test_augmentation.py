"""Augmented copies: what they depend on, and how they are stored."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from soctk.corpus import audio, level
from soctk.corpus.datadir import DataDir
from soctk.corpus.disturbance import VOICES
from soctk.errors import SoctkError
from soctk.features import augmentation, babble, extract, upstream
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


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "babble"])
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


def test_babble_is_the_sum_of_equally_loud_voices_at_a_ratio_within_its_range():
    waveform = speech_like()
    voices = [(0.001 * np.sin(hertz * np.arange(5000) * 2 * np.pi / RATE)).astype(np.float32) for hertz in (480, 960)]
    voices[1] *= 5000
    for number in range(10):
        added = augment(waveform, RATE, "babble", f"utt{number}", voices) - waveform
        low, high = augmentation.SNR
        assert low - 0.1 < 20 * np.log10(level.rms(waveform) / level.rms(added)) < high + 0.1
        power = np.abs(np.fft.rfft(added * np.hanning(RATE))) ** 2
        assert power[475:486].sum() == pytest.approx(power[955:966].sum(), rel=0.1)
        assert power[475:486].sum() + power[955:966].sum() > 0.95 * power.sum()


def groups(**divisions) -> DataDir:
    speaker = {utt: utt[0] for utt in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")}
    return DataDir(wav={}, speaker=speaker, emotion={}, seconds={}, emotions=(), gender={}, **divisions)


@pytest.mark.parametrize(
    ("divisions", "of_a1"),
    [
        ({"fold": {"a": 1, "b": 1, "c": 2}}, {"a2", "a3", "a4"}),
        ({"fold": {}, "utterance_fold": {"a1": 1, "a2": 1, "a3": 2, "a4": 2, "b1": 1, "b2": 2, "c1": 1}}, {"a2"}),
        ({"fold": {}, "split": {"a1": "train", "a2": "test", "a3": "test", "a4": "train"}}, {"a4"}),
    ],
    ids=["folds", "folds of utterances", "partition"],
)
def test_babble_is_of_the_same_speaker_in_the_same_part(divisions, of_a1):
    chosen = babble.choose_voices(groups(**divisions), seed=1)
    assert sorted(chosen["a1"]) == sorted(of_a1)
    assert chosen["c1"] == ["c1"]  # without others, the utterance itself


def test_voices_are_a_random_choice_that_the_order_of_the_utterances_does_not_change():
    speaker = {f"a{i:02}": "a" for i in range(30)}
    data = dataclasses.replace(groups(fold={"a": 1}), speaker=speaker)
    chosen = babble.choose_voices(data, seed=1)
    assert all(len(set(voices)) == VOICES and utt not in voices for utt, voices in chosen.items())
    assert len({tuple(voices) for voices in chosen.values()}) == 30
    backwards = dataclasses.replace(data, speaker=dict(reversed(speaker.items())))
    assert babble.choose_voices(backwards, seed=1) == chosen
    assert babble.choose_voices(data, seed=2) != chosen


def test_babble_is_extracted_again_if_a_voice_has_changed(tmp_path, corpus):
    settings = Extraction("fbank", augmentations=("babble",))
    extract.extract(corpus, tmp_path / "feats", settings)
    before = FeatureStore.open(tmp_path / "feats")
    frames_before = {utt: before.load([f"{utt}-aug-babble"]) for utt in corpus.utterances}
    first, *others = [utt for utt in corpus.utterances if corpus.speaker[utt] == "spk0"]
    samples, rate = soundfile.read(corpus.wav[first])
    soundfile.write(corpus.wav[first], samples[::-1], rate)
    extract.extract(corpus, tmp_path / "feats", settings)
    after = FeatureStore.open(tmp_path / "feats")
    changed = {utt for utt, old in frames_before.items() if not torch.equal(old, after.load([f"{utt}-aug-babble"]))}
    assert changed == {first, *others}  # each of them has the other five as its babble


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
