import dataclasses
import re

import pytest

from soctk.corpus import datadir
from soctk.errors import SoctkError


def test_what_is_written_is_read(tmp_path, corpus):
    datadir.write(tmp_path / "again", corpus)
    assert datadir.read(tmp_path / "again") == corpus


def test_what_else_is_known_of_the_utterances_is_kept(tmp_path, corpus):
    extra = {"take": {utt: utt[-1] for utt in corpus.wav}, "text": dict.fromkeys(corpus.wav, "two words")}
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, extra=extra))
    assert datadir.read(tmp_path / "again").extra == extra
    assert datadir.read(tmp_path / "again").checksum() == corpus.checksum()
    edit("utt2take", r"^spk0-angry-0.*\n", "")(tmp_path / "again")
    with pytest.raises(SoctkError, match=r"utt2take: lacks 1 ids that wav.scp has, such as spk0-angry-0"):
        datadir.read(tmp_path / "again")


def test_the_recordings_need_not_be_there_where_they_are_not_needed(tmp_path, corpus):
    corpus.wav[corpus.utterances[0]].unlink()
    assert datadir.read(tmp_path / "data", recordings=False) == corpus
    with pytest.raises(SoctkError, match="is not there"):
        datadir.read(tmp_path / "data")


def test_every_file_is_sorted_whatever_the_order_it_is_given_in(tmp_path, corpus):
    backwards = {name: dict(reversed(list(getattr(corpus, name).items()))) for name in ("wav", "speaker", "fold")}
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, **backwards))
    for file in ("wav.scp", "utt2spk", "spk2fold"):
        lines = (tmp_path / "again" / file).read_text().splitlines()
        assert lines == sorted(lines)
    assert datadir.read(tmp_path / "again") == corpus


def test_paths_keep_their_spaces_and_letters(tmp_path, corpus):
    odd = tmp_path / "a  b" / "ü – 語.wav"
    odd.parent.mkdir()
    first = corpus.utterances[0]
    odd.write_bytes(corpus.wav[first].read_bytes())
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, wav={**corpus.wav, first: odd}))
    assert datadir.read(tmp_path / "again").wav[first] == odd


def test_a_path_that_is_no_utf8_survives(tmp_path, corpus):
    odd = tmp_path / b"latin-\xe9.wav".decode("utf-8", "surrogateescape")
    first = corpus.utterances[0]
    odd.write_bytes(corpus.wav[first].read_bytes())
    datadir.write(tmp_path / "again", dataclasses.replace(corpus, wav={**corpus.wav, first: odd}))
    assert datadir.read(tmp_path / "again").wav[first] == odd


def edit(file, pattern, replacement):
    """Return a function that edits a file of a data directory."""

    def apply(path):
        text = (path / file).read_text()
        changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
        assert changed != text
        (path / file).write_text(changed)

    return apply


def edit_bytes(text, replacement):
    """Return a function that replaces a text in all files of a data directory but their paths, and sorts them."""

    def apply(path):
        for file in path.iterdir():
            lines = [line.partition(b" /") for line in file.read_bytes().splitlines()]
            changed = [b"".join((line.replace(text.encode(), replacement), *rest)) for line, *rest in lines]
            file.write_bytes(b"\n".join(changed if file.name == "emotions" else sorted(changed)) + b"\n")

    return apply


