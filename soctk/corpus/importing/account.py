"""The account of an import: each row is an utterance, or is left out by a rule that is named and counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from soctk.errors import SoctkError, plural


class Account:
    """Counts of the rows of an import, and notes for the user.

    Attributes:
        read: source -> the number of rows read from it, for the sources whose rows are utterances.
        left_out: rule, such as "blank" -> the number of these rows that are no utterances because of it.
        completing: the account of each source whose rows complete those of others.
        notes: a line for each other fact that the user should know.
        fields: column -> the fields of the sources that gave it.
    """

    def __init__(self):
        self.read: dict[Path, int] = {}
        self.left_out: Counter[str] = Counter()
        self.completing: list[str] = []
        self.notes: list[str] = []
        self.fields: dict[str, Sequence[str]] = {}

    def note(self, text: str) -> None:
        """Add a line for the user."""
        self.notes.append(text)

    def add_completing(self, source: Path, rows: int, used: int, left_out: Mapping[str, int]) -> None:
        """Add the numbers of a table whose rows fill in columns of other tables' rows.

        Raises:
            SoctkError: the numbers do not add up.
        """
        _check_sum(source, rows, used, left_out)
        self.completing.append(f"{rows} in {source} = {used} that complete utterances{_terms(left_out)}")

    def settle(self, utterances: int) -> None:
        """Check that the rows read are the utterances and the rows left out.

        Raises:
            SoctkError: the numbers do not add up.
        """
        _check_sum("the import", sum(self.read.values()), utterances, self.left_out)

    def summary(self, utterances: int) -> list[str]:
        """Return the lines for the user: rows read = utterances + rows left out, then the notes."""
        rows = [f"rows: {line}" for line in (self.equation(utterances), *self.completing)]
        return rows + self.notes

    def equation(self, utterances: int) -> str:
        """Return "ROWS in SOURCE + ... = N utterances + N left out by a rule + ..."."""
        sources = " + ".join(f"{count} in {source}" for source, count in self.read.items())
        return f"{sources} = {plural(utterances, 'utterance')}{_terms(self.left_out)}"


def _check_sum(what: str | Path, rows: int, used: int, left_out: Mapping[str, int]) -> None:
    if rows != used + sum(left_out.values()):
        raise SoctkError(
            f"{what} does not add up: {rows} rows are not {used} used rows{_terms(left_out)}",
            remedy="This is an error in soctk; nothing was written. Please report it with some lines of the files.",
        )


def _terms(left_out: Mapping[str, int]) -> str:
    return "".join(f" + {count} {rule}" for rule, count in left_out.items() if count)


def count_list(counts: Iterable[tuple[str, int]], at_most: int = 8) -> str:
    """Return "a 3, b 1 and 2 more" for names and their counts."""
    listed = [f"{name} {count}" for name, count in counts]
    more = f" and {len(listed) - at_most} more" if len(listed) > at_most else ""
    return ", ".join(listed[:at_most]) + more
