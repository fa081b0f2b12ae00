import dataclasses

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from soctk.cli import export, import_, validate
from soctk.corpus import audio, datadir, doctor, splits
from soctk.corpus.quick_checks import notes


def find_notes(data) -> list[str]:
    return notes(data, audio.check(data.wav, data.channel))


def rewrite(corpus, change) -> None:
    for path in corpus.wav.values():
        samples, rate = soundfile.read(path)
        soundfile.write(path, change(samples), rate)


def test_a_faultless_corpus_has_no_notes(corpus):
    assert find_notes(corpus) == []
    assert notes(corpus) == []


def test_a_silent_first_channel_of_all_recordings_is_told_with_the_channel_to_take(corpus):
    rewrite(corpus, lambda samples: np.stack([0 * samples, samples], axis=1))
    silence, several = find_notes(corpus)
    assert silence == (
        "Note: silence in channel 1: 36, such as spk0-angry-0, spk0-angry-1, spk0-calm-0. All recordings are silent, "
        "so no model can learn from them. Channel 2 has sound in 36 of them: soctk-import --channel 2, or write 2 to "
        "the file `channel` of the data directory."
    )
    assert several.startswith("Note: several channels (channel 1 is used): 36, such as spk0-angry-0 (2), ")
    assert "soctk-import --channel 1|2|mix" in several
    (of_second,) = find_notes(dataclasses.replace(corpus, channel="2"))
    assert of_second.startswith("Note: several channels (channel 2 is used): 36")
    (of_mean,) = find_notes(dataclasses.replace(corpus, channel="mix"))
    assert of_mean.startswith("Note: several channels (the mean of all channels is used): 36")


def test_the_mean_of_all_channels_is_advised_if_recordings_lack_the_channel_that_has_sound(corpus):
    path = corpus.wav["spk0-sad-0"]
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.stack([0 * samples, samples], axis=1), rate)
    silence, _ = find_notes(corpus)
    assert silence == (
        "Note: silence in channel 1: spk0-sad-0. Channel 2 has sound in 1 of them; 35 recordings without this channel "
        "need the mean of all channels: soctk-import --channel mix, or write mix to the file `channel` of the data "
        "directory."
    )
    (several,) = find_notes(dataclasses.replace(corpus, channel="mix"))
    assert several.startswith("Note: several channels")


def test_a_header_that_declares_less_sound_than_the_file_has_is_told(corpus):
    path = corpus.wav["spk0-sad-0"]
    samples = (3000 * np.sin(0.1 * np.arange(16000))).astype(np.int16)
    soundfile.write(path, samples, 16000)
    content = bytearray(path.read_bytes())
    content[40:44] = (8000).to_bytes(4, "little")  # the size of the chunk `data`
    path.write_bytes(content)
    (note,) = find_notes(corpus)
    assert note == (
        "Note: WAV files with more sound than their headers declare; the rest is not used: spk0-sad-0 (0.25 s used, "
        "0.75 s not). To use all of it, rewrite the header: sox --ignore-length IN.wav OUT.wav."
    )
    (finding,) = (found for found in doctor.check(corpus.path).findings if found.what.startswith("WAV files"))
    assert len(finding.cases) == 1


def test_silence_without_a_channel_that_has_sound(corpus):
    path = corpus.wav["spk0-sad-0"]
    soundfile.write(path, np.zeros(8000), 16000)
    assert find_notes(corpus) == [
        "Note: silence in channel 1: spk0-sad-0. Replace them, or remove them from the corpus."
    ]


def test_silent_recordings_are_no_copies_of_each_other(corpus):
    for utt in ("spk0-sad-0", "spk1-sad-0"):
        soundfile.write(corpus.wav[utt], np.zeros(8000), 16000)
    (silence,) = find_notes(corpus)
    assert silence.startswith("Note: silence in channel 1: spk0-sad-0, spk1-sad-0. ")


def test_equal_durations_of_all_recordings_are_a_sign_of_a_cut_corpus(corpus):
    equal = dataclasses.replace(corpus, seconds=dict.fromkeys(corpus.seconds, 2.0))
    (note,) = notes(equal)
    assert note.startswith("Note: all recordings have the longest duration, 2.000 s: 36, such as spk0-angry-0, ")
    assert note.endswith("They may have been cut: compare one with its source.")


@pytest.mark.parametrize(("count", "is_told"), [(7, False), (8, True), (36, True)])
def test_many_recordings_of_the_longest_duration_are_told(corpus, count, is_told):
    seconds = {utt: 2.0 if i < count else 0.5 + i / 100 for i, utt in enumerate(corpus.seconds)}
    found = [line for line in notes(dataclasses.replace(corpus, seconds=seconds)) if "longest duration" in line]
    assert len(found) == is_told
    if count == 8:
        assert found[0].startswith("Note: 22% of recordings have the longest duration, 2.000 s: 8, ")


