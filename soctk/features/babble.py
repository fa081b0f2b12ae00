"""The voices of babble in copies for training: other utterances of the same speaker.

Test speakers must not be heard in training. In folds of speakers, utterances of the same speaker are in the same fold.
In a published partition, and in folds that share speakers, voices are taken from the same part or fold only.
"""

import hashlib
from collections import defaultdict

import numpy as np

from soctk.corpus.datadir import DataDir
from soctk.corpus.disturbance import VOICES


def choose_voices(data: DataDir, seed: int) -> dict[str, list[str]]:
    """Return utterance -> the utterances that are its babble: VOICES at random, or all others if there are fewer.

    If there are no others, as for an unknown speaker, the voice is the utterance itself.
    """
    groups: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for utt, speaker in sorted(data.speaker.items()):
        groups[speaker, data.split.get(utt, ""), data.utterance_fold.get(utt, 0)].append(utt)
    return {utt: _draw(utt, group, seed) for group in groups.values() for utt in group}


def _draw(utterance: str, group: list[str], seed: int) -> list[str]:
    others = [utt for utt in group if utt != utterance] or group
    rng = generator(seed, "voices", utterance)
    return [others[i] for i in rng.choice(len(others), min(VOICES, len(others)), replace=False)]


def generator(seed: int, purpose: str, utterance: str) -> np.random.Generator:
    """Return a random generator that depends on the arguments alone, in any order of the utterances."""
    digest = hashlib.sha256(f"{seed}\t{purpose}\t{utterance}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