FAULTS = {
    "a missing file": (lambda path: (path / "utt2emo").unlink(), "it lacks utt2emo"),
    "an empty file": (lambda path: (path / "utt2spk").write_text(""), "utt2spk"),
    "a line of one word": (
        edit("utt2emo", r"^(spk0-angry-0) angry", r"\1"),
        "utt2emo line 1: 'spk0-angry-0' is not a key",
    ),
    "an empty line": (edit("utt2spk", r"^spk1-", "\nspk1-"), "utt2spk line 7: '' is not a key"),
    "lines out of order": (
        edit("utt2emo", r"^(spk0-angry-0.*\n)(spk0-angry-1.*\n)", r"\2\1"),
        "spk0-angry-0 comes after spk0-angry-1; sort with LC_ALL=C",
    ),
    "a line twice": (
        edit("utt2emo", r"^(spk0-angry-0.*\n)", r"\1\1"),
        "utt2emo line 2: spk0-angry-0 stands there twice",
    ),
    "an utterance too few": (
        edit("utt2emo", r"^spk0-angry-0.*\n", ""),
        "utt2emo: lacks 1 ids that wav.scp has, such as spk0-angry-0",
    ),
    "an utterance too many": (
        edit("utt2dur", r"^spk0-calm-0.*", r"\g<0>\nspk0-calm-00 1.0"),
        "wav.scp: lacks 1 ids that utt2dur has, such as spk0-calm-00",
    ),
    "an unknown emotion": (
        edit("utt2emo", "angry$", "cross"),
        "utt2emo: spk0-angry-0 is cross, which the file emotions",
    ),
    "a speaker without a fold": (edit("spk2fold", r"^spk5 .*\n", ""), "spk2fold: lacks 1 ids that utt2spk has"),
    "a fold that is no number": (
        edit("spk2fold", r"^spk5 .*", "spk5 three"),
        "is not a key, a space and a whole number",
    ),
    "a hole in the folds": (edit("spk2fold", r"^spk5 3", "spk5 5"), "the folds are [1, 2, 3, 5], not 1, 2, ..."),
    "an unknown sex": (edit("spk2gender", r"^spk0 m", "spk0 x"), "spk0 is 'x', neither m nor f"),
    "a duration of nothing": (edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 0"), "spk0-angry-0 lasts 0.0 s"),
    "a duration below nothing": (edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 -1"), "spk0-angry-0 lasts -1.0 s"),
    "a duration without end": (edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 inf"), "spk0-angry-0 lasts inf s"),
    "a duration that is none": (edit("utt2dur", r"^(spk0-angry-0) .*", r"\1 nan"), "spk0-angry-0 lasts nan s"),
    "a file of what is known": (
        lambda path: (path / "utt2speaker").write_text((path / "utt2spk").read_text()),
        "utt2speaker: utt2spk says the speaker; rename it",
    ),
    "an id that is not UTF-8": (edit_bytes("spk0-angry-0", b"spk0-\xe4"), r"wav.scp: 'spk0-\udce4' is not UTF-8"),
    "a speaker that is not UTF-8": (edit_bytes("spk0", b"spk\xe4"), r"utt2spk: 'spk\udce4' is not UTF-8"),
    "an emotion that is not UTF-8": (edit_bytes("sad", b"s\xe4d"), r"emotions: 's\udce4d' is not UTF-8"),
    "a recording that is not there": (edit("wav.scp", r"\.wav$", ".gone"), "spk0-angry-0 is not there: "),
    "a command": (edit("wav.scp", r"^(spk0-angry-0) .*", r"\1 sox x.mp3 - |"), "commands are not run"),
    "a speaker that does not prefix": (
        edit("utt2spk", r"^(spk0-angry-0) spk0", r"\1 spk1"),
        "spk0-angry-0 does not begin with its speaker spk1",
    ),
    "an emotion listed twice": (edit("emotions", "sad", "sad\nsad"), "emotions: sad stands there 2 times"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_its_place_and_a_remedy(tmp_path, corpus, fault):
    break_it, message = FAULTS[fault]
    break_it(tmp_path / "data")
    with pytest.raises(SoctkError) as error:
        datadir.read(tmp_path / "data")
    assert message in str(error.value)
    assert str(tmp_path / "data") in str(error.value)
    assert str(error.value).endswith(datadir.REMEDY)


def test_all_faults_are_told_at_once(tmp_path, corpus):
    for fault in ("an unknown emotion", "an unknown sex", "a hole in the folds"):
        FAULTS[fault][0](tmp_path / "data")
    with pytest.raises(SoctkError, match=r"(?s)is cross.*neither m nor f.*the folds are"):
        datadir.read(tmp_path / "data")


def test_what_is_written_is_validated(tmp_path, corpus):
    with pytest.raises(SoctkError, match="spk2gender: lacks 6 ids"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, gender={"nobody": "m"}))


def test_ids_and_classes_with_white_space_are_refused_before_anything_is_written(tmp_path, corpus):
    spaced = {utt: "very sad" if emotion == "sad" else emotion for utt, emotion in corpus.emotion.items()}
    with pytest.raises(SoctkError, match=r"white space in them\n  'very sad'\n"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, emotion=spaced))
    assert not (tmp_path / "bad").exists()


def test_ids_that_are_not_utf8_are_refused_before_anything_is_written(tmp_path, corpus):
    emotion = {**corpus.emotion, "spk0-sad-0": "s\udce4d"}
    with pytest.raises(SoctkError, match=r"that are not UTF-8\n  's\\udce4d'\nRename the files"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, emotion=emotion))
    assert not (tmp_path / "bad").exists()


def test_what_a_user_says_besides_of_the_utterances_stays(tmp_path, corpus):
    datadir.write(tmp_path / "data", corpus)
    (tmp_path / "data" / "utt2room").write_text("".join(f"{utt} hall\n" for utt in corpus.utterances))
    datadir.write(tmp_path / "data", corpus)
    assert datadir.read(tmp_path / "data").extra == {"room": dict.fromkeys(corpus.utterances, "hall")}


def test_what_is_said_besides_of_other_utterances_is_told_before_anything_is_written(tmp_path, corpus):
    older = dataclasses.replace(corpus, extra={"take": {utt: utt[-1] for utt in corpus.wav}})
    datadir.write(tmp_path / "data", older)
    some = {utt: path for utt, path in corpus.wav.items() if "angry" not in utt}
    kept = {name: {utt: getattr(corpus, name)[utt] for utt in some} for name in ("speaker", "emotion", "seconds")}
    newer = dataclasses.replace(corpus, wav=some, **kept, extra={"text": dict.fromkeys(some, "yes")})
    with pytest.raises(SoctkError, match=r"data: there are files of other utterances in it: utt2take\nRemove them"):
        datadir.write(tmp_path / "data", newer)
    assert datadir.read(tmp_path / "data") == older
    (tmp_path / "data" / "utt2take").unlink()
    datadir.write(tmp_path / "data", newer)
    assert datadir.read(tmp_path / "data") == newer


def test_what_is_not_valid_replaces_nothing(tmp_path, corpus):
    with pytest.raises(SoctkError, match="not a valid data directory"):
        datadir.write(
            tmp_path / "data", dataclasses.replace(corpus, fold={**corpus.fold, "spk0": 7}, emotions=("calm",))
        )
    corpus.wav["spk0-sad-0"].rename(tmp_path / "gone.wav")
    with pytest.raises(SoctkError, match="spk0-sad-0 is not there"):
        datadir.write(tmp_path / "data", dataclasses.replace(corpus, gender={}))
    assert datadir.read(tmp_path / "data", recordings=False) == corpus


def test_an_emotion_may_not_be_named_like_a_column_of_the_predictions(tmp_path, corpus):
    renamed = {utt: "ref" if emotion == "sad" else emotion for utt, emotion in corpus.emotion.items()}
    with pytest.raises(SoctkError, match=r"ref is the name of a column of predictions\.tsv"):
        datadir.write(tmp_path / "bad", dataclasses.replace(corpus, emotion=renamed, emotions=("calm", "angry", "ref")))


def test_summary_counts(corpus):
    assert datadir.summary(corpus) == ("36 utterances, 0.00 h, 6 speakers, 3 folds; calm 12, angry 12, sad 12")


def test_the_checksum_is_of_labels_and_folds_and_not_of_places(corpus):
    moved = dataclasses.replace(corpus, wav=dict.fromkeys(corpus.wav, corpus.wav["spk0-sad-0"]))
    relabelled = dataclasses.replace(corpus, emotion={**corpus.emotion, "spk0-sad-0": "calm"})
    refolded = dataclasses.replace(corpus, fold={**corpus.fold, "spk0": 2})
    assert moved.checksum() == corpus.checksum()
    assert len({corpus.checksum(), relabelled.checksum(), refolded.checksum()}) == 3


def test_sex_may_be_unknown_of_all_speakers_and_then_has_no_file(tmp_path, corpus):
    datadir.write(tmp_path / "data", dataclasses.replace(corpus, gender={}))  # over one that has it
    assert not (tmp_path / "data" / "spk2gender").exists()
    assert datadir.read(tmp_path / "data").gender == {}


def test_kaldis_directory_has_spk2utt_and_no_folds(tmp_path, corpus):
    datadir.write_kaldi(tmp_path / "kaldi", corpus)
    files = {path.name: path.read_text().splitlines() for path in (tmp_path / "kaldi").iterdir()}
    assert files.keys() == {"wav.scp", "utt2spk", "spk2utt", "spk2gender", "utt2dur", "utt2emo"}
    assert files["spk2utt"][0] == ("spk0 spk0-angry-0 spk0-angry-1 spk0-calm-0 spk0-calm-1 spk0-sad-0 spk0-sad-1")
    assert [line.split(" ", 1)[0] for line in files["wav.scp"]] == corpus.utterances


def test_kaldi_needs_utterances_in_the_order_of_their_speakers(tmp_path, corpus):
    utterance = {utt: f"{speaker}.{i}" for i, (utt, speaker) in enumerate(corpus.speaker.items())}
    speaker = {new: corpus.speaker[utt] for utt, new in utterance.items()} | {"spk0!": "spk0", "spk0": "spk"}
    with pytest.raises(SoctkError, match="not in the order of their speakers, as Kaldi needs them"):
        datadir.write_kaldi(tmp_path / "kaldi", dataclasses.replace(corpus, speaker=speaker | {"spk": "spk0"}))
