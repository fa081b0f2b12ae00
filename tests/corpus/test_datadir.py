import dataclasses
import os
import re
import signal

import pytest
from conftest import write_corpus
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import datadir, kaldi, kaldi_files
from soctk.corpus.segments import Clip, Segment
from soctk.errors import SoctkError


def test_a_written_corpus_is_read_back(tmp_path, corpus):
    datadir.write(tmp_path / "again", corpus)
    assert datadir.read(tmp_path / "again") == corpus


def written_by_a_killed_process(path, corpus, after: int) -> bool:
    """Write a corpus in another process, which is killed after it has written some files; return whether it was."""
    child = os.fork()
    if child == 0:
        write_lines = kaldi_files.write_lines
        written = 0

        def write_and_die(*arguments):
            nonlocal written
            if written == after:
                os.kill(os.getpid(), signal.SIGKILL)
            written += 1
            write_lines(*arguments)

        datadir.write_lines = kaldi_files.write_lines = write_and_die
        datadir.write(path, corpus)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_killed_process_leaves_the_old_corpus_or_a_directory_that_is_refused(tmp_path, corpus):
    labels = dict(zip(corpus.emotion, [*list(corpus.emotion.values())[1:], "calm"], strict=True))
    fold = {speaker: 4 - number for speaker, number in corpus.fold.items()}
    new = dataclasses.replace(corpus, emotion=labels, fold=fold, extra={"take": dict.fromkeys(corpus.wav, "1")})
    path, files = tmp_path / "data", 0
    while written_by_a_killed_process(path, new, after=files):
        if files == 0:
            assert datadir.read(path) == corpus
        else:
            with pytest.raises(SoctkError) as error:
                datadir.read(path)
            assert str(error.value) == (
                f"{path}: the data directory is incomplete: a process is writing it, or was stopped while it wrote\n"
                "If no process writes it, run the recipe's stage 0 (or soctk-import) again: it writes all files."
            )
            assert (path / "wav.scp").is_file()
        files += 1
    assert files > 7  # wav.scp, utt2spk, utt2emo, utt2dur, spk2gender, spk2fold, utt2take, emotions
    assert datadir.read(path) == new
    assert not (path / "unfinished").exists()
    assert written_by_a_killed_process(path, new, after=3)
    datadir.write(path, corpus := dataclasses.replace(corpus, extra=new.extra))
    assert datadir.read(path) == corpus


def test_extra_properties_of_utterances_are_kept(tmp_path, corpus):
    extra = {"take": {utt: utt[-1] for utt in corpus.wav}, "text": dict.fromkeys(corpus.wav, "two words")}
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, extra=extra))
    assert datadir.read(tmp_path / "again").extra == extra
    assert datadir.read(tmp_path / "again").checksum() == corpus.checksum()
    edit("utt2take", r"^spk0-angry-0.*\n", "")(tmp_path / "again")
    with pytest.raises(SoctkError, match=r"utt2take: 1 id of wav.scp missing, such as spk0-angry-0"):
        datadir.read(tmp_path / "again")


def test_recordings_may_be_missing_with_recordings_false(tmp_path, corpus):
    corpus.wav[corpus.utterances[0]].unlink()
    assert datadir.read(tmp_path / "data", recordings=False) == corpus
    with pytest.raises(SoctkError, match="the recording of spk0-angry-0 is missing: "):
        datadir.read(tmp_path / "data")


def test_every_file_is_written_sorted(tmp_path, corpus):
    backwards = {name: dict(reversed(list(getattr(corpus, name).items()))) for name in ("wav", "speaker", "fold")}
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, **backwards))
    for file in ("wav.scp", "utt2spk", "spk2fold"):
        lines = (tmp_path / "again" / file).read_text().splitlines()
        assert lines == sorted(lines)
    assert datadir.read(tmp_path / "again") == corpus


def test_paths_may_contain_spaces_and_any_letters(tmp_path, corpus):
    odd = tmp_path / "a  b" / "ü – 語.wav"
    odd.parent.mkdir()
    first = corpus.utterances[0]
    odd.write_bytes(corpus.wav[first].read_bytes())
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, wav={**corpus.wav, first: odd}))
    assert datadir.read(tmp_path / "again").wav[first] == odd


def test_a_path_that_is_not_utf8_is_kept(tmp_path, corpus):
    odd = tmp_path / b"latin-\xe9.wav".decode("utf-8", "surrogateescape")
    first = corpus.utterances[0]
    odd.write_bytes(corpus.wav[first].read_bytes())
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, wav={**corpus.wav, first: odd}))
    assert datadir.read(tmp_path / "again").wav[first] == odd


