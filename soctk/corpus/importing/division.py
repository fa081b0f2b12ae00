"""The division of the utterances: a published partition, published folds, or folds that soctk makes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soctk.corpus import folds
from soctk.corpus.content import DEV, TRAIN
from soctk.corpus.importing.account import Account
from soctk.corpus.importing.rows import Row
from soctk.errors import SoctkError, listing, plural

# The names of the parts of a published partition. Other names that begin with "test" are tests with this name.
_PARTS = {
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("dev", "devel", "development", "val", "valid", "validation"), DEV),
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
}
_COLUMNS = ("split", "utterance_fold", "fold")
# The speakers that corpora name if they do not know the speaker.
_UNKNOWN_SPEAKERS = ("unknown", "unk")


def has_published(rows: Sequence[Row]) -> bool:
    """Return whether the rows have a published partition or published folds, which need no speakers."""
    return any(row.get("split") or row.get("utterance_fold") or _is_part(row.get("fold") or "") for row in rows)


def without_unknown_speakers(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with no speaker in place of names that mean an unknown one."""
    return [{**row, "speaker": ""} if row.get("speaker", "").casefold() in _UNKNOWN_SPEAKERS else row for row in rows]


@dataclass(frozen=True)
class Divided:
    """The utterances to divide, with the properties by which folds are balanced.

    Attributes:
        utterances: utterance -> row.
        speaker: utterance -> speaker; unknown speakers are the utterances themselves.
        emotion: utterance -> emotion.
        gender: speaker -> m or f; may lack speakers.
    """

    utterances: Mapping[str, Row]
    speaker: Mapping[str, str]
    emotion: Mapping[str, str]
    gender: Mapping[str, str]

    def folds(self, table: Path, count: int | None = None) -> dict[str, int]:
        """Return the folds of the speakers in the fold table, or make them (soctk.corpus.folds.read_or_assign)."""
        return folds.read_or_assign(table, self.speaker, self.emotion, self.gender, count)


def divide(corpus: Divided, table: Path, count: int | None, account: Account) -> dict[str, Any]:
    """Return the attribute `split`, `utterance_fold` or `fold` of DataDir, by its name.

    Args:
        corpus: the utterances.
        table: the fold table, which is used or written if the rows give no partition and no folds.
        count: the number of folds to make; None for any number.
        account: gets notes.

    Raises:
        SoctkError: the rows give several divisions, or an incomplete or malformed one; or folds cannot be made.
    """
    given = sorted({name for row in corpus.utterances.values() for name in _COLUMNS if row.get(name)})
    options = [name.replace("_", "-") for name in given]
    if len(given) > 1:
        raise SoctkError(
            f"the columns {' and '.join(options)} divide the utterances in different ways",
            remedy=f"Ignore all but one, such as --column {options[0]}=.",
        )
    texts = {utt: row.get(given[0], "") for utt, row in corpus.utterances.items()} if given else {}
    if given == ["split"] or any(map(_is_part, texts.values())):
        _refuse_count(count, "partition", options[0])
        return {"split": _parse_parts(texts, options[0])}
    if given == ["utterance_fold"]:
        return _published_folds(corpus, table, count, account)
    given_folds = collect_folds(corpus.utterances, corpus.speaker)
    if given_folds:
        return {"fold": _use_given_folds(given_folds, corpus, table, count)}
    return {"fold": corpus.folds(table, count)}


def _is_part(text: str) -> bool:
    return text.casefold() in _PARTS or text.casefold().startswith("test")


def _parse_parts(parts: Mapping[str, str], column: str) -> dict[str, str]:
    """Return utterance -> part of the partition.

    Raises:
        SoctkError: an utterance has no part, or one with an unknown name; or train or the tests are missing.
    """
    unknown = Counter(text for text in parts.values() if not _is_part(text))
    ignore = f"or ignore the column and let soctk make folds: --column {column}="
    if unknown:
        lines = [f"{text or 'no part'}: {plural(count, 'utterance')}" for text, count in sorted(unknown.items())]
        raise SoctkError(
            f"these parts of the partition have unknown names\n{listing(lines)}",
            remedy=f"Name them train, dev, test, or test1, test2, ... (also development, validation, eval), {ignore}.",
        )
    found = {utt: _PARTS.get(text.casefold(), re.sub(r"[\s_-]+", "_", text.casefold())) for utt, text in parts.items()}
    kinds = {name if name in (TRAIN, DEV) else "test" for name in found.values()}
    if not kinds >= {TRAIN, "test"}:
        raise SoctkError(
            f"the partition has only {' and '.join(sorted(set(found.values())))}",
            remedy=f"Add rows of {'train' if TRAIN not in kinds else 'a test'}, {ignore}.",
        )
    return found


