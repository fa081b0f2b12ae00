"""Recordings that occur more than once, found by the digests of their samples."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural
from soctk.schema import Protocol


def find(digests: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the groups of two or more utterances with the same recording.

    Args:
        digests: utterance -> digest of its recording (`soctk.corpus.audio.AudioInfo.digest`).

    Returns:
        A tuple of sorted utterances for each group; the groups are sorted.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for utt, digest in digests.items():
        groups[digest].append(utt)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def check_splits(
    data: DataDir, digests: Mapping[str, str], protocol: Protocol, folds: Iterable[int], seeds: Sequence[int]
) -> list[tuple[str, ...]]:
    """Check that no recording is in two of the training, validation and test utterances of a fold.

    The parts of the inner cross-validation are compared too, because one of them scores a fit on the others. A copy of
    an utterance at another speed (soctk.features.copies) is always in the part of its utterance.

    Args:
        data: the corpus; its `duplicates` are allowed.
        digests: utterance -> digest of its recording; may contain other utterances too.
        protocol: how validation utterances are chosen.
        folds: the folds that are tested.
        seeds: the seeds of the runs.

    Returns:
        The groups that are in several parts, but are allowed by `data.duplicates`.

    Raises:
        SoctkError: other recordings are in several parts; the message lists them.
    """
    groups = find({utt: digests[utt] for utt in data.utterances if utt in digests})
    allowed: list[tuple[str, ...]] = []
    lines: dict[tuple[str, ...], str] = {}
    is_across_folds = False
    for fold in folds if groups else ():
        for seed in seeds:
            parts = _parts(data, splits.split(data, fold, protocol, seed), protocol)
            for group in groups:
                shared = _one_of_each_part(group, parts)
                if len(shared) < 2:
                    continue
                if any(known.issuperset(group) for known in data.duplicates):
                    allowed.append(group)
                    continue
                places = [f"{utt} (speaker {data.speaker[utt]}, {part})" for part, utt in shared.items()]
                lines.setdefault(group, f"fold {fold}: {' = '.join(places)}")
                is_across_folds |= len({data.fold[data.speaker[utt]] for utt in group} if data.fold else ()) > 1
    if lines:
        raise SoctkError(
            f"{plural(len(lines), 'recording')} in several of the training, validation and test utterances of a fold\n"
            f"{listing(lines.values())}",
            remedy=(
                "Are these recordings silent? Then another channel may have the sound (soctk-check). If not, keep"
                if max(map(len, lines)) > 2
                else "Keep"
            )
            + " one utterance of each recording"
            + (", or put all its speakers into one fold (spk2fold)" if is_across_folds else "")
            + ". If a publication of the corpus lists them as duplicates, write their ids on one line of the file "
            "`duplicates` of the data directory; they are then allowed.",
            where=data.path,
        )
    return sorted(set(allowed))


def describe_allowed(groups: Collection[tuple[str, ...]]) -> str:
    """Return a line about the result of `check_splits`, which is not empty."""
    listed = "; ".join(" = ".join(group) for group in list(groups)[:3])
    more = f"; ... and {len(groups) - 3} more" if len(groups) > 3 else ""
    return f"known duplicates (file `duplicates`) are in training and in validation or test data: {listed}{more}"


def _parts(data: DataDir, split: splits.Split, protocol: Protocol) -> dict[str, str]:
    """Return utterance -> the name of its part: test, validation, training, or a part of the training utterances."""
    part = {**dict.fromkeys(split.train, "training"), **dict.fromkeys(split.valid, "validation")}
    if protocol != "emobox" and not splits.has_dev(data):  # there, the inner split is the split
        scored = [utterances for _, utterances in splits.inner_splits(data, split, protocol)]
        valid = set(split.valid)
        for number, utterances in enumerate(scored, start=1):
            for utt in utterances:
                part[utt] = part[utt] if utt in valid else f"training, part {number} of the inner cross-validation"
    return part | dict.fromkeys(split.test, "test")


def _one_of_each_part(group: Sequence[str], part: Mapping[str, str]) -> dict[str, str]:
    """Return part -> the first utterance of the group in this part."""
    first: dict[str, str] = {}
    for utt in group:
        if utt in part:
            first.setdefault(part[utt], utt)
    return first
