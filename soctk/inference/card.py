"""The model card of a packed model: README.md, with the front matter of the Hugging Face hub."""

from collections.abc import Sequence

import yaml

from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.corpus.level import NORMAL_LEVEL
from soctk.errors import plural
from soctk.inference import encoders
from soctk.inference.bundle import Bundle, ModelSettings
from soctk.inference.onnx.form import OnnxWeights
from soctk.schema import Config
from soctk.scoring.score import ExperimentScores

_LICENCES = (
    "The licence of this model is not set. It depends on the licences of the corpus and of the encoder: look at both, "
    "and write the licence into the field `license` above before you share the model."
)
_LIMITS = (
    "The model knows the emotions above only, as the speakers of the training corpus expressed them and its annotators "
    "labelled them. Expect lower scores for other languages, microphones, ages or spontaneous speech: test the model "
    "on recordings of your own before you rely on it. Do not use it to judge a person.",
    "A posterior is not the probability that a person feels an emotion. It says how much a recording sounds like the "
    "training recordings with this label.",
)


def write(bundle: Bundle, data: DataDir, scores: Sequence[ExperimentScores], onnx: OnnxWeights | None = None) -> str:
    """Return the text of the model card.

    Args:
        bundle: the packed model.
        data: the corpus of the experiment.
        scores: the scores of the experiment; several for the tests of a published partition.
        onnx: the data type of the weights in the ONNX form of the encoder; None if the model has none.
    """
    settings = bundle.settings
    front = {
        "library_name": "soctk",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "emotion", "second-order-pooling"],
        "license": "other",
        **_base_model(settings),
    }
    corpus = data.path.resolve().name if data.path else "the corpus"
    training, experiment = settings.training, settings.experiment
    speakers = plural(training["speakers"], "speaker") if training["speakers"] else "unknown speakers"
    who = f"the speakers of all folds{training['folds'].removeprefix('all')}"
    if data.split:
        who = "all parts, the tests too," if training["folds"] == "all" else "train and validation data"
    lines = [
        f"---\n{yaml.safe_dump(front, sort_keys=False).rstrip()}\n---\n",
        f"# {training['experiment']}\n",
        f"{'Predicts' if experiment.dimensions else 'Recognises'} {', '.join(settings.outputs)} in speech. "
        "Made with soctk.\n",
        "## Use\n",
        "```sh\nsoctk-predict . RECORDING.wav\n```\n",
        "```python\nimport soctk\n\nmodel = soctk.load('.')\nresult = model('RECORDING.wav')\n"
        f"print({'result.dimensions' if experiment.dimensions else 'result.emotion, result.posteriors'})\n```\n",
        "`.` is this folder. Elsewhere, give its path, or its id on the Hugging Face hub.\n",
        *_use(bundle),
        *_ONNX[onnx],
        "## Model\n",
        *(
            f"- Encoder: {each.name}, hidden states {', '.join(map(str, each.layers))}; "
            f"{_training_of(experiment)} ({each.source})."
            for each in settings.encoders
        ),
        f"- Pooling: {'+'.join(experiment.pooling)}. Head: {experiment.head.name}.",
        f"- Trained on {who} of {corpus}: {plural(training['utterances'], 'utterance')} of {speakers}.\n",
        "## Scores\n",
        f"These are scores of the experiment, in which each fold has a model of its own. Protocol "
        f"{experiment.protocol}: {splits.DESCRIPTIONS[experiment.protocol]}. [] is the 95% interval over speakers.\n",
        *(line for tested in scores for line in _scores(tested, corpus)),
        "## Limits\n",
        "\n\n".join(_LIMITS),
        "\n## Licences\n",
        _LICENCES,
    ]
    return "\n".join(lines) + "\n"


_ONNX: dict[OnnxWeights | None, list[str]] = {
    None: [],
    "float32": [
        "The folder `onnx` has the encoder for onnxruntime. With it, the model needs no torch and starts faster; "
        "posteriors are the same up to rounding: `soctk-predict . RECORDING.wav --runtime onnx`.\n"
    ],
    "int8": [
        "The folder `onnx` has the encoder for onnxruntime, with weights that are rounded to 8 bits. With it, the "
        "model needs no torch, but its posteriors differ, and the scores below do not hold exactly: "
        "`soctk-predict . RECORDING.wav --runtime onnx`.\n"
    ],
}
_UNITS = {"WA": "%", "UA": "%", "F1": "%", "log_loss": "nats", "cross_entropy": "nats", "JSD": "bits"}
_NAMES = {"F1": "macro-F1", "log_loss": "log-loss", "cross_entropy": "cross-entropy"}
_CLASS_TABLE = ("| emotion | utterances | recall (%) | precision (%) |\n| --- | --- | --- | --- |",)


