"""Whether test speakers may be in the training data: published partitions and folds do not always separate speakers."""

from collections.abc import Sequence

from soctk.corpus.content import DEV, TRAIN
from soctk.corpus.datadir import DataDir
from soctk.corpus.segments import Segment
from soctk.errors import plural

ALL = "all"  # stands for all tested utterances, where there is no partition with named tests
LEAST_SHARED = 0.1  # s; times of segments are rounded, and turns of a dialogue touch


def find_overlaps(data: DataDir) -> dict[str, str]:
    """Return test -> why its speakers may be in the training or validation data; empty if no test has such speakers.

    The key is the name of a test of the published partition, or ALL for folds.
    """
    if data.fold:
        return {}
    if data.split:
        others = [*data.part(TRAIN), *data.part(DEV)]
        reasons = {test: _describe(data, data.part(test), others) for test in data.tests}
    else:
        reasons = {ALL: _describe_folds(data)}
    return {test: reason for test, reason in reasons.items() if reason}


def find_unknown(data: DataDir) -> dict[str, str]:
    """Return part of the partition, or ALL -> that speakers are unknown, for a model that was trained elsewhere."""
    parts = {name: data.part(name) for name in sorted(set(data.split.values()))} or {ALL: data.utterances}
    unknown = {name: len(data.unknown.intersection(utterances)) for name, utterances in parts.items()}
    return {
        name: f"the speakers of {count} of {len(parts[name])} utterances are unknown"
        for name, count in unknown.items()
        if count
    }


def _describe(data: DataDir, tested: Sequence[str], others: Sequence[str]) -> str:
    """Return why speakers of the tested utterances may be among those of the others; empty if they are not."""
    speakers, used = _known(data, tested), _known(data, others)
    shared = speakers & used
    reasons = []
    if shared:
        reasons.append(f"{len(shared)} of {plural(len(speakers), 'test speaker')} also in training or validation data")
    for name, utterances in (("test", tested), ("training and validation", others)):
        unknown = len(data.unknown.intersection(utterances))
        if unknown:
            count = "all" if unknown == len(utterances) else f"{unknown} of {len(utterances)}"
            reasons.append(f"the speakers of {count} {name} utterances are unknown")
    return "; ".join(reasons)


def _describe_folds(data: DataDir) -> str:
    folds_of: dict[str, set[int]] = {}
    for utt, fold in data.utterance_fold.items():
        if utt not in data.unknown:
            folds_of.setdefault(data.speaker[utt], set()).add(fold)
    shared = sum(len(folds) > 1 for folds in folds_of.values())
    reasons = [f"{shared} of {plural(len(folds_of), 'speaker')} in several folds"] if shared else []
    if data.unknown:
        count = "all" if len(data.unknown) == len(data.speaker) else f"{len(data.unknown)} of {len(data.speaker)}"
        reasons.append(f"the speakers of {count} utterances are unknown")
    return "; ".join(reasons)


def _known(data: DataDir, utterances: Sequence[str]) -> set[str]:
    return {data.speaker[utt] for utt in utterances if utt not in data.unknown}


def shared_sound(data: DataDir) -> list[tuple[str, str, float]]:
    """Return pairs of segments of a recording that share sound, but are in different folds or parts, and how much (s).

    Each segment is compared with the one of each other part that ends last before it, so not all pairs are listed.
    """
    pairs = []
    order = sorted(data.segments.items(), key=lambda item: (item[1].recording, item[1].start))
    last: dict[str | int, tuple[str, Segment]] = {}  # part -> its segment of this recording that ends last
    recording = ""
    for utt, segment in order:
        if segment.recording != recording:
            recording, last = segment.recording, {}
        part = part_of(data, utt)
        for other_part, (other, before) in last.items():
            shared = min(before.end, segment.end) - segment.start
            if other_part != part and shared > LEAST_SHARED:
                pairs.append((other, utt, shared))
        if part not in last or segment.end > last[part][1].end:
            last[part] = (utt, segment)
    return pairs


def describe_shared_sound(data: DataDir, test: str = "") -> str:
    """Return why sound of test utterances is in the training or validation data too; empty if it is not.

    Args:
        data: the corpus.
        test: the name of a test of the published partition; empty for all tests, or for folds.
    """
    tests = {test} if test else set(data.tests)
    pairs = [pair for pair in shared_sound(data) if not data.split or {data.split[utt] for utt in pair[:2]} & tests]
    if not pairs:
        return ""
    first, second, seconds = pairs[0]
    where = "the test and other parts" if data.split else "different folds"
    many = plural(len(pairs), f"pair of segments of {where} shares sound", f"pairs of segments of {where} share sound")
    return f"{many}, such as {first} and {second} ({seconds:.2f} s)"


def part_of(data: DataDir, utt: str) -> str | int:
    """Return the part of the partition, or the fold, of an utterance."""
    part = data.split[utt] if data.split else data.fold_of(utt)
    assert part is not None  # only a partition has utterances without a fold
    return part
