"""Checks of a data directory: contradictions between its files, and invalid values. A line of text names each fault."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from soctk.corpus.content import DEV, DIVISIONS, TABLES, TRAIN, DataDir
from soctk.corpus.kaldi_files import (
    find_undecoded,
    find_unfit_names,
    find_unfit_values,
    find_unfit_words,
)
from soctk.errors import plural
from soctk.progress import track
from soctk.schema import DIMENSIONS, DISTRIBUTION_COLUMN, PREDICTION_COLUMNS, TEST_COLUMN

# Properties that are read from other files; a file utt2X with one of these names would contradict them.
_RESERVED = {"speaker": "utt2spk", "sex": "spk2gender", "duration": "utt2dur"}


def find_inconsistencies(data: DataDir) -> Iterable[str]:
    """Yield a line for each contradiction between files, and for each invalid value."""
    yield from _check_utterances(data)
    yield from _check_segments(data)
    yield from _check_emotions(data)
    yield from _check_speakers(data)
    yield from _check_division(data)
    for utt, seconds in data.seconds.items():
        if not 0 < seconds < math.inf:
            yield f"utt2dur: {utt} has the duration {seconds} s"
    for utt in sorted(set().union(*data.duplicates).difference(data.speaker)):
        yield f"duplicates: {utt} is not in {_source(data)}"


def find_missing_recordings(data: DataDir) -> Iterable[str]:
    """Yield a line for each recording that is no file."""
    for name, path in track(data.wav.items(), "check paths", "file"):
        if str(path).endswith("|"):
            yield f"wav.scp: {name} is a command, and soctk runs no commands; write the recordings to files"
        elif not path.is_file():
            yield f"wav.scp: the recording of {name} is missing: {path}"


def _source(data: DataDir) -> str:
    """Return the file that defines the utterances."""
    return "segments" if data.segments else "wav.scp"


def _check_utterances(data: DataDir) -> Iterable[str]:
    """Check that all files have the same utterances."""
    source, utterances = _source(data), data.segments or data.wav
    tables: dict[str, Mapping] = {"utt2spk": data.speaker, "utt2dur": data.seconds}
    tables |= {f"utt2{name}": values for name, values in data.dimensions.items()}
    optional: dict[str, Mapping] = {"utt2emo": data.emotion, "utt2dist": data.distribution, "utt2split": data.split}
    optional |= {"utt2fold": data.utterance_fold}
    tables |= {name: table for name, table in optional.items() if table}
    for file, table in tables.items():
        yield from compare_keys(source, utterances, file, table)
    for name, texts in data.extra.items():
        if name in _RESERVED:
            yield f"utt2{name}: the {name} is in {_RESERVED[name]} already; rename this file"
        if f"utt2{name}" in TABLES or name in DIMENSIONS:
            yield f"utt2{name}: this file has another meaning, so a property cannot be called {name}; rename it"
        yield from compare_keys(source, utterances, f"utt2{name}", texts)
        yield from find_undecoded(f"utt2{name}", texts.values())
        yield from find_unfit_values(f"utt2{name}", texts)
    yield from find_unfit_words(source, utterances)
    yield from find_unfit_values("wav.scp", data.wav)


def _check_segments(data: DataDir) -> Iterable[str]:
    """Check the times of segments, and that wav.scp has their recordings and no other."""
    if data.segments:
        used = dict.fromkeys(segment.recording for segment in data.segments.values())
        yield from compare_keys("segments", used, "wav.scp", data.wav)
        yield from find_unfit_words("wav.scp", data.wav)
    for utt, segment in data.segments.items():
        if not segment.is_valid:
            yield f"segments: {utt} is from {segment.start} to {segment.end} s; write a start from 0 and a later end"


def _check_speakers(data: DataDir) -> Iterable[str]:
    yield from find_unfit_names("utt2spk", (name for utt, name in data.speaker.items() if utt not in data.unknown))
    speakers = set(data.speaker.values())
    strangers = [name for name in data.gender if name not in speakers]
    if strangers:
        yield f"utt2spk: {plural(len(strangers), 'id')} of spk2gender missing, such as {strangers[0]}"
    for utt, speaker in data.speaker.items():
        if not utt.startswith(speaker):
            yield f"utt2spk: {utt} does not begin with its speaker {speaker}"
    for speaker, gender in data.gender.items():
        if gender not in ("m", "f"):
            yield f"spk2gender: {speaker} is '{gender}', neither m nor f"


def _check_division(data: DataDir) -> Iterable[str]:
    """Check the folds, or the published partition."""
    given = [file for file in DIVISIONS if getattr(data, TABLES[file].attribute)]
    if len(given) > 1:
        yield f"{given[1]}: {given[0]} divides the corpus already; keep one of the two files"
    if data.split:
        parts = set(data.split.values())
        if TRAIN not in parts:
            yield "utt2split: no utterance is in train"
        if not data.tests:
            yield f"utt2split: no utterance is in a test, only in {' and '.join(sorted(parts & {TRAIN, DEV}))}"
        yield from find_unfit_names("utt2split", parts)
        return
    file = given[0] if given else "spk2fold"
    if file == "spk2fold":
        yield from compare_keys("utt2spk", dict.fromkeys(data.speaker.values()), "spk2fold", data.fold)
    if data.folds != list(range(1, len(data.folds) + 1)):
        yield f"{file}: the folds are {data.folds}, not 1, 2, ..."


def _check_emotions(data: DataDir) -> Iterable[str]:
    if not data.emotion and not data.dimensions:
        yield f"utt2emo: no labels; write this file, or one of {', '.join(f'utt2{name}' for name in DIMENSIONS)}"
    if data.emotions and not data.emotion:
        yield "emotions: there is no utt2emo; remove this file"
    for utt, shares in data.distribution.items():
        if len(shares) != len(data.emotions):
            number = plural(len(shares), "probability", "probabilities")
            yield f"utt2dist: {utt} has {number}, and the file emotions has {len(data.emotions)}"
    yield from find_unfit_names("emotions", data.emotions)
    for utt, emotion in data.emotion.items():
        if emotion not in data.emotions:
            yield f"utt2emo: {utt} has the emotion {emotion}, which is not in the file emotions"
    for emotion in {*PREDICTION_COLUMNS, TEST_COLUMN, DISTRIBUTION_COLUMN}.intersection(data.emotions):
        yield f"emotions: {emotion} is the name of a column of predictions.tsv; choose another name"
    for emotion, count in Counter(data.emotions).items():
        if count > 1:
            yield f"emotions: {emotion} is listed {count} times"


def compare_keys(file: str, keys: Mapping, other_file: str, other_keys: Mapping) -> Iterable[str]:
    """Compare the ids in two files; yield a line for each file that lacks ids of the other file."""
    for one, one_keys, two, two_keys in ((file, keys, other_file, other_keys), (other_file, other_keys, file, keys)):
        lacking = [key for key in one_keys if key not in two_keys]
        if lacking:
            yield f"{two}: {plural(len(lacking), 'id')} of {one} missing, such as {lacking[0]}"