def _base_model(settings: ModelSettings) -> dict[str, str | list[str]]:
    """Return the entry of the model card for the encoders from the hub; a fine-tuned one started from one of it."""
    hub = [encoder.hub for encoder in settings.encoders if encoder.hub]
    hub += [settings.training["base_model"]] if "base_model" in settings.training else []
    return {"base_model": hub[0] if len(hub) == 1 else hub} if hub else {}


def _training_of(experiment: Config) -> str:
    return f"fine-tuned ({experiment.finetune.tune})" if experiment.finetune else "frozen"


def _use(bundle: Bundle) -> list[str]:
    """Return what a user of this model must know."""
    encoder, notes = bundle.settings.encoder, []
    if bundle.prior is not None:
        notes.append(
            "The model subtracts the mean descriptor of the speaker. It therefore needs recordings of the speaker, "
            "without labels: `soctk-predict . RECORDING.wav --enrol FOLDER`.\n"
        )
    if bundle.settings.normalise == "level":
        notes.append(
            f"The model scales each recording, or each window of a recording, to {NORMAL_LEVEL} dBFS (RMS), so the "
            "recording level has no influence.\n"
        )
    if bundle.settings.more_encoders:
        names = " and ".join(each.name for each in bundle.settings.encoders)
        notes.append(f"The model has several encoders, {names}; their descriptors are concatenated.\n")
    elif encoders.has_checksum(encoder):
        notes.append(
            f"The encoder is in the folder `encoder`, or give its folder: `--encoder DIR` ({encoder.name}, checksum "
            f"{encoder.source}).\n"
        )
    if any(encoders.package(each) == "opensmile" for each in bundle.settings.encoders):
        notes.append(
            "eGeMAPS is computed by the package opensmile (`pip install 'soctk[egemaps]'`). Its licence permits "
            "non-commercial use and research only: <https://github.com/audeering/opensmile-python#license>.\n"
        )
    if encoders.is_own(encoder):
        notes.append(
            f"The encoder is the Python class {encoder.name}, which is not in this folder ({encoder.source}). Name it: "
            f"`soctk-predict . RECORDING.wav --encoder {encoder.name}`.\n"
        )
    return notes


def _scores(scores: ExperimentScores, corpus: str) -> list[str]:
    """Return the scores of the experiment, or those of one of its tests."""
    utterances, speakers = len(scores.predictions.utterances), len(scores.predictions.speakers[1])
    if scores.speaker_overlap:
        who = f"{plural(utterances, 'utterance')} of {corpus}. Test speakers may have trained it: "
        who += f"{scores.speaker_overlap}."
    else:
        who = f"{plural(speakers, 'speaker')} of {corpus} that did not train it."
    return [
        *([f"### {_escape(scores.test)}\n"] if scores.test else []),
        f"Tested on {who}\n",
        "| metric | all utterances |\n| --- | --- |",
        *(f"| {_title(name)} | {_interval(scores, name)} |" for name in scores.scale.columns if name != "ECE"),
        "",
        *(_CLASS_TABLE if len(scores.per_class) else ()),
        *(
            f"| {_escape(str(name))} | {row['utterances']:.0f} | {row['recall']:.1f} | {row['precision']:.1f} |"
            for name, row in scores.per_class.iterrows()
        ),
        "",
    ]


def _title(name: str) -> str:
    """Return the printed name of a score, such as WA (%), or CCC of arousal."""
    if name in _UNITS:
        return f"{_NAMES.get(name, name)} ({_UNITS[name]})"
    metric, _, part = name.partition("_")
    return f"{metric} of {part}"


def _interval(scores: ExperimentScores, metric: str) -> str:
    value, low, high = scores.pooled[metric]
    digits = 1 if _UNITS.get(metric) == "%" else 3
    bounds = f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else ""
    return f"{value:.{digits}f}{bounds}"


def _escape(name: str) -> str:
    return name.replace("|", "\\|")