@pytest.mark.parametrize(
    ("one", "other"), [("Jos\xe9", "Jose\u0301"), ("S1", "s1"), ("1", "01"), ("2", "2.0"), ("anna", "\u0430nna")]
)
def test_speakers_that_look_alike_are_refused(tmp_path, corpus, one, other):
    path = tmp_path / "data"
    for file in ("wav.scp", "utt2spk", "utt2emo", "utt2dur", "spk2fold", "spk2gender"):
        text = re.sub(
            r"(^|(?<= ))spk1\b",
            other,
            re.sub(r"(^|(?<= ))spk0\b", one, (path / file).read_text(), flags=re.M),
            flags=re.M,
        )
        (path / file).write_text("".join(sorted(text.splitlines(keepends=True))))
    for recordings in (True, False):
        with pytest.raises(SoctkError) as error:
            datadir.read(path, recordings)
        names = " and ".join(map(ascii, sorted((one, other))))
        assert str(error.value) == (
            f"{path}: not a valid data directory\n  utt2spk: {names} look alike; spell each name in one way\n"
            f"{datadir.REMEDY}"
        )


def test_emotions_that_look_alike_are_refused(tmp_path, corpus):
    with pytest.raises(SoctkError, match="  emotions: 'Sad' and 'sad' look alike; spell each name in one way\n"):
        datadir.write(tmp_path / "again", dataclasses.replace(corpus, emotions=(*corpus.emotions, "Sad")))


def edit(file, pattern, replacement):
    """Return a function that edits a file of a data directory."""

    def apply(path):
        text = (path / file).read_text()
        changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
        assert changed != text
        (path / file).write_text(changed)

    return apply


def edit_bytes(text, replacement):
    """Return a function that replaces a text in all files of a data directory, except in paths, and sorts the lines."""

    def apply(path):
        for file in path.iterdir():
            lines = [line.partition(b" /") for line in file.read_bytes().splitlines()]
            changed = [b"".join((line.replace(text.encode(), replacement), *rest)) for line, *rest in lines]
            file.write_bytes(b"\n".join(changed if file.name == "emotions" else sorted(changed)) + b"\n")

    return apply


