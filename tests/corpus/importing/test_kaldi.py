"""Kaldi's data directories are imported; soctk's export of one is imported as the same corpus."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import write_corpus

from soctk.cli import export, import_
from soctk.corpus import datadir
from soctk.corpus.importing import kaldi
from soctk.corpus.segments import Segment
from soctk.errors import SoctkError

SPEAKERS = ("ann", "bob", "cid")
EMOTIONS = ("sad", "calm")


def invoke(command, *arguments: object):
    return CliRunner().invoke(command.main, [str(argument) for argument in arguments])


def succeed(command, *arguments: object) -> str:
    result = invoke(command, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def write_kaldi(folder: Path, **files: list[str] | None) -> Path:
    """Write a data directory as for speech recognition: two parts of a recording for each speaker, and transcripts.

    Args:
        folder: the directory.
        files: lines in place of those of a file, None for no file; wav_scp stands for wav.scp.
    """
    (folder / "audio").mkdir(parents=True)
    for number, speaker in enumerate(SPEAKERS):
        samples = np.random.default_rng(number).normal(size=32000) * 0.1
        soundfile.write(folder / "audio" / f"{speaker}.wav", samples, 16000)
    content: dict[str, list[str] | None] = {
        "wav_scp": [f"{speaker}_rec {folder}/audio/{speaker}.wav" for speaker in SPEAKERS],
        "segments": [
            line
            for speaker in SPEAKERS
            for line in (f"{speaker}-1 {speaker}_rec 0.1 0.9", f"{speaker}-2 {speaker}_rec 1 -1")
        ],
        "utt2spk": [f"{speaker}-{take} {speaker}" for speaker in SPEAKERS for take in (1, 2)],
        "spk2gender": ["ann f", "bob m", "cid m"],
        "text": [f"{speaker}-{take} {EMOTIONS[take - 1]}" for speaker in SPEAKERS for take in (1, 2)],
        "utt2dur": [f"{speaker}-{take} 7" for speaker in SPEAKERS for take in (1, 2)],
        **files,
    }
    for name, lines in content.items():
        if lines is not None:
            (folder / name.replace("wav_scp", "wav.scp")).write_text("".join(f"{line}\n" for line in lines))
    return folder


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("division", ["fold", "split", "utterance_fold"])
@pytest.mark.parametrize("has_segments", [False, True], ids=["recordings", "segments"])
def test_an_export_is_imported_as_the_same_data_directory(tmp_path, division, has_segments):
    corpus = write_corpus(tmp_path)
    utterances = corpus.utterances
    changes: dict = {"extra": {"take": {utt: utt[-1] for utt in utterances}}}
    changes["seconds"] = {utt: round(seconds, 4) for utt, seconds in corpus.seconds.items()}  # as soctk-import writes
    if division == "split":
        parts = ("train", "dev", "test1", "test2", "train", "train")
        changes |= {"fold": {}, "split": {utt: parts[int(corpus.speaker[utt][-1])] for utt in utterances}}
    elif division == "utterance_fold":
        changes |= {"fold": {}, "utterance_fold": {utt: index % 2 + 1 for index, utt in enumerate(utterances)}}
    if has_segments:
        changes["wav"] = {f"take_{utt}": path for utt, path in corpus.wav.items()}
        changes["segments"] = {utt: Segment(f"take_{utt}", 0.05, 0.25) for utt in utterances}
        changes["seconds"] = dict.fromkeys(utterances, 0.2)
        changes["dimensions"] = {"valence": {utt: index / 10 for index, utt in enumerate(utterances)}}
        votes = {"calm": (0.5, 0.25, 0.25, 0), "angry": (0, 1, 0, 0), "sad": (1 / 3, 0, 2 / 3, 0)}
        changes["distribution"] = {utt: votes[corpus.emotion[utt]] for utt in utterances}
        changes["emotions"] = (*corpus.emotions, "fear")  # a class that has no majority anywhere
    corpus = dataclasses.replace(corpus, **changes)
    datadir.write(tmp_path / "mine", corpus)
    corpus = datadir.read(tmp_path / "mine")  # with rounded probabilities
    succeed(export, tmp_path / "mine", tmp_path / "exported", "--format", "kaldi")
    output = succeed(import_, "--kaldi", tmp_path / "exported", tmp_path / "again")
    assert "rows: 36 in " in output
    assert datadir.read(tmp_path / "again") == corpus
    before, after = read_files(tmp_path / "mine"), read_files(tmp_path / "again")
    after.pop("folds.yaml", None)
    assert after == before


def test_an_export_keeps_the_channel_and_known_copies(tmp_path):
    corpus = write_corpus(tmp_path)
    same = "spk0-calm-0", "spk1-calm-0"
    waveforms = {utt: soundfile.read(corpus.wav[same[0] if utt in same else utt])[0] for utt in corpus.wav}
    for utt, samples in waveforms.items():
        soundfile.write(corpus.wav[utt], np.stack([0.5 * samples[::-1], samples], axis=1), 16000)
    seconds = {utt: round(soundfile.info(path).duration, 4) for utt, path in corpus.wav.items()}
    changes = {"channel": "2", "duplicates": frozenset([frozenset(same)]), "seconds": seconds}
    datadir.write(tmp_path / "mine", dataclasses.replace(corpus, **changes))
    succeed(export, tmp_path / "mine", tmp_path / "exported", "--format", "kaldi")
    succeed(import_, "--kaldi", tmp_path / "exported", tmp_path / "again")
    assert datadir.read(tmp_path / "again") == datadir.read(tmp_path / "mine")
    succeed(import_, "--kaldi", tmp_path / "exported", tmp_path / "other", "--channel", "mix")
    assert datadir.read(tmp_path / "other").channel == "mix"


def test_a_directory_for_speech_recognition_is_imported(tmp_path):
    write_kaldi(tmp_path / "kaldi")
    output = succeed(import_, "--kaldi", tmp_path / "kaldi", tmp_path / "data", "--column", "emotion=text")
    assert "6 utterances in 3 recordings" in output
    data = datadir.read(tmp_path / "data")
    assert data.utterances == ["ann-1", "ann-2", "bob-1", "bob-2", "cid-1", "cid-2"]
    assert data.segments["bob-1"] == Segment("bob_rec", 0.1, 0.9)
    assert data.segments["bob-2"] == Segment("bob_rec", 1.0, 2.0)
    assert data.seconds == {utt: 0.8 if utt[-1] == "1" else 1.0 for utt in data.utterances}
    assert data.emotion["cid-1"] == "sad"
    assert data.gender == {"ann": "f", "bob": "m", "cid": "m"}
    assert data.extra == {}


def test_labels_may_be_in_another_file_or_in_a_table_and_properties_are_kept(tmp_path):
    takes = [f"{speaker}-{take}" for speaker in SPEAKERS for take in (1, 2)]
    folder = write_kaldi(
        tmp_path / "kaldi",
        utt2mood=[f"{take} {'cross' if take[-1] == '1' else 'glad'}" for take in takes],
        utt2lang=[f"{take} en" for take in takes[:-1]],
        utt2num_frames=[f"{take} 80" for take in takes],
        spk2gender=None,
    )
    (tmp_path / "labels.yaml").write_text("cross: Angry\nglad: Happy\n")
    (tmp_path / "speakers.csv").write_text("speaker,sex\nann,f\nbob,m\ncid,m\n")
    options = ["--column", "emotion=utt2mood", "--labels", tmp_path / "labels.yaml"]
    succeed(import_, "--kaldi", folder, tmp_path / "speakers.csv", tmp_path / "data", *options)
    data = datadir.read(tmp_path / "data")
    assert data.emotions == ("Angry", "Happy")  # the order of the label map
    assert data.gender == {"ann": "f", "bob": "m", "cid": "m"}
    assert data.extra == {"lang": dict.fromkeys(takes[:-1], "en") | {"cid-2": "unknown"}}


def test_a_distribution_needs_its_classes_and_is_left_out_if_a_label_map_changes_them(tmp_path):
    takes = [f"{speaker}-{take}" for speaker in SPEAKERS for take in (1, 2)]
    shares = [f"{take} 0.25 0.75" for take in takes]
    folder = write_kaldi(tmp_path / "kaldi", utt2emo=[f"{take} sad" for take in takes], utt2dist=shares)
    refused = invoke(import_, "--kaldi", folder, tmp_path / "data")
    assert "utt2dist: '0.25 0.75' is not a probability for each class in the file emotions: none\n" in refused.output
    (folder / "emotions").write_text("sad\ncalm\n")
    succeed(import_, "--kaldi", folder, tmp_path / "data")
    assert set(datadir.read(tmp_path / "data").distribution.values()) == {(0.25, 0.75)}
    (tmp_path / "labels.yaml").write_text("sad: Sad\n")
    output = succeed(import_, "--kaldi", folder, tmp_path / "mapped", "--labels", tmp_path / "labels.yaml")
    assert "columns that are not used:" in output
    assert "utt2dist" in output
    assert datadir.read(tmp_path / "mapped").distribution == {}


def test_utterance_ids_begin_with_the_speaker(tmp_path):
    folder = write_kaldi(
        tmp_path / "kaldi",
        segments=None,
        wav_scp=[f"{number} {tmp_path}/kaldi/audio/{speaker}.wav" for number, speaker in enumerate(SPEAKERS)],
        utt2spk=[f"{number} {speaker}" for number, speaker in enumerate(SPEAKERS)],
        text=[f"{number} sad" for number in range(3)],
    )
    succeed(import_, "--kaldi", folder, tmp_path / "data", "--column", "emotion=text")
    assert datadir.read(tmp_path / "data").utterances == ["ann-0", "bob-1", "cid-2"]


def test_relative_paths_start_from_the_working_directory(tmp_path, monkeypatch):
    write_kaldi(tmp_path / "kaldi", wav_scp=[f"{speaker}_rec audio/{speaker}.wav" for speaker in SPEAKERS])
    monkeypatch.chdir(tmp_path / "kaldi")
    succeed(import_, "--kaldi", ".", tmp_path / "data", "--column", "emotion=text")
    monkeypatch.chdir(tmp_path)
    assert "missing" in invoke(import_, "--kaldi", "kaldi", "other", "--column", "emotion=text").output
    succeed(import_, "--kaldi", "kaldi", "other", "--column", "emotion=text", "--audio", "kaldi")
    assert datadir.read(tmp_path / "other") == datadir.read(tmp_path / "data")


def test_commands_are_replaced_by_files_or_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    audio = tmp_path / "kaldi" / "audio"
    decoded = [f"ann_rec sox {audio}/ann.wav -r 16000 -t wav - |", f"bob_rec cat {audio}/bob.wav |"]
    write_kaldi(tmp_path / "kaldi", wav_scp=[*decoded, f"cid_rec {audio}/cid.wav"])
    output = succeed(import_, "--kaldi", "kaldi", "data", "--column", "emotion=text")
    assert "Note: kaldi/wav.scp: 2 commands replaced by the file it decodes, such as ann_rec\n" in output
    assert datadir.read(tmp_path / "data").wav["ann_rec"] == audio / "ann.wav"
    harmful = f"cid_rec touch harm; cat {audio}/cid.wav |"
    (tmp_path / "kaldi" / "wav.scp").write_text(
        f"ann_rec sox {audio}/ann.wav -r 8k -t wav - |\nbob_rec x.ark:5\n{harmful}\n"
    )
    result = invoke(import_, "--kaldi", "kaldi", "other", "--column", "emotion=text")
    assert result.exit_code == 1
    assert result.output.splitlines()[:5] == [
        "Error: kaldi/wav.scp: soctk runs no commands, and cannot replace those of 3 recordings by files",
        f"  ann_rec: sox resamples from 16000 to 8000 Hz: sox {audio}/ann.wav -r 8k -t wav - |",
        "  bob_rec: a place in an archive: x.ark:5",
        f"  cid_rec: a shell command: touch harm; cat {audio}/cid.wav |",
        "Write these recordings to files, such as with Kaldi's wav-copy, and name the files in wav.scp.",
    ]
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"utt2spk": None}, "not a data directory of Kaldi: it has no utt2spk\nCheck the path"),
        ({"wav_scp": None}, "not a data directory of Kaldi: it has no wav.scp\nCheck the path"),
        ({"utt2spk": ["ann-1 ann", "dan-1 dan"]}, "segments: 1 of 2 utterances have no recording\n  dan-1\nRun"),
        ({"wav_scp": ["ann_rec a.wav"]}, "segments: 4 of 6 utterances have no recording\n  bob-1"),
        ({"segments": None}, "wav.scp: 6 of 6 utterances have no recording\n  ann-1"),
        ({"segments": ["ann-1 ann_rec 0", "ann-2 ann_rec a b"]},
         "segments: malformed\n  ann-1: 'ann_rec 0' is not a recording, its start and its end in seconds\n  ann-2"),
        ({"text": ["ann-1 hello", "ann-1 bye", "ann-2"]}, "text: malformed\n  ann-1 is given 2 times\n"),
        ({"utt2spk": ["ann-1", "ann-1 ann"]}, "utt2spk: malformed\n  line 1: ann-1 has no value\n  ann-1 is given 2"),
    ],
)  # fmt: skip
def test_faults_of_the_files_are_named(tmp_path, files, message):
    folder = write_kaldi(tmp_path / "kaldi", **files)
    with pytest.raises(SoctkError) as caught:
        kaldi.check(folder)
        kaldi.read(folder, print)
    assert message in str(caught.value)


def test_what_no_utterance_uses_is_told(tmp_path):
    folder = write_kaldi(
        tmp_path / "kaldi",
        wav_scp=[f"{speaker}_rec {tmp_path}/x.wav" for speaker in (*SPEAKERS, "dan")],
        utt2lang=["ann-1 en", "zoe-1 en", "zoe-2 en"],
    )
    notes: list[str] = []
    kaldi.read(folder, notes.append)
    assert notes == [
        f"Note: {folder}: 1 recording is in no utterance of utt2spk, such as dan_rec",
        f"Note: {folder}: 2 ids of utt2lang are in no utterance of utt2spk, such as zoe-1",
    ]


def test_an_utterance_without_an_emotion_is_named(tmp_path):
    folder = write_kaldi(tmp_path / "kaldi", text=["ann-1 sad", "ann-2"])
    result = invoke(import_, "--kaldi", folder, tmp_path / "data", "--column", "emotion=text")
    assert "no emotion in 5 of 6 rows" in result.output
    missing = invoke(import_, "--kaldi", folder, tmp_path / "data")
    assert (
        "no column gives the emotion; the columns are utterance, wav.scp, recording, start, end, utt2dur, utt2spk, text"
        in missing.output
    )


def test_a_source_is_needed(tmp_path):
    assert "Missing argument 'SOURCES...'" in invoke(import_, tmp_path / "data").output
    assert "it has no wav.scp" in invoke(import_, "--kaldi", tmp_path, tmp_path / "data").output
