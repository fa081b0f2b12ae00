"""The conditions of soctk-robustness do to recordings what their names say, with fixed random numbers."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import disturbance
from soctk.corpus.disturbance import KINDS, VOICES, Condition, Sounds, of_folder, parse
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError

RATE = 16000
SPEECH = (0.1 * np.random.default_rng(0).normal(size=3 * RATE)).astype(np.float32)
SOUNDS = Sounds({}, {})


def level(samples) -> float:
    """The level in dB, in float64."""
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


@pytest.fixture
def fold(tmp_path):
    """A fold of 4 speakers with 3 utterances each; utterance i is a tone of 250 + 100 i Hz, at its own level."""
    clips = {}
    for i in range(12):
        tone = 0.002 * 1.6**i * np.sin(2 * np.pi * (250 + 100 * i) * np.arange(RATE // 2) / RATE)
        clips[f"s{i // 3}-{i}"] = Clip(tmp_path / f"{i}.wav")
        soundfile.write(tmp_path / f"{i}.wav", tone, RATE)
    return Sounds(clips, {utt: utt[:2] for utt in clips})


def frequencies(samples) -> set[int]:
    """The frequencies of strong tones, in units of 100 Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    bands = spectrum[: round(2000 * len(samples) / RATE)].reshape(20, -1).max(1)
    return set(np.flatnonzero(bands > 0.2 * bands.max()).tolist())


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
@pytest.mark.parametrize("snr", [20, 0, -5])
def test_noise_has_the_ratio_of_its_name(fold, kind, snr):
    disturbed = Condition(kind, snr).apply(SPEECH, RATE, "s0-0", fold)
    assert level(SPEECH) - level(disturbed - SPEECH) == pytest.approx(snr, abs=0.01)


def test_an_utterance_has_the_same_noise_at_each_ratio_and_each_utterance_its_own(fold):
    noise = {
        (snr, utt): Condition("white", snr).apply(SPEECH, RATE, utt, fold) - SPEECH
        for snr in (10, 0)
        for utt in ("s0-0", "s0-1")
    }
    np.testing.assert_allclose(noise[0, "s0-0"] / np.sqrt(10), noise[10, "s0-0"], atol=1e-6)
    assert abs(np.corrcoef(noise[0, "s0-0"], noise[0, "s0-1"])[0, 1]) < 0.03


@given(st.sampled_from([condition for condition in parse("", False) if condition.kind != "babble"]))
def test_the_same_condition_gives_the_same_bits_and_a_waveform_of_its_length(condition):
    first, second = (condition.apply(SPEECH, RATE, "utt", SOUNDS) for _ in range(2))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)
    assert len(first) == (condition.value * RATE if condition.kind == "cut" else len(SPEECH))
    assert np.array_equal(first, SPEECH) == (condition.kind == "clean")


def test_gain_clips_at_full_scale_and_cut_keeps_the_middle():
    loud = Condition("gain", 12).apply(SPEECH, RATE, "utt", SOUNDS)
    np.testing.assert_allclose(loud, np.clip(SPEECH * 10**0.6, -1, 1), rtol=1e-5)
    assert np.abs(loud).max() == 1
    np.testing.assert_array_equal(Condition("cut", 1).apply(SPEECH, RATE, "utt", SOUNDS), SPEECH[RATE : 2 * RATE])
    np.testing.assert_array_equal(Condition("cut", 5).apply(SPEECH, RATE, "utt", SOUNDS), SPEECH)