FAULTS = {
    "a missing file": (lambda path: (path / "utt2emo").unlink(), "not a data directory: it has no utt2emo"),
    "an empty file": (lambda path: (path / "utt2spk").write_text(""), "utt2spk"),
    "a line of one word": (
        edit("utt2emo", r"^(spk0-angry-0) angry", r"\1"),
        "utt2emo line 1: 'spk0-angry-0' is not an id, a space and a word",
    ),
    "an empty line": (edit("utt2spk", r"^spk1-", "\nspk1-"), "utt2spk line 7 is empty; remove this line"),
    "lines out of order": (
        edit("utt2emo", r"^(spk0-angry-0.*\n)(spk0-angry-1.*\n)", r"\2\1"),
        "utt2emo line 2: spk0-angry-0 comes after spk0-angry-1; sort the file with LC_ALL=C",
    ),
    "a line twice": (
        edit("utt2emo", r"^(spk0-angry-0.*\n)", r"\1\1"),
        "utt2emo line 2: spk0-angry-0 is given twice",
    ),
    "a line twice, with others between": (
        edit("utt2emo", r"^(spk0-angry-0.*\n)(spk0-angry-1.*\n)", r"\1\2\1"),
        "utt2emo line 3: spk0-angry-0 is given twice",
    ),
    "a missing utterance": (
        edit("utt2emo", r"^spk0-angry-0.*\n", ""),
        "utt2emo: 1 id of wav.scp missing, such as spk0-angry-0",
    ),
    "a surplus utterance": (
        edit("utt2dur", r"^spk0-calm-0.*", r"\g<0>\nspk0-calm-00 1.0"),
        "wav.scp: 1 id of utt2dur missing, such as spk0-calm-00",
    ),
    "an unknown emotion": (
        edit("utt2emo", "angry$", "cross"),
        "utt2emo: spk0-angry-0 has the emotion cross, which is not in the file emotions",
    ),
    "a speaker without a fold": (
        edit("spk2fold", r"^spk5 .*\n", ""),
        "spk2fold: 1 id of utt2spk missing, such as spk5",
    ),
    "a fold that is not a number": (
        edit("spk2fold", r"^spk5 .*", "spk5 three"),
        "'spk5 three' is not an id, a space and a whole number",
    ),
    "a gap in the fold numbers": (edit("spk2fold", r"^spk5 3", "spk5 5"), "the folds are [1, 2, 3, 5], not 1, 2, ..."),
    "an unknown sex": (edit("spk2gender", r"^spk0 m", "spk0 x"), "spk0 is 'x', neither m nor f"),
    "a duration of zero": (
        edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 0"),
        "utt2dur: spk0-angry-0 has the duration 0.0 s",
    ),
    "a negative duration": (
        edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 -1"),
        "utt2dur: spk0-angry-0 has the duration -1.0 s",
    ),
    "an infinite duration": (
        edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 inf"),
        "utt2dur: spk0-angry-0 has the duration inf s",
    ),
    "a NaN duration": (
        edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 nan"),
        "utt2dur: spk0-angry-0 has the duration nan s",
    ),
    "an extra file with a reserved name": (
        lambda path: (path / "utt2speaker").write_text((path / "utt2spk").read_text()),
        "utt2speaker: the speaker is in utt2spk already; rename this file",
    ),
    "an id that is not UTF-8": (edit_bytes("spk0-angry-0", b"spk0-\xe4"), r"wav.scp: 'spk0-\udce4' is not UTF-8"),
    "a speaker that is not UTF-8": (edit_bytes("spk0", b"spk\xe4"), r"utt2spk: 'spk\udce4' is not UTF-8"),
    "an emotion that is not UTF-8": (edit_bytes("sad", b"s\xe4d"), r"emotions: 's\udce4d' is not UTF-8"),
    "a missing recording": (edit("wav.scp", r"\.wav$", ".gone"), "wav.scp: the recording of spk0-angry-0 is missing: "),
    "a command in place of a path": (
        edit("wav.scp", r"^(spk0-angry-0) .*", r"\1 sox x.mp3 - |"),
        "wav.scp: spk0-angry-0 is a command, and soctk runs no commands",
    ),
    "an id that does not begin with the speaker": (
        edit("utt2spk", r"^(spk0-angry-0) spk0", r"\1 spk1"),
        "spk0-angry-0 does not begin with its speaker spk1",
    ),
    "an emotion listed twice": (edit("emotions", "sad", "sad\nsad"), "emotions: sad is listed 2 times"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_with_its_file_and_a_remedy(tmp_path, corpus, fault):
    break_it, message = FAULTS[fault]
    break_it(tmp_path / "data")
    with pytest.raises(SoctkError) as error:
        datadir.read(tmp_path / "data")
    assert message in str(error.value)
    assert str(tmp_path / "data") in str(error.value)
    assert str(error.value).endswith(datadir.REMEDY)


def test_all_faults_are_listed_in_one_error(tmp_path, corpus):
    for fault in ("an unknown emotion", "an unknown sex", "a gap in the fold numbers"):
        FAULTS[fault][0](tmp_path / "data")
    with pytest.raises(SoctkError, match=r"(?s)the emotion cross.*neither m nor f.*the folds are"):
        datadir.read(tmp_path / "data")


def test_many_faults_of_one_file_do_not_hide_those_of_another(tmp_path, corpus):
    for path in corpus.wav.values():
        path.unlink()
    FAULTS["an unknown sex"][0](tmp_path / "data")
    edit("utt2emo", r"^(spk0-angry-0) .*", r"\1")(tmp_path / "data")
    with pytest.raises(SoctkError) as error:
        datadir.read(tmp_path / "data")
    message = str(error.value)
    assert message.count("the recording of") == 20
    assert "  ... and 16 more\n" in message
    assert "utt2emo line 1: 'spk0-angry-0' is not an id" in message
    assert "spk2gender: spk0 is 'x', neither m nor f" in message


def test_a_folder_named_like_an_extra_file_is_ignored(tmp_path, corpus):
    (tmp_path / "data" / "utt2folder").mkdir()
    assert datadir.read(tmp_path / "data") == corpus


def test_a_corpus_is_validated_before_it_is_written(tmp_path, corpus):
    with pytest.raises(SoctkError, match="utt2spk: 1 id of spk2gender missing, such as nobody"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, gender={"nobody": "m"}))


UNFIT = {
    "very sad": "contains a space",
    "very\tsad": "contains U+0009 (a control character)",
    "very\x0bsad": "contains U+000B (a control character)",
    "very\x0csad": "contains U+000C (a control character)",
    "very\rsad": "contains U+000D (a control character)",
    "very\nsad": "contains U+000A (a control character)",
    "very\x85sad": "contains U+0085 (a control character)",
    "very\u2028sad": "contains U+2028 (LINE SEPARATOR)",
    "very\u2029sad": "contains U+2029 (PARAGRAPH SEPARATOR)",
    "very\u00a0sad": "contains U+00A0 (NO-BREAK SPACE)",
    "very\u200bsad": "contains U+200B (ZERO WIDTH SPACE)",
    "\ufeffsad": "contains U+FEFF (ZERO WIDTH NO-BREAK SPACE)",
    "sad\0": "contains U+0000 (a control character)",
    "s\udce4d": "is not UTF-8",
    "": "is empty",
}


@pytest.mark.parametrize("word", UNFIT, ids=ascii)
def test_ids_and_classes_that_are_not_one_word_are_refused_before_anything_is_written(tmp_path, corpus, word):
    emotion = {utt: word if emotion == "sad" else emotion for utt, emotion in corpus.emotion.items()}
    with pytest.raises(SoctkError) as error:
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, emotion=emotion, emotions=("calm", "angry", word)))
    assert f"  emotions: {word!a} {UNFIT[word]}\n" in str(error.value)
    first, *_ = corpus.utterances
    renamed = {
        name: {f"{first}{word}" if key == first else key: value for key, value in getattr(corpus, name).items()}
        for name in ("wav", "speaker", "emotion", "seconds")
    }
    if word:
        with pytest.raises(SoctkError) as error:
            datadir.write(tmp_path / "bad", dataclasses.replace(corpus, **renamed))
        assert f"  wav.scp: {first + word!a} {UNFIT[word]}\n" in str(error.value)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("word", ["señor", "怒り", "\u0645\u06cc\u200c\u062e", "a.b-c_d", "#1", "'"])
