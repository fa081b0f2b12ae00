"""The data of the trainers: a row of inputs and a label for each utterance and each copy, and the splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.corpus.splits import Split
from soctk.schema import Config, LinearConfig
from soctk.training import target
from soctk.training.batches import Strata
from soctk.training.blocks import Block, BlockKey
from soctk.training.candidates import Candidate, list_candidates
from soctk.training.frames import Frames, StreamedFrames
from soctk.training.inputs import Descriptors, Features
from soctk.training.recentre import Recentring
from soctk.training.target import Target


@dataclass(frozen=True)
class TrainingData:
    """The inputs and labels of an experiment, or of several with equal settings in_common, shared by all their runs.

    The rows of the inputs are the N utterances of the corpus in its order, then N copies of them at the first speed,
    and so on; then N copies with the first augmentation, and so on. Augmented copies are used for training only:
    validation and test see the recordings as they are.

    Attributes:
        config: the settings of the experiment; of several experiments, those of the first.
        data: the corpus.
        copies: how many rows each utterance has: 1, plus the number of speeds, plus the number of augmentations.
        tested: how many of these, from the first, are for prediction: 1 plus the number of speeds.
        blocks: the descriptors of each hidden state and pooling layer (Features.blocks) if the pooling has no trained
            parameters; else empty.
        frames: the frames if the pooling has trained parameters; else None.
        candidates: the choices among the blocks (soctk.training.candidates); one if nothing is to be chosen.
        device: where large fits of the linear head may be done.
        is_large: whether the descriptors are in files (Features.are_large, soctk.training.large).
    """

    config: Config
    data: DataDir
    copies: int
    tested: int
    blocks: Mapping[BlockKey, Block]
    frames: Frames | StreamedFrames | None
    candidates: Sequence[Candidate]
    device: str = "cpu"
    is_large: bool = False

    @classmethod
    def load(cls, config: Config, data: DataDir, features: Features, is_trained: bool, nj: int) -> "TrainingData":
        """Read the frames of a corpus, and pool them unless the pooling `is_trained`.

        Raises:
            SoctkError: Features.frames raises it.
        """
        tested = 1 + len(features.speeds(config))
        copies = tested + len(features.augmentations(config))
        candidates = list_candidates(config, features)
        if is_trained:
            return cls(config, data, copies, tested, {}, features.frames(config, features.layers(config)), candidates)
        is_large = isinstance(config.head, LinearConfig) and features.are_large(config)
        blocks = features.blocks(config, nj)
        return cls(config, data, copies, tested, blocks, None, candidates, features.device, is_large)

    @cached_property
    def target(self) -> Target:
        """What is predicted, with a label for each row."""
        return target.make(self.config, self.data, self.copies)

    def only(self, candidate: Candidate) -> "TrainingData":
        """Return the data of an experiment in which this candidate is the only one."""
        blocks = {key: self.blocks[key] for key in candidate.keys}
        return replace(self, config=candidate.settings(self.config), blocks=blocks, candidates=[candidate])

    def split(self, fold: int, seed: int) -> Split:
        """Return the training, validation and test utterances of a run (soctk.corpus.splits.split)."""
        return splits.split(self.data, fold, self.config.protocol, seed)

    def inner_splits(self, split: Split) -> list[tuple[list[int], list[int]]]:
        """Return pairs of indices: utterances to fit on, and utterances to score (soctk.corpus.splits.inner_splits)."""
        pairs = splits.inner_splits(self.data, split, self.config.protocol)
        return [(self.indices(fitted), self.indices(scored)) for fitted, scored in pairs]

    def indices(self, utterances: Sequence[str]) -> list[int]:
        """Return the index of each utterance in the corpus."""
        return [self._index[utt] for utt in utterances]

    def with_copies(self, indices: Sequence[int]) -> list[int]:
        """Return the rows of the utterances with these indices, then the rows of all their copies, for training."""
        return self._rows(indices, self.copies)

    def rows(self, utterances: Sequence[str]) -> list[int]:
        """Return the rows of utterances, then the rows of all their copies, for training."""
        return self._rows(self.indices(utterances), self.copies)

    def tested_rows(self, utterances: Sequence[str]) -> list[int]:
        """Return the rows of utterances, then the rows of their copies at each speed, for prediction."""
        return self._rows(self.indices(utterances), self.tested)

    def _rows(self, indices: Sequence[int], copies: int) -> list[int]:
        count = len(self.data.utterances)
        return [i + copy * count for copy in range(copies) for i in indices]

    def recentring(self, seed: int) -> Recentring | None:
        """Return the re-centring of all rows; None if the settings choose no re-centring."""
        options = self.config.recentre
        if options.by == "none":
            return None
        enrol = None if options.enrol == "all" else options.enrol
        recentring = Recentring.of(list(self.data.speaker.values()), enrol, options.relevance, seed)
        return recentring.with_copies(self.tested - 1, self.copies - self.tested)

    def descriptors(self, fitted: Sequence[int], seed: int) -> Descriptors:
        """Return the inputs of a head that is trained on the rows `fitted`."""
        return Descriptors.of([block.array for block in self.blocks.values()], self.recentring(seed), fitted)

    def strata(self, seed: int) -> Strata:
        """Return what the batches of the training loop are stratified by: the folds, and the models of all folds."""
        numbers = np.zeros(len(self.data.utterances), dtype=int)
        fitted = np.zeros((len(numbers), len(self.data.folds)), dtype=bool)
        for model, fold in enumerate(self.data.folds):
            numbers[self.indices(self.data.utterances_of([fold]))] = fold
            fitted[self.indices(self.split(fold, seed).train), model] = True
        return Strata(np.tile(numbers, self.copies), np.tile(fitted, (self.copies, 1)))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {utt: i for i, utt in enumerate(self.data.utterances)}