def test_recordings_longer_than_whisper_takes_are_told(corpus):
    seconds = {**corpus.seconds, "spk0-sad-0": 30.0, "spk0-sad-1": 30.1}
    (note,) = notes(dataclasses.replace(corpus, seconds=seconds))
    assert note.startswith("Note: longer than 30 s, the limit of Whisper: spk0-sad-1: 30.1 s. Divide them")


@pytest.mark.parametrize(
    ("copy", "start", "remedy"),
    [
        ("spk1-sad-0", "the same recording in several folds", "one fold, or list them in the file `duplicates`"),
        ("spk3-sad-1", "the same recording by several speakers of one fold", "Keep one of them."),
        ("spk0-calm-1", "the same recording with several emotions", "Keep the right one."),
        ("spk0-sad-1", "the same recording twice, by one speaker and with one emotion", "Keep one of them."),
    ],
)
def test_copies_of_a_recording_are_told_by_their_effect(corpus, copy, start, remedy):
    corpus.wav[copy].write_bytes(corpus.wav["spk0-sad-0"].read_bytes())
    (note,) = find_notes(corpus)
    assert note.startswith(f"Note: {start}")
    assert "spk0-sad-0 (sad)" in note
    assert f"{copy} ({corpus.emotion[copy]})" in note
    assert remedy in note


def test_known_duplicates_are_told_as_such_and_others_still_refused(corpus):
    for copy in ("spk1-sad-0", "spk2-sad-0"):
        corpus.wav[copy].write_bytes(corpus.wav["spk0-sad-0"].read_bytes())
    known = dataclasses.replace(corpus, duplicates=frozenset({frozenset({"spk0-sad-0", "spk1-sad-0", "spk2-sad-0"})}))
    assert find_notes(known) == [
        "Note: known duplicates, listed in the file `duplicates`: spk0-sad-0 (sad) = spk1-sad-0 (sad) = spk2-sad-0 "
        "(sad). All are kept."
    ]
    fewer = dataclasses.replace(corpus, duplicates=frozenset({frozenset({"spk0-sad-0", "spk1-sad-0"})}))
    assert "the same recording in several folds" in find_notes(fewer)[0]


def relabel(corpus, keep) -> dict[str, str]:
    """Return the emotions with calm in place of sad, except of the speakers `keep`."""
    return {
        utt: "calm" if name == "sad" and corpus.speaker[utt] not in keep else name
        for utt, name in corpus.emotion.items()
    }


@pytest.mark.parametrize("speakers", [{"spk0"}, {"spk0", "spk1"}, {"spk1", "spk5"}, {"spk0", "spk1", "spk2"}])
def test_the_emotions_that_a_fold_lacks_are_those_of_its_split(corpus, speakers):
    data = dataclasses.replace(corpus, emotion=relabel(corpus, speakers))
    expected = {"train": [], "test": []}
    for fold in data.folds:
        split = splits.split(data, fold, "soctk", 1)
        for part, folds in expected.items():
            if "sad" not in {data.emotion[utt] for utt in getattr(split, part)}:
                folds.append(f"fold {fold}: sad")
    lines = notes(data)
    for part, folds in expected.items():
        found = [line for line in lines if line.startswith(f"Note: folds that do not {part} all emotions: ")]
        assert len(found) == bool(folds)
        if folds:
            assert f": {', '.join(folds)}. The " in found[0]
            assert ("UA" in found[0]) == (part == "test")


def test_two_speakers_are_told(corpus):
    names = {utt: name for utt, name in corpus.speaker.items() if name in ("spk0", "spk1")}
    parts = {part: {utt: getattr(corpus, part)[utt] for utt in names} for part in ("wav", "emotion", "seconds")}
    few = dataclasses.replace(corpus, speaker=names, fold={"spk0": 1, "spk1": 2}, **parts)
    assert notes(few) == [
        "Note: fewer than 3 folds: 2 folds of 2 speakers. Add recordings of other speakers: no model can be trained, "
        "validated and tested on different ones."
    ]


def test_two_folds_of_many_speakers_are_told(corpus):
    (note,) = notes(dataclasses.replace(corpus, fold={name: int(name[-1]) % 2 + 1 for name in corpus.fold}))
    assert note.startswith("Note: fewer than 3 folds: 2 folds of 6 speakers. Make 3 or more (soctk-import --num-folds)")


def test_speakers_of_one_utterance_are_told(corpus):
    speaker = {utt: utt for utt in corpus.wav}
    fold = {utt: i % 3 + 1 for i, utt in enumerate(corpus.wav)}
    (note,) = [n for n in notes(dataclasses.replace(corpus, speaker=speaker, fold=fold)) if "one utterance" in n]
    assert note.startswith("Note: every speaker has one utterance: 36, such as ")


def test_a_speaker_of_one_utterance_among_others_of_many_is_told(corpus):
    first, *_ = corpus.wav
    renamed = dataclasses.replace(corpus, speaker={**corpus.speaker, first: "spk"}, fold={**corpus.fold, "spk": 1})
    assert notes(renamed) == [
        "Note: speakers with one utterance, where most have many: spk. Check their spelling: one person with two names "
        "would be in training and test data."
    ]