def test_letters_of_any_script_make_an_id(tmp_path, corpus, word):
    emotion = {utt: word if emotion == "sad" else emotion for utt, emotion in corpus.emotion.items()}
    data = dataclasses.replace(corpus, emotion=emotion, emotions=("calm", "angry", word))
    datadir.write(tmp_path / "again", data)
    assert datadir.read(tmp_path / "again") == data


@pytest.mark.parametrize("separator", ["\t", "  ", " \t ", "\t\t"])
def test_white_space_separates_id_and_value_as_in_kaldi(tmp_path, corpus, separator):
    for file in ("utt2spk", "utt2emo", "wav.scp", "spk2fold"):
        text = (tmp_path / "data" / file).read_text()
        (tmp_path / "data" / file).write_text(re.sub(r"^(\S+) (.*)$", rf" \1{separator}\2 ", text, flags=re.MULTILINE))
    assert datadir.read(tmp_path / "data") == corpus


def test_line_ends_of_windows_and_a_byte_order_mark_are_read(tmp_path, corpus):
    for file in (tmp_path / "data").iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert datadir.read(tmp_path / "data") == corpus


@pytest.mark.parametrize("char", ["\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000"])
def test_characters_that_look_like_line_ends_or_blanks_are_named_when_a_directory_is_read(tmp_path, corpus, char):
    for file in ("wav.scp", "utt2spk", "utt2emo", "utt2dur"):
        path = tmp_path / "data" / file
        text = re.sub("^spk0-angry-0 ", f"spk0-angry{char}0 ", path.read_text(), flags=re.MULTILINE)
        path.write_text("".join(sorted(f"{line}\n" for line in text.removesuffix("\n").split("\n"))))
    with pytest.raises(SoctkError) as error:
        datadir.read(tmp_path / "data")
    assert f"wav.scp: {f'spk0-angry{char}0'!a} contains U+{ord(char):04X} (" in str(error.value)


@pytest.mark.parametrize("name", ["ends in a blank ", "a line\nbreak", "ends in a return\r", "ends in a tab\t"])
def test_paths_that_wav_scp_cannot_hold_are_refused(tmp_path, corpus, name):
    first, *_ = corpus.utterances
    odd = tmp_path / name
    odd.write_bytes(corpus.wav[first].read_bytes())
    with pytest.raises(SoctkError, match=f"of {first} is empty, has a line break, or begins or ends with white space"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, wav={**corpus.wav, first: odd}))
    assert not (tmp_path / "bad").exists()


def test_texts_of_extra_files_must_fit_on_a_line(tmp_path, corpus):
    extra = {"text": {**dict.fromkeys(corpus.wav, "a  b\u2028c"), "spk0-sad-0": "two\nlines"}}
    with pytest.raises(SoctkError, match=r"utt2text: 'two\\nlines' of spk0-sad-0 .* has a line break"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, extra=extra))
    extra["text"]["spk0-sad-0"] = "one line"
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, extra=extra))
    assert datadir.read(tmp_path / "again").extra == extra


