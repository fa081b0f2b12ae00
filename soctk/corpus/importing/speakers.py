"""The sex of each speaker."""

import shlex
from collections.abc import Mapping, Sequence

from soctk.corpus.importing.rows import Row
from soctk.errors import SoctkError, listing

_SEXES = {"m": "m", "male": "m", "man": "m", "f": "f", "female": "f", "woman": "f"}
_UNKNOWN_SEX = ("unknown", "unk", "u")


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
