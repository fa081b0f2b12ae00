"""A report: the scores of experiments, their comparison, and published scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from soctk import provenance
from soctk.corpus.level import NORMAL_LEVEL
from soctk.corpus.splits import DESCRIPTIONS
from soctk.reporting.wording import FINE_TUNED, HEADS, RECENTRING, RIDGE, describe_nested, label, overlaps
from soctk.scoring import choice, cues, published
from soctk.scoring.compare import compare
from soctk.scoring.cues import Cues
from soctk.scoring.intervals import FEWEST_SPEAKERS
from soctk.scoring.recorded import has_equal_level, tuning, used_augmentations, used_speeds
from soctk.scoring.runs import RunDirectory
from soctk.scoring.score import ExperimentScores, score

_NO_CONFIG = "config.yaml is missing"


@dataclass(frozen=True)
class Report:
    """The contents of a report.

    Attributes:
        title: the directories that were scored, without the folders above the working directory.
        experiments: their scores.
        comparison: the comparison of each pair of experiments (soctk.scoring.compare); None if it was not requested.
        published_scores: the table of published scores (soctk.scoring.published), or None.
        command: the command that made the report.
        cues: data directory -> what trivial classifiers tell (soctk.scoring.cues), for each corpus with classes; None
            if it is not known.
    """

    title: str
    experiments: Sequence[ExperimentScores]
    comparison: pd.DataFrame | None
    published_scores: pd.DataFrame | None
    command: str
    cues: Mapping[Path, Cues | None] = field(default_factory=dict)

    def heading(self) -> list[str]:
        """Return sentences about protocols, heads, the processing of descriptors and recordings, and versions."""
        descriptions: Mapping[str, str] = {str(name): text for name, text in DESCRIPTIONS.items()}
        protocols = {e.protocol: descriptions.get(e.protocol, _NO_CONFIG) for e in self.experiments}
        classes = [e for e in self.experiments if e.predictions.emotions]
        heads = sorted({e.head for e in classes})
        is_ridge = any(e.head == "linear" for e in self.experiments if e.predictions.dimensions)
        made_with = sorted({line for e in self.experiments for line in e.predictions.made_with})
        scored_with = provenance.versions("soctk", "numpy", "pandas", "scikit-learn")
        versions = ", ".join(f"{package} {version}" for package, version in scored_with.items())
        return [
            *(f"Protocol {name}: {description}." for name, description in protocols.items()),
            *(f"Head {name}: {HEADS.get(name, _NO_CONFIG)}." for name in heads),
            *([f"Head linear, for dimensions: {RIDGE}."] if is_ridge else []),
            *(f"{label(e)}: {describe_nested(e)}" for e in self.experiments if e.nested_choice),
            *self._concordance(),
            *self._class_weights(),
            *self._within_class(),
            *self._fine_tuned(),
            *self._speeds(),
            *self._augmentations(),
            *self._levels(),
            *([RECENTRING] if self.is_recentred else []),
            *overlaps(self.experiments),
            *(f"Trained with {line}." for line in made_with),
            f"Scored with {versions}, commit {provenance.commit()}.",
        ]

    @property
    def is_recentred(self) -> bool:
        """Whether any of the experiments uses unlabelled recordings of the test speakers."""
        return any(e.is_recentred for e in self.experiments)

    def published_for(self, experiment: ExperimentScores) -> pd.DataFrame:
        """Return published scores for the experiment's corpus, upstream and pooling, with the differences in method."""
        scores, data = self.published_scores, experiment.data
        if scores is None or data is None or data.path is None or not experiment.predictions.emotions:
            return pd.DataFrame()
        corpus = data.path.resolve().name
        return published.matching(scores, corpus, experiment.predictions.settings)

    def notes(self) -> list[str]:
        """Return warnings about the scores, one sentence each; experiments with the same warning share it."""
        sharing: dict[str, list[str]] = {}
        for e in self.experiments:
            for note in _notes_on(e):
                sharing.setdefault(note, []).append(label(e))
        lines = []
        for note, names in sharing.items():
            is_shared_by_all = len(names) == len(self.experiments) > 1
            lines.append(f"{'All experiments' if is_shared_by_all else ', '.join(names)}: {note}")
        for e in self.experiments:
            for row in self.published_for(e).to_dict("records"):
                if row["differs"]:
                    lines.append(f"Warning: {row['source']}: {not_comparable(row['differs'])}.")
        return list(dict.fromkeys(lines))

    def _concordance(self) -> list[str]:
        """Return a sentence about the training of the head mlp for dimensions if an experiment uses it."""
        if not any(e.head == "mlp" for e in self.experiments if e.predictions.dimensions):
            return []
        return ["Head mlp, for dimensions: two linear layers, trained on 1 minus the mean CCC of each batch."]

    def _class_weights(self) -> list[str]:
        """Return a sentence about class weights (soctk.training.classes) if an experiment uses them."""
        heads = {label(e): e.predictions.settings.get("head", {}) for e in self.experiments}
        using = [name for name, head in heads.items() if head.get("class_weight", "none") == "balanced"]
        if not using:
            return []
        return [f"Class weights (all classes count equally in training and validation): {', '.join(using)}."]

    def _within_class(self) -> list[str]:
        """Return a sentence about within-class normalisation (soctk.training.within_class) if an experiment uses it."""
        shrinkage = {
            label(e): e.predictions.settings["head"].get("within_class_shrinkage", 1)
            for e in self.experiments
            if e.head == "linear" and e.predictions.emotions and not e.nested_choice
        }
        without = [name for name, value in shrinkage.items() if value == 1]
        if len(without) == len(shrinkage):
            return []
        line = "Before the head linear, descriptors get within-class covariance normalisation"
        return [f"{line}, except in {', '.join(without)}." if without else f"{line}."]

    def _fine_tuned(self) -> list[str]:
        """Return a sentence about fine-tuned encoders if an experiment has them."""
        using = [label(e) for e in self.experiments if tuning(e.predictions.settings)]
        return [f"{FINE_TUNED}: {', '.join(using)}."] if using else []

    def _speeds(self) -> list[str]:
        """Return a sentence about speed perturbation (soctk.features.copies) if an experiment uses it."""
        speeds = {label(e): used_speeds(e.predictions.settings) for e in self.experiments}
        using = [f"{name} ({', '.join(f'{speed:g}' for speed in used)})" for name, used in speeds.items() if used]
        if not using:
            return []
        meaning = "training includes copies of each recording at other speeds; posteriors are the mean over all speeds"
        return [f"Speed perturbation ({meaning}): {', '.join(using)}."]

    def _augmentations(self) -> list[str]:
        """Return a sentence about augmented copies (soctk.features.augmentation) if an experiment uses them."""
        names = {label(e): used_augmentations(e.predictions.settings) for e in self.experiments}
        using = [f"{name} ({', '.join(used)})" for name, used in names.items() if used]
        meaning = "training includes degraded copies of each recording; tests use the recordings as they are"
        return [f"Augmentation ({meaning}): {', '.join(using)}."] if using else []

    def _levels(self) -> list[str]:
        """Return a sentence about recordings at one level (soctk.corpus.level) if an experiment uses them."""
        names = [label(e) for e in self.experiments if has_equal_level(e.predictions.settings)]
        meaning = f"all recordings are scaled to {NORMAL_LEVEL} dBFS before the encoder"
        return [f"Equal level ({meaning}): {', '.join(names)}."] if names else []