def test_the_channel_is_written_only_if_it_is_not_the_first(tmp_path, corpus):
    for channel in ("2", "mix"):
        datadir.write(tmp_path / "data", dataclasses.replace(corpus, channel=channel))
        assert (tmp_path / "data" / "channel").read_text() == f"{channel}\n"
        assert datadir.read(tmp_path / "data").channel == channel
    datadir.write(tmp_path / "data", corpus)
    assert not (tmp_path / "data" / "channel").exists()
    assert datadir.read(tmp_path / "data").channel == "1"


@pytest.mark.parametrize("channel", ["0", "-1", "01", "left", "1 2", "", "²", "Mix"])
def test_an_unknown_channel_is_refused(tmp_path, corpus, channel):
    message = rf"unknown channel '{channel}'\nWrite 1, 2, \.\.\. or mix"
    (tmp_path / "data" / "channel").write_text(f"{channel}\n")
    with pytest.raises(SoctkError, match=message):
        datadir.read(tmp_path / "data")
    with pytest.raises(SoctkError, match=message):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, channel=channel))
    assert not (tmp_path / "bad").exists()


def test_known_duplicates_are_kept(tmp_path, corpus):
    groups = frozenset(
        {frozenset({"spk0-sad-0", "spk1-sad-0"}), frozenset({"spk2-sad-0", "spk2-sad-1", "spk0-calm-0"})}
    )
    datadir.write(tmp_path / "data", dataclasses.replace(corpus, duplicates=groups))
    lines = "spk0-calm-0 spk2-sad-0 spk2-sad-1\nspk0-sad-0 spk1-sad-0\n"
    assert (tmp_path / "data" / "duplicates").read_text() == lines
    assert datadir.read(tmp_path / "data").duplicates == groups
    datadir.write(tmp_path / "data", corpus)
    assert not (tmp_path / "data" / "duplicates").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("spk0-sad-0\n", "'spk0-sad-0' is one utterance"),
        ("spk0-sad-0 spk0-sad-0\n", "'spk0-sad-0' is one utterance"),
        ("spk0-sad-0 spk1-sad-0\nspk2-sad-0 spk1-sad-0\n", "spk1-sad-0 is in 2 groups"),
        ("spk0-sad-0 spk9-sad-0\n", "duplicates: spk9-sad-0 is not in wav.scp"),
    ],
)
def test_a_malformed_list_of_duplicates_is_refused(tmp_path, corpus, lines, message):
    (tmp_path / "data" / "duplicates").write_text(lines)
    with pytest.raises(SoctkError, match=message):
        datadir.read(tmp_path / "data")


def with_segments(corpus):
    """Return the corpus with two segments of one recording for each speaker and emotion, instead of two recordings."""
    recording = {utt: utt[:-2] + "-0" for utt in corpus.utterances}
    segments = {utt: Segment(recording[utt], 0.1 * int(utt[-1]), 0.1 * int(utt[-1]) + 0.12) for utt in recording}
    wav = {name: corpus.wav[name] for name in sorted(set(recording.values()))}
    return dataclasses.replace(corpus, wav=wav, segments=segments, seconds=dict.fromkeys(segments, 0.12))


def test_segments_are_written_and_read_back(tmp_path, corpus):
    data = with_segments(corpus)
    datadir.write(tmp_path / "data", data)
    lines = (tmp_path / "data" / "segments").read_text().splitlines()
    assert lines[:2] == ["spk0-angry-0 spk0-angry-0 0.0 0.12", "spk0-angry-1 spk0-angry-0 0.1 0.22"]
    again = datadir.read(tmp_path / "data")
    assert again == data
    assert again.utterances == corpus.utterances
    assert again.clip("spk0-angry-1") == Clip(corpus.wav["spk0-angry-0"], 0.1, 0.22)
    assert datadir.summary(again).startswith("36 utterances in 18 recordings, 0.00 h, 6 speakers, 3 folds;")
    datadir.write(tmp_path / "data", corpus)
    assert not (tmp_path / "data" / "segments").exists()
    assert datadir.read(tmp_path / "data").clip("spk0-angry-1") == Clip(corpus.wav["spk0-angry-1"])


