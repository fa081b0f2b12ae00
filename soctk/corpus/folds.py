"""Fold tables, which list the test speakers of each fold; folds are assigned to a corpus that has none."""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from soctk.corpus import names
from soctk.errors import SoctkError, listing, plural
from soctk.files import atomic
from soctk.mappings import read_yaml
from soctk.progress import counter

# The number of folds to make by default, if the corpus has at least as many speakers.
COUNT = 5


def read(path: Path) -> dict[str, int]:
    """Read a fold table, a YAML file of lines `FOLD: [SPEAKER, ...]`; return speaker -> fold.

    Speakers are texts as they are written: `0011` is not a number. They are normalised (soctk.corpus.names).

    Raises:
        SoctkError: the file is missing or malformed, has a speaker in two folds, or some folds without speakers, or
            the folds are not 1, 2, ...
    """
    folds: dict[str, int] = {}
    numbers: list[int] = []
    for number, speakers in read_yaml(path, as_text=True).items():
        is_list = isinstance(speakers, list) and all(isinstance(name, str) and name.strip() for name in speakers)
        if not re.fullmatch("[0-9]{1,9}", number) or not is_list:
            raise SoctkError(
                f"'{number}' is not a fold number with a list of speakers",
                remedy="Write lines of the form 'FOLD: [SPEAKER, ...]'; write a speaker with the name null as 'null'.",
                where=path,
            )
        fold = int(number)
        for speaker in map(names.to_word, speakers):
            if speaker in folds:
                raise SoctkError(
                    f"speaker {speaker} is in folds {folds[speaker]} and {fold}",
                    remedy="Keep the speaker in one fold.",
                    where=path,
                )
            folds[speaker] = fold
        numbers.append(fold)
    empty = [f"fold {number} has no speakers" for number in numbers if number not in folds.values()]
    if folds and (empty or sorted(numbers) != list(range(1, len(numbers) + 1))):
        raise SoctkError(
            ", ".join(empty) or f"the folds are {', '.join(map(str, sorted(numbers)))}, not 1, 2, ...",
            remedy="Number the folds from 1 without a gap, and give each of them speakers.",
            where=path,
        )
    return folds


def write(path: Path, folds: Mapping[str, int], origin: str) -> None:
    """Write a fold table.

    Args:
        path: the file.
        folds: speaker -> fold.
        origin: a sentence on the source of the folds, for the comment in the first line.
    """
    table = {fold: sorted(s for s in folds if folds[s] == fold) for fold in sorted(set(folds.values()))}
    with atomic(path) as temporary:
        text = yaml.safe_dump(table, default_flow_style=None, sort_keys=False, allow_unicode=True, width=110)
        temporary.write_text(f"# The test speakers of each fold. {origin}\n{text}", encoding="utf-8")


def read_or_assign(
    path: Path,
    speaker: Mapping[str, str],
    emotion: Mapping[str, str],
    gender: Mapping[str, str],
    count: int | None = None,
) -> dict[str, int]:
    """Return speaker -> fold from the table at `path`. If it is missing or empty, assign folds and write it first.

    Args:
        path: the fold table.
        speaker: utterance -> speaker.
        emotion: utterance -> emotion.
        gender: speaker -> m or f; may lack speakers.
        count: the number of folds; by default that of an existing table, or COUNT for a new one (fewer for a corpus
            with fewer speakers).

    Raises:
        SoctkError: the table is malformed, does not have `count` folds, lacks speakers, or has folds of other speakers
            only; or folds cannot be made (`assign`).
    """
    speakers = sorted(set(speaker.values()))
    folds = read(path) if path.exists() else {}
    if not folds:
        number = count or min(COUNT, len(speakers))
        with counter("make folds", "fold", number) as progress:
            folds = assign(speaker, emotion, gender, number)
            progress.update(number)
        write(path, folds, "Made by soctk, balanced by class and sex. If you edit this file, soctk uses your folds.")
    check_count(folds, count, path, "Remove this file to have new folds made")
    missing = [name for name in speakers if name not in folds]
    if missing:
        alike = {names.skeleton(name): name for name in folds}
        lines = [
            name + (f" (the table has {alike[form]!a})" if (form := names.skeleton(name)) in alike else "")
            for name in missing
        ]
        raise SoctkError(
            f"{len(missing)} of {len(speakers)} speakers have no fold\n{listing(lines)}",
            remedy="Add them, or remove this file to have new folds made.",
            where=path,
        )
    used = {folds[name] for name in speakers}
    unused = sorted(set(folds.values()) - used)
    if unused:
        raise SoctkError(
            f"no speaker of the corpus is in {', '.join(f'fold {fold}' for fold in unused)}",
            remedy="Divide the speakers of the corpus, or remove this file to have new folds made.",
            where=path,
        )
    return {name: folds[name] for name in speakers}


def check_count(folds: Mapping[str, int], count: int | None, where: Path | None, remedy: str) -> None:
    """Check that the number of existing folds is the requested one.

    Args:
        folds: speaker -> fold.
        count: the requested number; None for any number.
        where: the file with the folds, for the message.
        remedy: how a user gets the requested number of folds; a clause without a full stop.

    Raises:
        SoctkError: the numbers differ.
    """
    existing = len(set(folds.values()))
    if count not in (None, existing):
        raise SoctkError(
            f"{plural(existing, 'fold exists', 'folds exist')} already, and --num-folds asks for {count}",
            remedy=f"{remedy}, or leave --num-folds out.",
            where=where,
        )


def assign(
    speaker: Mapping[str, str], emotion: Mapping[str, str], gender: Mapping[str, str], count: int
) -> dict[str, int]:
    """Return speaker -> fold, from 1, such that the folds have similar numbers of utterances of each class and sex.

    The folds come from scikit-learn's StratifiedGroupKFold. Speakers are the groups; class and sex are the strata, or
    class alone if this fails. The same corpus always gets the same folds.

    Args:
        speaker: utterance -> speaker.
        emotion: utterance -> emotion.
        gender: speaker -> m or f; may lack speakers.
        count: the number of folds.

    Raises:
        SoctkError: the corpus has one speaker, fewer speakers than folds, or too few utterances of each class.
    """
    first, *others = sorted(set(speaker.values()))
    if not others:
        raise SoctkError(
            f"all utterances have the same speaker, {first}, but each fold needs its own test speakers",
            remedy="Check the column, or the part of the file names, that gives the speaker.",
        )
    utterances = sorted(speaker)
    speakers = [speaker[utt] for utt in utterances]
    classes = [emotion[utt] for utt in utterances]
    with_sex = [f"{emotion[utt]} {gender.get(speaker[utt], '')}" for utt in utterances]
    folds = _balance(speakers, with_sex, count) or _balance(speakers, classes, count)
    if not folds:
        raise SoctkError(
            f"{plural(len(set(speakers)), 'speaker')} with {plural(len(utterances), 'utterance')} cannot be "
            f"divided into {count} folds",
            remedy="Ask for fewer folds, or write the fold table by hand.",
        )
    return folds


def _balance(speakers: Sequence[str], strata: Sequence[str], count: int) -> dict[str, int]:
    """Return speaker -> fold; empty if the strata are too small, or a fold would be empty."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import; most commands do not use it

    with warnings.catch_warnings(action="ignore"):  # warnings about strata with fewer utterances than folds
        try:
            parts = list(StratifiedGroupKFold(count).split(speakers, strata, speakers))
        except ValueError:
            return {}
    folds = {speakers[i]: fold for fold, (_, tested) in enumerate(parts, start=1) for i in tested}
    return dict(sorted(folds.items())) if len(set(folds.values())) == count else {}