def test_babble_is_the_sum_of_other_speakers_at_equal_levels_and_never_of_the_utterance(fold):
    own = {2, 3, 4}
    for utt in ("s0-0", "s0-1"):
        rng = np.random.default_rng(1)
        voices = frequencies(fold.babble(utt, RATE // 2, RATE, rng))
        assert len(voices) == VOICES
        assert not voices & own


def test_babble_takes_other_recordings_of_the_speaker_where_there_are_no_other_speakers(fold):
    alone = Sounds({utt: clip for utt, clip in fold.clips.items() if utt.startswith("s1")}, fold.speaker)
    assert frequencies(alone.babble("s1-4", RATE // 2, RATE, np.random.default_rng(0))) == {5, 7}
    single = Sounds({"s1-4": fold.clips["s1-4"]}, fold.speaker)
    with pytest.raises(SoctkError, match="s1-4 is the only test utterance of its fold, so there are no others"):
        single.babble("s1-4", RATE, RATE, np.random.default_rng(0))


def test_noise_recordings_give_a_part_of_one_of_them_as_long_as_the_utterance(tmp_path):
    (tmp_path / "more").mkdir()
    stereo = np.stack([np.arange(RATE) / RATE, np.zeros(RATE)], axis=1)
    soundfile.write(tmp_path / "more" / "ramp.wav", stereo, RATE, subtype="FLOAT")
    noises = disturbance.read_noises(tmp_path)
    sounds = Sounds({}, {}, noises=noises)
    starts = []
    for seed in range(5):
        part = sounds.noise(RATE // 4, RATE, np.random.default_rng(seed))
        assert len(part) == RATE // 4
        np.testing.assert_allclose(np.diff(part), 0.5 / RATE, atol=1e-6)  # the mean of both channels
        starts.append(part[0])
    assert len(set(starts)) == 5
    assert len(sounds.noise(2 * RATE, RATE, np.random.default_rng(0))) == RATE
    disturbed = Condition("noise", 5).apply(SPEECH, RATE, "utt", sounds)
    assert level(SPEECH) - level(disturbed - SPEECH) == pytest.approx(5, abs=0.01)


def test_the_digest_of_noise_recordings_follows_their_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", SPEECH, RATE)
    first = disturbance.digest(disturbance.read_noises(tmp_path))
    (tmp_path / "a.wav").rename(tmp_path / "b.wav")
    assert disturbance.digest(disturbance.read_noises(tmp_path)) == first
    soundfile.write(tmp_path / "b.wav", SPEECH[:-1], RATE)
    assert disturbance.digest(disturbance.read_noises(tmp_path)) != first


def test_noise_recordings_that_are_none_are_refused(tmp_path):
    with pytest.raises(SoctkError, match=r"no recordings .*\nGive a folder with recordings of noise"):
        disturbance.read_noises(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(SoctkError, match="silent, so it is no noise"):
        disturbance.read_noises(tmp_path)


def test_names_choose_conditions_in_the_order_of_tables_and_clean_is_always_there():
    chosen = parse("telephone, white:10 cut white:-3", False)
    assert [condition.name for condition in chosen] == ["clean", "white:10", "white:-3", "telephone", "cut:2", "cut:1"]
    assert [condition.title for condition in parse("gain mp3", False)][1:] == [
        "mp3 32 kb/s",
        "gain +12 dB",
        "gain −12 dB",
    ]
    assert {condition.kind for condition in parse("", True)} == set(KINDS)
    assert {condition.kind for condition in parse("", False)} == set(KINDS) - {"noise"}


@given(st.sampled_from([kind for kind in KINDS if KINDS[kind].values]), st.floats(8, 10))
def test_the_name_of_its_folder_gives_the_condition(kind, value):
    (_, condition) = parse(f"{kind}:{value:.3f}", True)
    assert of_folder(condition.folder) == condition


def test_other_folders_are_no_conditions():
    assert of_folder("white") is None
    assert of_folder("fold1") is None
    assert of_folder("white_10 pink_5") is None
    assert of_folder("telephone") == Condition("telephone")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whit:10", "--conditions: unknown condition 'whit'\nDid you mean 'white'?"),
        ("white:loud", "--conditions: the value of 'white:loud' is no number from -40 to 80\nWrite the value in dB "),
        (
            "mp3:4",
            "the value of 'mp3:4' is no number from 8 to 320\nWrite the value in kb/s after the colon, such as mp3:32",
        ),
        ("white:nan", "the value of 'white:nan' is no number"),
        ("telephone:1", "'telephone:1' has a value, and this condition has none\nLeave out the value."),
        ("noise:10", "--conditions: noise needs recordings\nGive a folder with some: --noise DIR."),
    ],
)
def test_wrong_conditions_are_one_message(text, message):
    with pytest.raises(SoctkError) as error:
        parse(text, False)
    assert message in str(error.value)
