import dataclasses

import numpy as np
import pytest
import soundfile
from conftest import with_segments

from soctk.corpus import datadir
from soctk.corpus.doctor import check
from soctk.corpus.segments import Segment
from soctk.errors import SoctkError


def find_cases(path) -> dict[str, list[str]]:
    return {finding.what: finding.cases for finding in check(path).findings if finding.cases}


def test_a_faultless_corpus_has_no_cases(tmp_path, corpus):
    diagnosis = check(tmp_path / "data")
    assert diagnosis.summary.startswith("36 utterances")
    assert len(diagnosis.findings) > 10
    assert not [finding for finding in diagnosis.findings if finding.cases]


def test_each_fault_of_a_recording_is_found(tmp_path, corpus):
    samples, rate = soundfile.read(corpus.wav["spk0-sad-0"])
    faults = {
        "spk0-angry-0": lambda path: path.write_text("no sound"),
        "spk0-angry-1": lambda path: path.write_bytes(path.read_bytes()[:2000]),
        "spk0-calm-0": lambda path: soundfile.write(path, samples[:0], rate),
        "spk0-calm-1": lambda path: soundfile.write(path, samples[:100], rate),
        "spk1-angry-0": lambda path: soundfile.write(path, samples * np.nan, rate, subtype="FLOAT"),
        "spk1-angry-1": lambda path: soundfile.write(path, 0 * samples, rate),
        "spk1-calm-0": lambda path: soundfile.write(path, (50 * samples).clip(-1, 1), rate),
        "spk1-calm-1": lambda path: soundfile.write(path, np.stack([samples, samples[::-1]], 1) / 3, rate),
        "spk1-sad-0": lambda path: soundfile.write(path, samples / 2, 8000),
    }
    for utt, write_fault in faults.items():
        write_fault(corpus.wav[utt])
    cases = find_cases(tmp_path / "data")
    assert {what: [line.partition(":")[0] for line in lines] for what, lines in cases.items()} == {
        "not audio": ["spk0-angry-0"],
        "cut short": ["spk0-angry-1"],
        "empty": ["spk0-calm-0"],
        "shorter than 50 ms": ["spk0-calm-1"],
        "NaN or infinite samples": ["spk1-angry-0"],
        "silence in channel 1": ["spk1-angry-1"],
        "clipped": ["spk1-calm-0"],
        "several channels (channel 1 is used)": ["spk1-calm-1 (2)"],
        "sample rate below 16000 Hz, or not the most frequent one (16000 Hz)": ["spk1-sad-0"],
    }


def test_the_check_says_what_to_do_about_unusable_recordings(tmp_path, corpus):
    corpus.wav["spk0-angry-0"].write_text("version https://git-lfs.github.com/spec/v1\n")
    (finding,) = [finding for finding in check(tmp_path / "data").findings if finding.cases]
    assert finding.what == "not audio"
    assert finding.remedy.startswith(
        "a git-lfs pointer, not the recording (1). Fetch the recordings with `git lfs pull`"
    )


def test_a_recording_counts_as_clipped_if_a_thousandth_of_its_samples_are_clipped(tmp_path):
    for name, length in (("more.wav", 2900), ("less.wav", 3100)):
        samples = 0.5 * np.ones(length)
        samples[:3] = 1
        soundfile.write(tmp_path / name, samples, 16000)
    assert find_cases(tmp_path) == {"clipped": ["more.wav: 0.1% of its samples"]}


def test_a_low_sample_rate_is_found_even_if_it_is_the_most_frequent(tmp_path):
    generator = np.random.default_rng(0)
    for name, rate in (("a.wav", 8000), ("b.wav", 8000), ("c.wav", 16000)):
        soundfile.write(tmp_path / name, generator.normal(0, 0.1, 1600), rate)
    (cases,) = find_cases(tmp_path).values()
    assert cases == ["a.wav: 8000 Hz", "b.wav: 8000 Hz", "c.wav: 16000 Hz"]


@pytest.mark.parametrize(
    ("copy", "what"),
    [
        ("spk1-sad-0", "the same recording in several folds (in training and test data)"),
        ("spk3-angry-0", "the same recording with several emotions"),
        ("spk3-sad-1", "the same recording by several speakers of one fold"),
        ("spk0-sad-1", "the same recording twice, by one speaker and with one emotion"),
    ],
)
def test_copies_of_a_recording_are_found_and_named_by_their_effect(tmp_path, corpus, copy, what):
    corpus.wav[copy].write_bytes(corpus.wav["spk0-sad-0"].read_bytes())
    assert find_cases(tmp_path / "data") == {what: [f"spk0-sad-0 (sad) = {copy} ({corpus.emotion[copy]})"]}


def test_emotions_without_training_data_are_found(tmp_path, corpus):
    emotion = {utt: "calm" if name == "sad" and "spk0" not in utt else name for utt, name in corpus.emotion.items()}
    datadir.write(tmp_path / "data", dataclasses.replace(corpus, emotion=emotion, emotions=(*corpus.emotions, "bored")))
    assert find_cases(tmp_path / "data") == {
        "an emotion without utterances": ["bored"],
        "classes with less than 1/3 of the 22 utterances of calm": ["sad 2"],
        "folds that do not train all emotions": ["fold 1: sad", "fold 3: sad"],
        "folds that do not test all emotions": ["fold 2: sad", "fold 3: sad"],
    }


def test_a_folder_of_recordings_can_be_checked_without_a_data_directory(tmp_path, corpus):
    folder = tmp_path / "recordings of the corpus"
    for name in ("notes.txt", "headerless.raw"):
        (folder / name).write_text("ignored")
    corpus.wav["spk3-sad-1"].write_bytes(corpus.wav["spk0-sad-0"].read_bytes())
    assert check(folder).summary.startswith("36 recordings, 0.00 h")
    assert find_cases(folder) == {"the same recording more than once": ["spk0-sad-0.wav = spk3-sad-1.wav"]}


def test_a_linked_folder_is_searched(tmp_path, corpus):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "here").symlink_to(tmp_path / "recordings of the corpus")
    assert check(tmp_path / "links").summary.startswith("36 recordings")


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(SoctkError, match=r"no recordings in this folder\nGive a data directory or a folder"):
        check(tmp_path)


def test_segments_are_checked_one_by_one(tmp_path, corpus):
    data = with_segments(tmp_path / "segmented", corpus)
    path = tmp_path / "segmented" / "data"
    diagnosis = check(path)
    assert diagnosis.summary.startswith("36 utterances in 6 recordings")
    assert not [finding for finding in diagnosis.findings if finding.cases]
    tape = data.wav["spk0-tape"]
    samples, rate = soundfile.read(tape)
    silent = data.segments["spk0-calm-1"]
    samples[round(silent.start * rate) : round(silent.end * rate)] = 0
    same = data.segments["spk0-angry-0"]
    segments = {
        **data.segments,
        "spk0-sad-1": dataclasses.replace(same),
        "spk0-sad-0": Segment("spk0-tape", 0.05, 99.0),
    }
    soundfile.write(tape, samples, rate)
    datadir.write(path, dataclasses.replace(data, segments=segments))
    cases = find_cases(path)
    assert cases["silence in channel 1"] == ["spk0-calm-1"]
    assert cases["the same recording with several emotions"] == ["spk0-angry-0 (angry) = spk0-sad-1 (sad)"]
    (outside,) = cases["shorter than a segment needs"]
    assert outside.startswith("spk0-sad-0: from 0.05 s to 99 s of ")