def _published_folds(corpus: Divided, table: Path, count: int | None, account: Account) -> dict[str, dict[str, Any]]:
    """Return the folds of speakers if the published folds do not share speakers, and else the folds of utterances."""
    utterances, speaker = corpus.utterances, corpus.speaker
    lacking = [utt for utt, row in utterances.items() if not row.get("utterance_fold")]
    if lacking:
        raise SoctkError(
            f"{len(lacking)} of {len(utterances)} utterances are in no published fold\n{listing(lacking)}",
            remedy="Add them to a fold, or have soctk make folds of speakers: --column utterance-fold=.",
        )
    by_utterance = {utt: {"fold": row["utterance_fold"]} for utt, row in utterances.items()}
    fold = collect_folds(by_utterance, {utt: utt for utt in utterances})
    folds_of: dict[str, set[int]] = {}
    for utt, number in fold.items():
        folds_of.setdefault(speaker[utt], set()).add(number)
    shared = [name for name, numbers in folds_of.items() if len(numbers) > 1]
    unknown = sum(utt == name for utt, name in speaker.items())
    if not shared and not unknown:
        given = {name: numbers.pop() for name, numbers in folds_of.items()}
        return {"fold": _use_given_folds(given, corpus, table, count)}
    _refuse_count(count, "folds", "utterance-fold")
    what = f"share {len(shared)} of {len(folds_of)} speakers" if shared else "are of unknown speakers"
    account.note(
        f"Note: the published folds {what}; they are used as they are, and all tables of scores mark the results. To "
        "have soctk make folds of speakers: --column utterance-fold="
    )
    return {"utterance_fold": fold}


def _refuse_count(count: int | None, what: str, column: str) -> None:
    if count is not None:
        raise SoctkError(
            f"the labels have a published {what}, but {count} folds are requested",
            remedy=f"Leave --num-folds out, or ignore the column: --column {column}=.",
            where="--num-folds",
        )


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
    if shared:
        raise SoctkError(
            f"these speakers have no fold, or not the same in all rows\n{listing(shared)}",
            remedy="Put all utterances of a speaker into one fold, or ignore the column and let soctk make folds: "
            "--column fold=. To use published folds that share speakers as they are: --column fold= "
            "--column utterance-fold=NAME.",
        )
    not_numbers = {fold for fold in given if not re.fullmatch(r"0*[1-9]\d{0,8}(\.0+)?", fold, re.ASCII)}
    if not_numbers:
        raise SoctkError(
            f"these folds are not numbers from 1: {', '.join(sorted(not_numbers))}",
            remedy="Number the folds, or ignore this column with --column fold= and let soctk make folds.",
        )
    return {name: int(float(its_folds.pop())) for name, its_folds in values.items()}


def _use_given_folds(given: Mapping[str, int], corpus: Divided, table: Path, count: int | None) -> dict[str, int]:
    """Return the folds of the rows, speaker -> fold, and write the table if it is missing or empty.

    Raises:
        SoctkError: the table has other folds, or another number of folds is requested.
    """
    fold = dict(given)
    folds.check_count(fold, count, None, "These folds are in the labels: ignore them with --column fold=")
    if not table.exists() or not folds.read(table):
        folds.write(table, fold, "Taken from the labels of the corpus.")
    elif corpus.folds(table) != fold:
        raise SoctkError(
            "the folds in this file differ from the folds in the labels",
            remedy="Remove this file to use the folds in the labels, or ignore those in the labels: --column fold=.",
            where=table,
        )
    return fold