def test_a_corpus_of_one_emotion_is_told(corpus):
    one = dataclasses.replace(corpus, emotion=dict.fromkeys(corpus.wav, "sad"), emotions=("sad",))
    assert notes(one) == [
        "Note: only one emotion: sad. A classifier needs two or more: check the column of the emotion, and the label "
        "map."
    ]


@pytest.mark.parametrize(("counts", "is_told"), [((18, 12, 6), False), ((19, 12, 5), True)])
def test_classes_with_less_than_a_third_of_the_largest_are_told_with_the_remedy(corpus, counts, is_told):
    in_turn = [name for name, count in zip(("calm", "angry", "sad"), counts, strict=True) for _ in range(count)]
    emotion = dict(zip(corpus.utterances, in_turn, strict=True))
    told = [line for line in notes(dataclasses.replace(corpus, emotion=emotion)) if line.startswith("Note: classes")]
    assert told == is_told * [
        "Note: classes with less than 1/3 of the 19 utterances of calm: sad 5. A model predicts them rarely. To count "
        "all classes equally in training: soctk-train --set head.class_weight=balanced (docs/labels.md)."
    ]


def test_values_on_a_dimension_that_look_like_errors_are_told(corpus):
    usual = {utt: 1 + i % 7 for i, utt in enumerate(corpus.utterances)}  # quartiles 2, 4, 6: 20 from 4 is not told
    first, second, *_ = corpus.utterances
    told = notes(dataclasses.replace(corpus, dimensions={"arousal": usual | {first: 24, second: -16}}))
    assert told == []
    told = notes(dataclasses.replace(corpus, dimensions={"arousal": usual | {first: 70, second: -99}}))
    assert told == [
        f"Note: values on a dimension far from all others: {first} (arousal 70), {second} (arousal -99). If they are "
        "errors or codes of missing values, correct them or remove the rows; they distort the scores."
    ]


def test_a_dimension_without_variation_is_told(corpus):
    constant = dict.fromkeys(corpus.utterances, 3.0)
    assert notes(dataclasses.replace(corpus, dimensions={"valence": constant})) == [
        "Note: all values of a dimension are equal: valence. No model can learn it: check its column."
    ]


def test_soctk_validate_prints_the_notes_without_decoding(tmp_path, corpus):
    for path in corpus.wav.values():
        path.write_bytes(b"")
    (tmp_path / "data" / "utt2dur").write_text("".join(f"{utt} 2.0\n" for utt in corpus.wav))
    result = CliRunner().invoke(validate.main, [str(tmp_path / "data")])
    assert result.exit_code == 0
    first, note = result.output.rstrip().split("\n")
    assert first.startswith(f"{tmp_path / 'data'}: 36 utterances")
    assert note.startswith("Note: all recordings have the longest duration, 2.000 s: 36, such as ")


def run(command, *arguments) -> str:
    result = CliRunner().invoke(command.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_soctk_import_prints_notes_and_writes_the_channel_and_the_duplicates(tmp_path, corpus):
    rewrite(corpus, lambda samples: np.stack([0 * samples, samples], axis=1))
    corpus.wav["spk1-sad-0"].write_bytes(corpus.wav["spk0-sad-0"].read_bytes())
    source = (tmp_path / "recordings of the corpus", "--pattern", "{speaker}-{emotion}-{n}.wav")
    output = run(import_, *source[:1], tmp_path / "first", *source[1:])
    assert "\nNote: silence in channel 1: 36, such as " in output
    assert not (tmp_path / "first" / "channel").exists()
    output = run(import_, *source[:1], tmp_path / "second", *source[1:], "--channel", "2")
    assert "silence" not in output
    assert (
        "\nNote: the same recording in several folds (in training and test data): spk0-sad-0 (sad) = spk1-sad-0"
        in output
    )
    assert datadir.read(tmp_path / "second").channel == "2"
    (tmp_path / "known").write_text("spk1-sad-0 spk0-sad-0\n")
    options = ("--channel", "2", "--duplicates", tmp_path / "known")
    output = run(import_, *source[:1], tmp_path / "third", *source[1:], *options)
    assert "\nNote: known duplicates, listed in the file `duplicates`: spk0-sad-0 (sad) = spk1-sad-0 (sad). " in output
    assert datadir.read(tmp_path / "third").duplicates == {frozenset({"spk0-sad-0", "spk1-sad-0"})}
    for form in ("emobox", "kaldi"):
        assert "Note: soctk uses channel 2" in run(export, tmp_path / "third", tmp_path / form, "--format", form)


@pytest.mark.parametrize("channel", ["0", "left", "1,2", "-1"])
def test_soctk_import_refuses_an_unknown_channel(tmp_path, corpus, channel):
    arguments = [str(tmp_path / "recordings of the corpus"), str(tmp_path / "new"), "--channel", channel]
    result = CliRunner().invoke(import_.main, arguments)
    assert result.exit_code == 2
    assert f"'{channel}' is not 1, 2, ... or mix" in result.output
