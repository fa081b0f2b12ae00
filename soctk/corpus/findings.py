"""The result of a check of a corpus."""

from dataclasses import dataclass

_CASES = 3  # in a note


@dataclass(frozen=True)
class Finding:
    """One check and its result.

    Attributes:
        what: the fault that the check looks for.
        cases: the cases found, one line each; empty if the corpus does not have this fault.
        changes_results: whether a case stops the extraction or changes a score; otherwise it is only an oddity.
        remedy: what to do about it.
    """

    what: str
    cases: list[str]
    changes_results: bool
    remedy: str = ""

    def note(self) -> str:
        """Return the finding in one line."""
        listed = ", ".join(self.cases[:_CASES])
        cases = listed if len(self.cases) <= _CASES else f"{len(self.cases)}, such as {listed}"
        return f"Note: {self.what}: {cases}. {self.remedy}".rstrip()
