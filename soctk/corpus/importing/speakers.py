"""Properties that all rows of a speaker share: the sex, and the fold."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from soctk.corpus import folds
from soctk.corpus.importing.rows import Row
from soctk.errors import SoctkError, listing

_SEXES = {"m": "m", "male": "m", "man": "m", "f": "f", "female": "f", "woman": "f"}
_UNKNOWN_SEX = ("unknown", "unk", "u")
# The names of the parts of a published partition, and the fold with which soctk trains and tests like it.
_PARTS = {
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), 1),
    **dict.fromkeys(("dev", "devel", "development", "val", "valid", "validation"), 2),
    **dict.fromkeys(("train", "training"), 3),
}


def collect_sexes(
    utterances: Mapping[str, Row], speaker: Mapping[str, str], fields: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Return speaker -> m or f, for the speakers whose sex some row gives.

    Args:
        utterances: utterance -> row.
        speaker: utterance -> speaker.
        fields: column -> the fields of the source that give it, for messages.

    Raises:
        SoctkError: a sex is neither m, f nor unknown, or a speaker has two sexes.
    """
    sexes: dict[str, set[str]] = {}
    for utt, row in utterances.items():
        sex = row.get("sex", "").lower()
        if sex and sex not in _UNKNOWN_SEX:
            sexes.setdefault(speaker[utt], set()).add(_parse_sex(sex, speaker[utt]))
    both = [name for name, values in sexes.items() if len(values) > 1]
    if both:
        parts = [*fields.get("sex", ["sex"]), *fields.get("speaker", ["speaker"])]
        options = " ".join(f"--column speaker={shlex.quote(field)}" for field in dict.fromkeys(parts))
        raise SoctkError(
            f"{len(both)} of {len(set(speaker.values()))} speakers have two sexes\n"
            + listing(f"{name}: f and m" for name in sorted(both)),
            remedy="Probably one number names two people, a woman and a man. Then make one name of sex and speaker: "
            f"{options}. If the sexes are wrong, correct them, or ignore them: --column sex=.",
        )
    return {name: values.pop() for name, values in sorted(sexes.items())}


def _parse_sex(text: str, speaker: str) -> str:
    if text not in _SEXES:
        raise SoctkError(
            f"unknown sex '{text}' of speaker {speaker}",
            remedy="Write m or f, male or female, or unknown or nothing, or ignore the column: --column sex=.",
        )
    return _SEXES[text]


def collect_folds(utterances: Mapping[str, Row], speaker: Mapping[str, str]) -> dict[str, int]:
    """Return speaker -> fold from the rows; empty if no row has a fold.

    Raises:
        SoctkError: a speaker is in two folds, or in none; or a fold is not a number from 1.
    """
    values: dict[str, set[str]] = {}
    for utt, row in utterances.items():
        values.setdefault(speaker[utt], set()).add(row.get("fold", ""))
    given = set().union(*values.values())
    if given == {""}:
        return {}
    shared = [
        f"{name}: {' and '.join(sorted(fold or 'none' for fold in its_folds))}"
        for name, its_folds in values.items()
        if its_folds == {""} or len(its_folds) > 1
    ]
    if given & {fold for fold in given if fold.lower() in _PARTS}:
        raise _partition_error(given, shared)
    if shared:
        raise SoctkError(
            f"these speakers have no fold, or not the same in all rows\n{listing(shared)}",
            remedy="Put all utterances of a speaker into one fold, or ignore the column and let soctk make folds: "
            "--column fold=.",
        )
    not_numbers = {fold for fold in given if not re.fullmatch(r"0*[1-9]\d{0,8}(\.0+)?", fold, re.ASCII)}
    if not_numbers:
        raise SoctkError(
            f"these folds are not numbers from 1: {', '.join(sorted(not_numbers))}",
            remedy="Number the folds, or ignore this column with --column fold= and let soctk make folds.",
        )
    return {name: int(float(its_folds.pop())) for name, its_folds in values.items()}


def _partition_error(given: set[str], shared: Sequence[str]) -> SoctkError:
    """Return the error for a column fold with the parts of a published partition."""
    what = f"the column fold gives a partition ({', '.join(sorted(fold or 'none' for fold in given))}), not folds"
    ignore = "To train and test on folds that soctk makes, ignore it: --column fold=."
    if shared:
        return SoctkError(
            f"{what}, and its parts share speakers\n{listing(shared)}",
            remedy=f"soctk cannot use such a partition, because its test speakers would also train. {ignore}",
        )
    parts = {_PARTS.get(fold.lower()) for fold in given}
    if parts == {1, 2, 3}:
        use = (
            "To use the partition, write 1 for its test part, 2 for its validation part and 3 for its training part, "
            "and train with --folds 1: fold 1 tests, fold 2 validates and fold 3 trains. Without --folds 1, each part "
            "would be tested once."
        )
    else:
        use = (
            "To use the partition, write 1 for its test part, 2 for the training speakers that shall validate and 3 "
            "for the other training speakers, and train with --folds 1: fold 1 tests, fold 2 validates, fold 3 trains."
        )
    return SoctkError(what, remedy=f"{use} {ignore}")


def use_given_folds(
    given: Mapping[str, int],
    table: Path,
    speaker: Mapping[str, str],
    emotion: Mapping[str, str],
    gender: Mapping[str, str],
    count: int | None,
) -> dict[str, int]:
    """Return the folds of the rows, speaker -> fold, and write the table if it is missing or empty.

    Raises:
        SoctkError: the table has other folds, or another number of folds is requested.
    """
    fold = dict(given)
    folds.check_count(fold, count, None, "These folds are in the labels: ignore them with --column fold=")
    if not table.exists() or not folds.read(table):
        folds.write(table, fold, "Taken from the labels of the corpus.")
    elif folds.read_or_assign(table, speaker, emotion, gender) != fold:
        raise SoctkError(
            "the folds in this file differ from the folds in the labels",
            remedy="Remove this file to use the folds in the labels, or ignore those in the labels: --column fold=.",
            where=table,
        )
    return fold
