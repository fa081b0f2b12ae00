"""The scores of trivial classifiers of the emotions of a corpus, the file with these scores, and sentences about them.

A trivial classifier (soctk.training.trivial) sees one cue: a property of the recording, the speaker or the text, and
not the voice. `soctk-check` computes the scores and writes them to the data directory; reports print them beside the
scores of experiments.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.files import atomic
from soctk.scoring.intervals import FEWEST_SPEAKERS, Interval

FILE = "cues.json"  # in the data directory

# The names of cues that soctk.training.trivial measures; the file utt2X gives the cue `utt2X`.
LEVEL, FLOOR, LEVEL_AND_FLOOR = "recording level", "noise floor", "level and noise floor"
DURATION, BANDWIDTH, ENDS = "duration", "bandwidth and sample rate", "silence at the ends"
ALL_OF_SOUND, SEX, SPEAKER = "all of these together", "sex of the speaker", "speaker"

_SUMS = (LEVEL_AND_FLOOR, ALL_OF_SOUND)  # cues that consist of others
_ADVICE = {
    LEVEL: "angry speech is louder, for example, but a level may also come from the microphone or from normalised "
    "files. To see the scores at one level, extract again with soctk-extract --normalise level, and compare.",
    FLOOR: "it is the level of the quietest frames. No emotion changes the background noise: if these frames are "
    "pauses, recordings of different emotions were made or processed differently. soctk-extract --normalise level "
    "removes a difference in gain, but none in noise. In recordings without pauses, the frames are quiet speech.",
    DURATION: "emotions differ in speaking rate, but durations may also come from the texts, or from cutting.",
    BANDWIDTH: "recordings of different emotions may come from different devices, codecs or sample rates.",
    ENDS: "recordings of different emotions may have been cut differently.",
    SEX: "the shares of the classes differ between women and men.",
    SPEAKER: "test speakers are in the training data. Test on other speakers (spk2fold) to see the score without them.",
}
_ADVICE_ON_VALUES = (
    "if X is a sentence or a text, a model can recognise the words instead of the emotion. Test on words that training "
    "lacks, with folds of sentences (utt2fold), and compare. If X is a device or a place, test on others."
)


class CueScore(BaseModel, frozen=True, strict=True, allow_inf_nan=False):
    """The scores of the trivial classifier of one cue.

    Attributes:
        cue: the name of the cue.
        test: the name of the test, if the corpus has a published partition with several; else empty.
        WA, UA: the value in % over all test utterances, and the bounds of its 95% interval over speakers; the bounds
            are None with too few speakers.
        chance_WA: the share of the largest class among the test utterances, in %.
        chance_UA: 100 / the number of classes among the test utterances.
    """

    cue: str
    test: str
    WA: tuple[float, float | None, float | None]
    UA: tuple[float, float | None, float | None]
    chance_WA: float
    chance_UA: float

    @property
    def stands_out(self) -> bool:
        """Whether the 95% interval of UA lies above chance."""
        return self.UA[1] is not None and self.UA[1] > self.chance_UA

    def interval(self, metric: str) -> Interval:
        """Return WA or UA; bounds that are not known are NaN."""
        value, low, high = self.WA if metric == "WA" else self.UA
        return Interval(value, math.nan if low is None else low, math.nan if high is None else high)


class Cues(BaseModel, frozen=True, strict=True, allow_inf_nan=False):
    """The scores of all trivial classifiers of a corpus.

    Attributes:
        checksum: that of the data directory (`checksum`).
        scores: the score of each cue, for each test.
        constant: the cues that are equal in all utterances, and therefore have no score.
        exclusive: cue `utt2X` -> the number of values of X with two or more utterances, all of one emotion, and the
            number of values with two or more utterances.
    """

    checksum: str
    scores: list[CueScore]
    constant: list[str]
    exclusive: dict[str, tuple[int, int]]

    @property
    def tests(self) -> list[str]:
        """The names of the tests, in the order of the scores; one empty name if there is one test."""
        return list(dict.fromkeys(score.test for score in self.scores))

    def of_test(self, test: str) -> list[CueScore]:
        """Return the scores on one test."""
        return [score for score in self.scores if score.test == test]


def checksum(data: DataDir) -> str:
    """Return a checksum of what the cues depend on: labels, speakers, folds, sex, durations and each utt2X."""
    tables = [data.gender, data.seconds, *data.extra.values()]
    rows = [data.checksum(), list(data.extra), *(list(table.items()) for table in tables)]
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def write(path: Path, cues: Cues) -> None:
    """Write the scores into a data directory."""
    with atomic(path / FILE) as temporary:
        temporary.write_text(cues.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read(data: DataDir) -> Cues | None:
    """Return the scores of a corpus; None if `soctk-check` has not written them for its present files.

    Raises:
        SoctkError: the file is damaged.
    """
    file = data.path / FILE if data.path is not None else None
    if file is None or not file.is_file():
        return None
    try:
        cues = Cues.model_validate_json(file.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise SoctkError(
            f"not the scores of trivial classifiers ({place + ': ' if place else ''}{problem['msg']})",
            remedy="Run soctk-check on the data directory again, which writes this file.",
            where=file,
        ) from error
    return cues if cues.checksum == checksum(data) else None


def describe(cues: Cues) -> list[str]:
    """Return a sentence for each cue with a UA significantly above chance, and advice."""
    lines = [line for test in cues.tests for line in _describe_test(cues.of_test(test))]
    prominent = {score.cue for score in cues.scores if score.stands_out}
    if LEVEL_AND_FLOOR in prominent and FLOOR not in prominent:
        prominent.add(LEVEL)
    lines += [f"{cue.capitalize()}: {advice}" for cue, advice in _ADVICE.items() if cue in prominent]
    values = [cue for cue in cues.exclusive if cue in prominent]
    for cue in values:
        exclusive, several = cues.exclusive[cue]
        if exclusive:
            lines.append(f"{cue}: {exclusive} of {several} values with several utterances occur in one emotion only.")
    return [*lines, f"{', '.join(values)}: {_ADVICE_ON_VALUES}"] if values else lines


def _describe_test(scores: list[CueScore]) -> Iterator[str]:
    place = f"{scores[0].test}: " if scores[0].test else ""
    if all(score.UA[1] is None for score in scores):
        yield f"{place}Fewer than {FEWEST_SPEAKERS} test speakers, so it is not known what differs from chance."
        return
    prominent = sorted((score for score in scores if score.stands_out), key=lambda score: -score.UA[0])
    single = [score for score in prominent if score.cue not in _SUMS] or prominent
    if not single:
        yield f"{place}No trivial classifier is better than chance."
        return
    first, *others = single
    name = first.cue if first.cue.startswith("utt2") else first.cue.capitalize()
    also = f"; so do {', '.join(f'{score.cue} ({score.UA[0]:.0f}%)' for score in others)}" if others else ""
    figures = f"UA {first.UA[0]:.0f}% against {first.chance_UA:.3g}% by chance"
    yield f"{place}{name} alone tells emotions here: {figures}{also}."