def make(
    exps: Sequence[Path],
    command: str,
    data: Path | None = None,
    is_compared: bool = False,
    published_scores: Path | None = None,
) -> Report:
    """Score every experiment below the directories `exps`, and return the report.

    Args:
        exps: the directories.
        command: the command that makes the report.
        data: the data directory of all experiments; by default each experiment's own, if it still exists.
        is_compared: whether to test the difference between each pair of experiments.
        published_scores: the file with published scores; by default soctk's own, if it exists.

    Raises:
        SoctkError: soctk.scoring.score, soctk.scoring.compare or soctk.scoring.published raises it.
    """
    experiments = score(exps, data)
    if published_scores is None and published.DEFAULT.exists():
        published_scores = published.DEFAULT
    return Report(
        title=" ".join(provenance.displayed_path(exp).removeprefix(".../") for exp in exps),
        experiments=experiments,
        comparison=compare(experiments) if is_compared else None,
        published_scores=published.read(published_scores) if published_scores else None,
        command=command,
        cues={e.corpus: cues.read(e.data) for e in experiments if e.corpus and e.data and e.predictions.emotions},
    )


def _notes_on(experiment: ExperimentScores) -> list[str]:
    """Return warnings about the scores of one experiment."""
    predictions, data = experiment.predictions, experiment.data
    lines = []
    if predictions.left_out:
        lines.append(f"seeds left out because folds are missing: {listed(predictions.left_out)}.")
    if data is None:
        lines.append(
            "no data directory was found (--data). The predictions are not checked against it, and the only subgroups "
            "are folds and speakers."
        )
    elif predictions.folds != data.folds:
        lines.append(f"only folds {listed(predictions.folds)} of {listed(data.folds)} were tested.")
    runs = [RunDirectory(predictions.path, fold, seed) for fold in predictions.folds for seed in predictions.seeds]
    lines += [f"{note}." for note in choice.notes(runs)]
    if experiment.shared_recordings:
        lines.append(experiment.shared_recordings)
    if len(predictions.speakers[1]) < FEWEST_SPEAKERS:
        lines.append(f"fewer than {FEWEST_SPEAKERS} speakers, so intervals are not computed.")
    return lines


def not_comparable(differences: str) -> str:
    """Return a warning that names the differences between an experiment and a published experiment."""
    return f"not directly comparable: {differences}"


def listed(numbers: Sequence[int]) -> str:
    """Return numbers separated by commas."""
    return ", ".join(map(str, numbers))
