"""Predictions for a corpus with labels, in the form that soctk-score reads: an experiment with one run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soctk import progress, provenance
from soctk.corpus import audio, independence
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural
from soctk.inference.recogniser import Recogniser
from soctk.scoring import prediction_file, recorded
from soctk.scoring.runs import RunDirectory
from soctk.training.run_writer import RunWriter


@dataclass(frozen=True)
class Labelled:
    """The utterances of a corpus whose labels are classes of a model.

    Attributes:
        data: the utterances, with the classes of the model as emotions.
        dropped: dropped label -> the number of its utterances.
    """

    data: DataDir
    dropped: Mapping[str, int]

    @property
    def summary(self) -> str:
        """The numbers of kept and dropped utterances, in one line."""
        dropped = ", ".join(f"{label} {count}" for label, count in self.dropped.items())
        return f"{plural(len(self.data.utterances), 'utterance')}, dropped: {dropped or 'none'}"


def select(data: DataDir, model: Recogniser, labels: Mapping[str, str | None]) -> Labelled:
    """Return the utterances whose labels are classes of the model.

    Args:
        data: a corpus with its own labels.
        model: the model.
        labels: label -> class, or None to drop the label. A label that is not in the map is its own class.

    For a model of dimensions, all utterances are kept.

    Raises:
        SoctkError: no utterance is left, or the corpus lacks a dimension of the model.
    """
    missing = [name for name in model.dimensions if name not in data.dimensions]
    if missing:
        raise SoctkError(
            f"the corpus has no {', '.join(missing)}, which the model predicts",
            remedy=f"Add {', '.join(f'utt2{name}' for name in missing)} to the data directory.",
            where=data.path,
        )
    if model.dimensions:
        return Labelled(data, {})
    class_of = {label: labels.get(label, label) for label in data.emotions}
    kept = {label: name for label, name in class_of.items() if name in model.emotions}
    emotion = {utt: kept[label] for utt, label in data.emotion.items() if label in kept}
    if not emotion:
        classes = ", ".join(dict.fromkeys(name for name in class_of.values() if name)) or "none"
        raise SoctkError(
            f"the corpus has the classes {classes}, and the model has {', '.join(model.emotions)}",
            remedy="Map the labels to the classes of the model: --labels FILE, with a line LABEL: CLASS for each.",
            where=data.path,
        )
    counts = Counter(data.emotion.values())
    return Labelled(
        replace(
            data.only(emotion),
            emotion=emotion,
            emotions=tuple(model.emotions),
        ),
        {label: counts[label] for label in data.emotions if label not in kept},
    )


def write(model: Recogniser, labelled: Labelled, directory: Path, device: str) -> RunDirectory:
    """Classify the utterances, and write `directory`/fold1/seed1/predictions.tsv and config.yaml.

    A model with re-centring uses the recordings of each speaker here, without their labels.

    Raises:
        SoctkError: the run exists; recordings cannot be used, are longer than the model takes, or are among those that
            trained the model.
    """
    run = RunDirectory(directory, 1, 1)
    if run.path.exists():
        raise SoctkError("it exists already", remedy="Remove it, or choose another directory.", where=run.path)
    data = labelled.data
    model = model.with_channel(data.channel)
    _check_recordings(model, data)
    with RunWriter.opened(run, tensorboard=False) as writer:
        writer.write_settings(_settings(model, data, device))
        values = _values(model, data)
        if model.dimensions:
            table = prediction_file.of_dimensions(data, data.utterances, model.dimensions, values)
        else:
            table = prediction_file.of_classes(data, data.utterances, values)
        writer.write_predictions(table)
    return run


def _check_recordings(model: Recogniser, data: DataDir) -> None:
    clips = data.clips
    recordings = audio.check(clips, data.channel)
    trained = set(model.bundle.recordings)
    shared = [f"{utt} {clips[utt]}" for utt, info in recordings.items() if info.digest in trained]
    if shared:
        raise SoctkError(
            f"{len(shared)} of {len(recordings)} recordings trained this model, so its scores on them would be too "
            f"high\n{listing(shared)}",
            remedy="Score recordings that did not train it: remove these from the data directory, or pack a fold's own "
            "model (soctk-pack --fold).",
            where=data.path,
        )
    long = [f"{utt} {info.seconds:.1f} s" for utt, info in recordings.items() if info.seconds > model.max_seconds]
    if long:
        raise SoctkError(
            f"{plural(len(long), 'recording is', 'recordings are')} longer than this model takes "
            f"({model.max_seconds:.4g} s)\n{listing(long)}",
            remedy="Cut them, or remove them from the data directory.",
            where=data.path,
        )


def _values(model: Recogniser, data: DataDir) -> np.ndarray:
    """Return the posteriors `(N, K)`, or the values on the dimensions `(N, D)`, of all utterances."""
    clips, speakers = data.clips, {}
    if model.is_recentred:
        for name in progress.track(sorted(set(data.speaker.values())), "enrol", "speaker"):
            speakers[name] = model.enrol([clip for utt, clip in clips.items() if data.speaker[utt] == name])
    rows = []
    for utt, clip in progress.track(clips.items(), "predict", "utt", len(clips)):
        samples, rate = audio.load_native(clip, data.channel)
        rows.append(model.values(samples, rate, speakers.get(data.speaker[utt])))
    return np.stack(rows)


def _settings(model: Recogniser, data: DataDir, device: str) -> dict:
    """Return the settings for config.yaml: those of the experiment, but no data directory with other labels."""
    settings = model.settings
    experiment = {**settings.experiment.model_dump(), "protocol": "cross-corpus"}
    if model.is_recentred:
        experiment["recentre"] = {**experiment["recentre"], "enrol": "all"}
    return {
        "fold": 1,
        "seed": 1,
        **({"speaker_overlap": unknown} if (unknown := independence.find_unknown(data)) else {}),
        **recorded.by_name([{"upstream": encoder.name, "source": encoder.source, "layers": encoder.layers,
                             "speeds": settings.speeds, "normalise": settings.normalise}
                            for encoder in settings.encoders]),
        **experiment,
        "model": settings.training,
        "made_with": {**provenance.versions("soctk", "torch"), "commit": provenance.commit(), "device": device},
    }  # fmt: skip