SEGMENT_FAULTS = {
    "no end": (
        edit("segments", r"^(spk0-angry-0 \S+ \S+).*", r"\1"),
        "segments line 1: 'spk0-angry-0 spk0-angry-0 0.0' is not an id, a space and a recording, its start and its end",
    ),
    "an end before the start": (
        edit("segments", r"^(spk0-angry-1 \S+ \S+).*", r"\1 0.05"),
        "segments: spk0-angry-1 is from 0.1 to 0.05 s; write a start from 0 and a later end",
    ),
    "a negative start": (edit("segments", r"^(spk0-angry-0 \S+) 0.0", r"\1 -1"), "spk0-angry-0 is from -1.0 to 0.12 s"),
    "a NaN": (edit("segments", r"^(spk0-angry-0 \S+) 0.0", r"\1 nan"), "spk0-angry-0 is from nan to 0.12 s"),
    "an unknown recording": (
        edit("segments", r"^spk0-angry-0 \S+", "spk0-angry-0 tape"),
        "wav.scp: 1 id of segments missing, such as tape",
    ),
    "a recording without segments": (
        edit("wav.scp", r"^(spk5-sad-0) (.*)", r"\1 \2\nspk5-sad-7 \2"),
        "segments: 1 id of wav.scp missing, such as spk5-sad-7",
    ),
    "a missing utterance": (
        edit("segments", r"^spk0-angry-0.*\n", ""),
        "segments: 1 id of utt2spk missing, such as spk0-angry-0",
    ),
    "a missing recording": (edit("wav.scp", r"\.wav$", ".gone"), "wav.scp: the recording of spk0-angry-0 is missing: "),
}


@pytest.mark.parametrize("fault", SEGMENT_FAULTS)
def test_a_fault_of_segments_is_reported(tmp_path, corpus, fault):
    datadir.write(tmp_path / "data", with_segments(corpus))
    break_it, message = SEGMENT_FAULTS[fault]
    break_it(tmp_path / "data")
    with pytest.raises(SoctkError) as error:
        datadir.read(tmp_path / "data")
    assert message in str(error.value)


def with_partition(corpus, unknown=False):
    """Return the corpus with the folds as train, dev, and two tests; with speakers, or with unknown ones."""
    part = {1: "train", 2: "dev", 3: "test1"}
    split = {utt: part[corpus.fold[speaker]] for utt, speaker in corpus.speaker.items()}
    split |= {utt: "test2" for utt, name in split.items() if name == "test1" and utt.endswith("-1")}
    data = dataclasses.replace(corpus, fold={}, split=split)
    return dataclasses.replace(data, speaker={utt: utt for utt in corpus.wav}, gender={}) if unknown else data


def test_a_partition_is_written_and_read_back(tmp_path, corpus):
    data = with_partition(corpus)
    datadir.write(tmp_path / "data", data)
    assert not (tmp_path / "data" / "spk2fold").exists()
    again = datadir.read(tmp_path / "data")
    assert again == data
    assert again.folds == [1]
    assert again.tests == ["test1", "test2"]
    assert again.utterances_of([1]) == sorted(utt for utt in corpus.utterances if corpus.fold[utt[:4]] == 3)
    assert again.part("dev") == [utt for utt in corpus.utterances if corpus.fold[utt[:4]] == 2]
    assert again.unknown == frozenset()
    assert datadir.summary(again) == (
        "36 utterances, 0.00 h, 6 speakers, train 12, dev 12, test1 6, test2 6; calm 12, angry 12, sad 12"
    )
    assert data.checksum() != corpus.checksum()
    datadir.write(tmp_path / "data", corpus)
    assert datadir.read(tmp_path / "data") == corpus


def test_in_a_partition_the_speaker_is_unknown_if_it_is_the_utterance_id(tmp_path, corpus):
    data = with_partition(corpus, unknown=True)
    datadir.write(tmp_path / "data", data)
    again = datadir.read(tmp_path / "data")
    assert again.unknown == set(corpus.utterances)
    assert "0.00 h, unknown speakers, train 12" in datadir.summary(again)
    some = dataclasses.replace(data, speaker={**data.speaker, "spk0-sad-0": "spk0", "spk0-sad-1": "spk0"})
    assert len(some.unknown) == 34
    names = {utt: "x01" if utt == "spk0-sad-0" else "x1" if utt == "spk0-sad-1" else utt for utt in corpus.utterances}
    columns = ("wav", "emotion", "seconds", "split")
    alike = {name: {names[utt]: value for utt, value in getattr(data, name).items()} for name in columns}
    alike = dataclasses.replace(data, **alike, speaker={name: name for name in names.values()})
    datadir.write(tmp_path / "alike", alike)  # ids of utterances may look alike, names of speakers may not
    assert "1 speaker and 34 utterances of unknown speakers, train 12" in datadir.summary(some)
    single = dataclasses.replace(data, split={}, fold={utt: 1 + i % 3 for i, utt in enumerate(corpus.utterances)})
    assert single.unknown == frozenset()  # with spk2fold, a speaker of one utterance may have its id


