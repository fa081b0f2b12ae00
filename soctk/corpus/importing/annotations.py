"""Labels of rows besides the emotion: values on dimensions, and the votes of several annotators."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from soctk.corpus import names
from soctk.corpus.importing.account import Account
from soctk.corpus.importing.rows import VOTES, Row, drop_empty, name_row, require_values
from soctk.errors import SoctkError, listing, plural
from soctk.schema import DIMENSIONS

# Numbers are classes if they are whole and not more different ones than this.
_MOST_NUMBERED = 12


def are_labelled(rows: Sequence[Row]) -> bool:
    """Return whether any row has a label other than the emotion, from which training can learn."""
    return any(row.get(column) for row in rows for column in ("label", *DIMENSIONS))


def check_classes(rows: Sequence[Row], fields: Mapping[str, Sequence[str]]) -> None:
    """Ask about emotions that look like values on a dimension.

    Args:
        rows: with the column emotion.
        fields: column -> the fields of the sources that gave it.

    Raises:
        SoctkError: the emotions are numbers that are not whole, or more than 12 different numbers.
    """
    written = {row["emotion"] for row in rows if row.get("emotion")}
    numbers = [number for number in map(_to_number, written) if number is not None]
    if len(numbers) < len(written) or not numbers:
        return
    if len(set(numbers)) <= _MOST_NUMBERED and all(number.is_integer() for number in numbers):
        return
    shown = ", ".join(f"{number:g}" for number in sorted(set(numbers))[:3])
    name = "-".join(fields.get("emotion", ("NAME",)))
    raise SoctkError(
        f"the emotions are {plural(len(set(numbers)), 'number')}, such as {shown}: are they values on a dimension?",
        remedy=f"If they are, name it: --column arousal={name} (or valence, dominance). If they are classes, map them "
        "to names (--labels).",
    )


def count_votes(rows: Sequence[Row], labels: Mapping[str, str | None], account: Account) -> list[Row]:
    """Return the rows with the number of votes for each class, and with the class of the majority as emotion.

    A row that has an emotion keeps it. If it has no votes, the emotion is its only one, and the account gets a note. In
    a tie the class counts that the first of the tied annotators named; the account gets a note. A row without votes and
    without an emotion is left out.

    Args:
        rows: the column `label` has the labels of the annotators, with rows.VOTES between them.
        labels: label -> class, or None to drop a vote; empty if the labels are the classes.
        account: counts the rows that are left out, and gets the notes.

    Raises:
        SoctkError: the map lacks labels of the rows.
    """
    if not any("label" in row for row in rows):
        return list(rows)
    votes = [[names.normalise(vote) for vote in row.get("label", "").split(VOTES) if vote] for row in rows]
    unknown = Counter(vote for its_votes in votes for vote in its_votes if labels and vote not in labels)
    if unknown:
        raise SoctkError(
            "these labels of annotators are not in the label map\n"
            + listing([f"{label!r}, {plural(count, 'vote')}" for label, count in sorted(unknown.items())]),
            remedy="Add 'LABEL: CLASS' to the map, or 'LABEL: null' to drop these votes.",
            where="--labels",
        )
    result, ties, differing, without = [], [], [], []
    for row, its_votes in zip(rows, votes, strict=True):
        classes = [name for vote in its_votes if (name := labels[vote] if labels else vote) is not None]
        given = row.get("emotion", "")
        if not classes and not given:
            account.left_out["without a label of any annotator"] += 1
            continue
        if not classes and "label" in row:
            without.append(name_row(row))
        counts = Counter(classes or [given])
        tied = [name for name in counts if counts[name] == max(counts.values())]
        if given and given not in tied:
            differing.append(name_row(row))
        elif not given and len(tied) > 1:
            ties.append(f"{name_row(row)} ({', '.join(f'{name} {counts[name]}' for name in tied)})")
        text = VOTES.join(f"{name}{VOTES}{count}" for name, count in counts.items())
        result.append({**drop_empty(row), "emotion": given or tied[0], "label": text})
    if ties:
        account.note(
            f"Note: no majority among the annotators of {plural(len(ties), 'utterance')}, such as {ties[0]}: the first "
            "annotator among the tied ones gives the emotion. soctk-train --target distribution uses all votes."
        )
    if without:
        account.note(
            f"Note: {plural(len(without), 'utterance')} without a label of any annotator, such as {without[0]}: the "
            "column emotion counts as the only label. To leave such rows out, ignore this column: --column emotion="
        )
    if differing:
        account.note(
            f"Note: the emotion of {plural(len(differing), 'utterance')} is not the majority of the annotators, such "
            f"as {differing[0]}: the column emotion is kept."
        )
    return result


def collect_dimensions(utterances: Mapping[str, Row]) -> dict[str, dict[str, float]]:
    """Return dimension -> utterance -> value, for the dimensions that the rows have.

    Raises:
        SoctkError: an utterance has no value, or no number.
    """
    rows = list(utterances.values())
    found = {}
    for name in [name for name in DIMENSIONS if any(row.get(name) for row in rows)]:
        require_values(name, rows)
        values = {utt: _to_number(row[name]) for utt, row in utterances.items()}
        wrong = [f"{name_row(row)}: {row[name]}" for utt, row in utterances.items() if values[utt] is None]
        if wrong:
            raise SoctkError(
                f"the {name} of {plural(len(wrong), 'row')} is not a number\n{listing(wrong)}",
                remedy=f"Correct these values, or ignore the column: --column {name}=",
            )
        found[name] = {utt: value for utt, value in values.items() if value is not None}
    return found


def collect_distribution(utterances: Mapping[str, Row], emotions: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return utterance -> the share of each emotion in the votes; empty if the rows have no votes."""
    found = {}
    for utt, row in utterances.items():
        shares: dict[str, float] = defaultdict(float)
        for name, share in _shares(row):
            shares[name] += share
        if shares:
            found[utt] = tuple(shares[emotion] / sum(shares.values()) for emotion in emotions)
    return found


def voted_classes(utterances: Mapping[str, Row]) -> set[str]:
    """Return the classes that annotators named."""
    return {name for row in utterances.values() for name, _ in _shares(row)}


def _shares(row: Row) -> list[tuple[str, float]]:
    """Return classes and their votes or probabilities, from the column `label` (count_votes) or `distribution`."""
    parts = (row.get("label") or row.get("distribution", "")).split(VOTES)
    return [(names.to_word(name), float(share)) for name, share in zip(parts[::2], parts[1::2], strict=False)]


def _to_number(text: str) -> float | None:
    """Return the number that a text stands for, also with a decimal comma; None if it stands for none."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
