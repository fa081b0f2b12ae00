"""Recordings that occur more than once, found by the digests of their samples."""

from collections import defaultdict
from collections.abc import Mapping


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