def test_folds_of_utterances_may_share_speakers(tmp_path, corpus):
    data = dataclasses.replace(corpus, fold={}, utterance_fold={utt: 1 + int(utt[-1]) for utt in corpus.utterances})
    datadir.write(tmp_path / "data", data)
    again = datadir.read(tmp_path / "data")
    assert again == data
    assert again.folds == [1, 2]
    assert again.utterances_of([2]) == [utt for utt in corpus.utterances if utt.endswith("1")]


def test_valid_is_another_name_of_dev(tmp_path, corpus):
    datadir.write(tmp_path / "data", with_partition(corpus))
    path = tmp_path / "data" / "utt2split"
    path.write_text(path.read_text().replace(" dev\n", " valid\n"))
    assert datadir.read(tmp_path / "data") == with_partition(corpus)


PARTITION_FAULTS = {
    "an unknown part": (
        edit("utt2split", "train$", "first"),
        "is not an id, a space and train, dev, or a test such as",
    ),
    "a missing utterance": (
        edit("utt2split", r"^spk0-angry-0.*\n", ""),
        "utt2split: 1 id of wav.scp missing, such as spk0-angry-0",
    ),
    "two divisions": (
        lambda path: (path / "spk2fold").write_text("".join(f"spk{i} {i % 3 + 1}\n" for i in range(6))),
        "utt2split: spk2fold divides the corpus already; keep one of the two files",
    ),
    "no division": (
        lambda path: (path / "utt2split").unlink(),
        "not a data directory: it has no spk2fold or utt2split or utt2fold",
    ),
}


@pytest.mark.parametrize("fault", PARTITION_FAULTS)
def test_a_fault_of_a_partition_is_reported(tmp_path, corpus, fault):
    datadir.write(tmp_path / "data", with_partition(corpus))
    break_it, message = PARTITION_FAULTS[fault]
    break_it(tmp_path / "data")
    with pytest.raises(SoctkError) as error:
        datadir.read(tmp_path / "data")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [("train", "utt2split: no utterance is in train"), ("test", "utt2split: no utterance is in a test, only in dev")],
)
def test_a_partition_needs_training_and_test_utterances(tmp_path, corpus, replaced, message):
    split = {utt: "dev" if part.startswith(replaced) else part for utt, part in with_partition(corpus).split.items()}
    with pytest.raises(SoctkError, match=message):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, fold={}, split=split))


@given(st.data())
def test_a_damaged_file_gives_the_corpus_or_a_message(tmp_path_factory, data):
    root = tmp_path_factory.getbasetemp() / "damaged"
    if not root.exists():
        write_corpus(root, utterances_each=1)
    path = data.draw(st.sampled_from(sorted((root / "data").iterdir())))
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content)))
    removed = data.draw(st.integers(0, 3))
    inserted = data.draw(st.binary(max_size=6))
    path.write_bytes(content[:position] + inserted + content[position + removed :])
    try:
        datadir.read(root / "data")
    except SoctkError as error:
        assert str(error).startswith(str(root / "data"))
    finally:
        path.write_bytes(content)


def test_extra_files_of_the_user_are_kept(tmp_path, corpus):
    datadir.write(tmp_path / "data", corpus)
    (tmp_path / "data" / "utt2room").write_text("".join(f"{utt} hall\n" for utt in corpus.utterances))
    datadir.write(tmp_path / "data", corpus)
    assert datadir.read(tmp_path / "data").extra == {"room": dict.fromkeys(corpus.utterances, "hall")}


def test_extra_files_with_other_utterances_are_refused_before_anything_is_written(tmp_path, corpus):
    older = dataclasses.replace(corpus, extra={"take": {utt: utt[-1] for utt in corpus.wav}})
    datadir.write(tmp_path / "data", older)
    some = {utt: path for utt, path in corpus.wav.items() if "angry" not in utt}
    kept = {name: {utt: getattr(corpus, name)[utt] for utt in some} for name in ("speaker", "emotion", "seconds")}
    newer = dataclasses.replace(corpus, wav=some, **kept, extra={"text": dict.fromkeys(some, "yes")})
    with pytest.raises(
        SoctkError, match=r"these existing files have other utterances than the new corpus: utt2take\nRemove"
    ):
        datadir.write(tmp_path / "data", newer)
    assert datadir.read(tmp_path / "data") == older
    (tmp_path / "data" / "utt2take").unlink()
    datadir.write(tmp_path / "data", newer)
    assert datadir.read(tmp_path / "data") == newer


def test_an_invalid_corpus_does_not_replace_a_valid_one(tmp_path, corpus):
    with pytest.raises(SoctkError, match="not a valid data directory"):
        datadir.write(
            tmp_path / "data", dataclasses.replace(corpus, fold={**corpus.fold, "spk0": 7}, emotions=("calm",))
        )
    corpus.wav["spk0-sad-0"].rename(tmp_path / "gone.wav")
    with pytest.raises(SoctkError, match="the recording of spk0-sad-0 is missing"):
        datadir.write(tmp_path / "data", dataclasses.replace(corpus, gender={}))
    assert datadir.read(tmp_path / "data", recordings=False) == corpus


def test_an_emotion_may_not_be_named_like_a_column_of_the_predictions(tmp_path, corpus):
    renamed = {utt: "ref" if emotion == "sad" else emotion for utt, emotion in corpus.emotion.items()}
    with pytest.raises(SoctkError, match=r"ref is the name of a column of predictions\.tsv"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, emotion=renamed, emotions=("calm", "angry", "ref")))


def test_the_summary_counts_utterances_speakers_folds_and_emotions(corpus):
    assert datadir.summary(corpus) == ("36 utterances, 0.00 h, 6 speakers, 3 folds; calm 12, angry 12, sad 12")


def test_the_checksum_depends_on_labels_speakers_and_folds_and_not_on_paths(corpus):
    moved = dataclasses.replace(corpus, wav=dict.fromkeys(corpus.wav, corpus.wav["spk0-sad-0"]))
    relabelled = dataclasses.replace(corpus, emotion={**corpus.emotion, "spk0-sad-0": "calm"})
    refolded = dataclasses.replace(corpus, fold={**corpus.fold, "spk0": 2})
    respoken = dataclasses.replace(corpus, speaker={**corpus.speaker, "spk0-sad-0": "spk1"})
    reordered = dataclasses.replace(corpus, emotions=tuple(reversed(corpus.emotions)))
    assert moved.checksum() == corpus.checksum()
    assert len({data.checksum() for data in (corpus, relabelled, refolded, respoken, reordered)}) == 5


def test_the_sex_of_some_speakers_may_be_unknown(tmp_path, corpus):
    known = {"spk1": corpus.gender["spk1"]}
    datadir.write(tmp_path / "data", dataclasses.replace(corpus, gender=known))
    assert datadir.read(tmp_path / "data").gender == known


def test_without_sexes_there_is_no_spk2gender(tmp_path, corpus):
    datadir.write(tmp_path / "data", dataclasses.replace(corpus, gender={}))  # an earlier spk2gender is removed
    assert not (tmp_path / "data" / "spk2gender").exists()
    assert datadir.read(tmp_path / "data").gender == {}


def test_a_directory_for_kaldi_has_spk2utt_too(tmp_path, corpus):
    kaldi.write(tmp_path / "kaldi", corpus)
    files = {path.name: path.read_text().splitlines() for path in (tmp_path / "kaldi").iterdir()}
    assert files.keys() == {path.name for path in (tmp_path / "data").iterdir()} | {"spk2utt"}
    assert datadir.read(tmp_path / "kaldi") == corpus
    assert files["spk2utt"][0] == ("spk0 spk0-angry-0 spk0-angry-1 spk0-calm-0 spk0-calm-1 spk0-sad-0 spk0-sad-1")
    assert [line.split(" ", 1)[0] for line in files["wav.scp"]] == corpus.utterances


def test_utterances_that_are_not_in_the_order_of_their_speakers_are_refused_for_kaldi(tmp_path, corpus):
    utterance = {utt: f"{speaker}.{i}" for i, (utt, speaker) in enumerate(corpus.speaker.items())}
    speaker = {new: corpus.speaker[utt] for utt, new in utterance.items()} | {"spk0!": "spk0", "spk0": "spk"}
    with pytest.raises(SoctkError, match="sorted utterances are not in the order of their speakers, as Kaldi requires"):
        kaldi.write(tmp_path / "kaldi", dataclasses.replace(corpus, speaker=speaker | {"spk": "spk0"}))
