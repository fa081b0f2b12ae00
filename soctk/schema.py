"""The settings of an experiment: one class for each YAML file, with the types and ranges of its values."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

# The keys of a run's config.yaml that may differ between the runs of an experiment.
OF_ONE_RUN = ("fold", "seed", "made_with", "made_from")

# The columns of a run's predictions.tsv before those of the emotions; the last two are only in some of these files.
PREDICTION_COLUMNS = ("utt", "spk", "ref", "hyp")
TEST_COLUMN, DISTRIBUTION_COLUMN = "test", "dist"

Protocol = Literal["soctk", "emobox", "partition", "utterance-folds", "cross-lingual", "cross-corpus"]
# Whether frames are normalised: each over its D features (true), all of an utterance together, or not.
LayerNorm = bool | Literal["utterance"]
ClassWeight = Literal["none", "balanced"]
# The degradations of augmented copies (soctk.features.augmentation).
Augmentation = Literal["noise", "babble", "reverb", "pitch", "gain", "codec"]
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)
# How waveforms are scaled before the encoder: not, or to one level (soctk.corpus.level).
Normalisation = Literal["none", "level"]
# The dimensions of emotion; a corpus may have a file utt2DIM for each.
DIMENSIONS = ("arousal", "valence", "dominance")
# The options of a pooling layer, name -> value; the layer validates them (soctk.pooling.create).
Options = dict[str, Annotated[int | float | str, Field(union_mode="left_to_right")]]


class Section(BaseModel):
    """A group of settings: unknown keys, NaN and infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FramesConfig(Section):
    """The choice and normalisation of the frames to pool.

    Attributes:
        layer_norm: how frames are normalised (soctk.training.frame_norm).
        layers: the hidden states to use, of those in the feature store: `all`, `last` (the highest), their numbers, or
            `auto`: each fold chooses them (soctk.training.candidates).
        speeds: the playback speeds of additional copies (soctk.features.copies): `all` in the store, or a list.
        augment: the augmentations of copies for training only (soctk.features.augmentation): `all` in the store, or a
            list.
        combine: how several layers are combined. `sum`: their frames are added with learned weights; `concat`: each
            layer gives a descriptor, and the descriptors are concatenated.
        projection: the number of units of a trained layer, Linear-ReLU, on each frame before the pooling; 0: none.
    """

    layer_norm: LayerNorm
    layers: Literal["all", "last", "auto"] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    speeds: Literal["all"] | list[Annotated[float, Field(gt=0)]]
    augment: Literal["all"] | list[Augmentation] = "all"
    combine: Literal["sum", "concat"]
    projection: int = Field(default=0, ge=0)

    @field_validator("layers", "speeds", "augment")
    @classmethod
    def _check_no_repetition(cls, values, info):
        if not isinstance(values, str) and len(set(values)) < len(values):
            name = {"layers": "layer", "speeds": "speed", "augment": "augmentation"}[info.field_name]
            raise ValueError(f"each {name} may be listed only once")
        return values


class RecentreConfig(Section):
    """Speaker re-centring (soctk.training.recentre): subtraction of the speaker's mean from the descriptors.

    Attributes:
        by: `speaker`, or `none` for no re-centring.
        enrol: the number of unlabelled utterances from which a test speaker's mean is estimated, or `all`.
        relevance: the weight r of the mean over training speakers (soctk.training.recentre.Recentring).
    """

    by: Literal["none", "speaker"]
    enrol: Literal["all"] | Annotated[int, Field(ge=0)]
    relevance: float = Field(ge=0)

    @model_validator(mode="after")
    def _check_enrol_has_an_effect(self):
        if self.by == "none" and self.enrol != "all":
            raise ValueError("enrol needs by: speaker (--recentre speaker)")
        return self


class ModelConfig(Section):
    """The model to train when the command line names none: conf/model.yaml.

    Attributes:
        pooling: the name of a pooling layer, or several names joined by `+`.
        head: `mlp`, `linear` or `auto` (mlp for a pooling with trained parameters, linear for other poolings).
    """

    pooling: str
    head: str


class MLPConfig(Section):
    """The head Linear-BatchNorm-ReLU-Dropout-Linear, trained as TrainConfig says; one linear layer if `hidden` is 0."""

    name: Literal["mlp"]
    hidden: int = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)
    class_weight: ClassWeight = "none"  # in the loss (soctk.training.classes)


class LinearConfig(Section):
    """The head that is a logistic regression (soctk.training.linear).

    Attributes:
        C: inverse strengths of the L2 regularisation; inner cross-validation chooses one. If there are several, values
            beyond an edge of the list may be tried too (soctk.training.linear.beyond).
        within_class_shrinkage: the shrinkage alpha of the covariance within classes (soctk.training.within_class).
        class_weight: the weights of the classes in the likelihood (soctk.training.classes).
    """

    name: Literal["linear"]
    C: list[Annotated[float, Field(ge=1e-12, le=1e12)]] = Field(min_length=1)
    within_class_shrinkage: float = Field(ge=0.01, le=1)
    class_weight: ClassWeight = "none"


class TrainConfig(Section):
    """The training loop: AdamW, linear warm-up and decay of the learning rate, early stopping on the validation loss.

    Attributes:
        batch_size: in utterances.
        epochs: the largest number of epochs.
        patience: the number of epochs without a lower validation loss after which training stops.
        lr: the peak learning rate, at most 1: with larger values, weights grow to infinity.
        weight_decay: of AdamW.
        warmup: the share of all steps in which the learning rate rises; then it falls linearly to 0.
        grad_clip: the largest norm of the gradient.
    """

    batch_size: int = Field(gt=1)
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0)
    lr: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1)
    grad_clip: float = Field(gt=0)

    @model_validator(mode="after")
    def _check_decay(self):
        if self.lr * self.weight_decay > 1:
            raise ValueError("lr times weight_decay, the share that a step takes from each weight, must be at most 1")
        return self


class FineTuneConfig(Section):
    """The training of the encoder together with the pooling and the head (soctk.finetuning): conf/finetune.yaml.

    Attributes:
        tune: the parameters of the encoder to train: `lora` (low-rank matrices beside its linear layers), `top:N`
            (the last N transformer layers before the highest hidden state that is used), or `all`.
        start: the initial head: `linear` (fitted to frozen descriptors), `random`, or `auto`.
        heads: with the start `linear`, the heads of the training loss (soctk.finetuning.start): `crossed`, `train` or
            `freeze`.
        refit: with the start `linear` and heads that are not trained: whether the head of the run is fitted again at
            the end, to training and validation utterances.
        epochs: the largest number of epochs.
        patience: the number of epochs without a lower validation loss after which training stops.
        batch_size: in utterances.
        lr_encoder: the peak learning rate of the encoder.
        lr_head: the peak learning rate of all other parameters.
        weight_decay: of AdamW.
        warmup: the share of all steps in which the learning rates rise; then they fall linearly to 0.
        grad_clip: the largest norm of the gradient.
        label_smoothing: the share of the uniform distribution in the labels.
        lora_rank: the rank of the added matrices.
        lora_alpha: their product is multiplied by lora_alpha / lora_rank.
        lora_dropout: the dropout of their inputs.
        lora_modules: the linear layers that get them: `feed_forward`, `attention` or `both`.
        lora_layers: the transformer layers that get them, from 1, or `all`.
        precision: the data type of the encoder's computation in training; bfloat16 uses autocast. Predictions are
            computed in float32.
        checkpointing: whether transformer layers are computed again in the backward pass.
        noise: the share of training utterances with noise.
        snr: the lowest and the highest signal-to-noise ratio of the noise, in dB.
        gain: the largest change of level, in dB.
        time_masks: the number of masked spans of time.
        time_mask: the largest length of a span, as a share of the utterance.
        channel_masks: the number of masked spans of channels.
        channel_mask: the largest width of a span, as a share of the channels.
    """

    tune: Annotated[str, Field(pattern=r"^(lora|all|top:[1-9][0-9]*)$")]
    start: Literal["linear", "random", "auto"]
    heads: Literal["crossed", "train", "freeze"]
    refit: bool
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0)
    batch_size: int = Field(gt=1)
    lr_encoder: float = Field(gt=0)
    lr_head: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1)
    grad_clip: float = Field(gt=0)
    label_smoothing: float = Field(ge=0, lt=1)
    lora_rank: int = Field(gt=0)
    lora_alpha: int = Field(gt=0)
    lora_dropout: float = Field(ge=0, lt=1)
    lora_modules: Literal["feed_forward", "attention", "both"]
    lora_layers: Literal["all"] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    precision: Literal["float32", "bfloat16"]
    checkpointing: bool
    noise: float = Field(ge=0, le=1)
    snr: tuple[float, float]
    gain: float = Field(ge=0)
    time_masks: int = Field(ge=0)
    time_mask: float = Field(gt=0, le=1)
    channel_masks: int = Field(ge=0)
    channel_mask: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _check_snr(self):
        if self.snr[0] > self.snr[1]:
            raise ValueError("snr needs the lower ratio first")
        return self

    @model_serializer(mode="wrap")
    def _with_list(self, dump):
        """Write `snr` as a list, as YAML knows no tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in dump(self).items()}


class UpstreamConfig(Section):
    """A speech encoder with a name in conf/upstream/; an encoder that differs from this description is refused.

    Attributes:
        source: the hub id or the folder that the name stands for.
        layers: the number of transformer layers; the hidden states are 0 (the input of layer 1) to `layers`.
        hidden_size: D, the width of a frame.
        frame_shift_ms: the time from one frame to the next, in ms.
    """

    source: str
    layers: int = Field(ge=0)
    hidden_size: int = Field(gt=0)
    frame_shift_ms: float = Field(gt=0)


class Config(Section):
    """All settings of an experiment except fold and seed.

    Attributes:
        protocol: how validation utterances are chosen.
        frames: the choice and normalisation of the frames.
        pooling: name -> options of each pooling layer; the descriptors of several layers are concatenated.
        recentre: the re-centring of the descriptors.
        head: the classifier.
        train: the training loop; None for the head `linear` and for fine-tuning, which do not use it.
        target: what is predicted: `emotion`, `distribution` over emotions, or dimensions joined by `+`.
        pooling_choice: `all`: the descriptors of all pooling layers are concatenated; `auto`: each fold chooses one of
            the layers or all of them (soctk.training.candidates).
        finetune: the training of the encoder; None for a frozen encoder.
    """

    protocol: Protocol
    frames: FramesConfig
    pooling: dict[str, Options]
    recentre: RecentreConfig
    head: Annotated[MLPConfig | LinearConfig, Field(discriminator="name")]
    train: TrainConfig | None
    target: str = "emotion"
    pooling_choice: Literal["all", "auto"] = "all"
    finetune: FineTuneConfig | None = None

    @property
    def is_choice(self) -> bool:
        """Whether each fold chooses hidden states or pooling layers (soctk.training.candidates)."""
        return self.frames.layers == "auto" or self.pooling_choice == "auto"

    @property
    def pooling_name(self) -> str:
        """The argument of --pooling: `auto`, or the names of the pooling layers joined by `+`."""
        return "auto" if self.pooling_choice == "auto" else "+".join(self.pooling)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that are predicted; empty for emotions."""
        return () if self.target in ("emotion", "distribution") else tuple(self.target.split("+"))

    @field_validator("target")
    @classmethod
    def _check_target(cls, target):
        names = target.split("+")
        if target not in ("emotion", "distribution") and (
            not set(names) <= set(DIMENSIONS) or len(set(names)) < len(names)
        ):
            raise ValueError(f"not emotion, distribution, or one or several of {', '.join(DIMENSIONS)} joined by +")
        return target

    def recorded(self) -> dict[str, Any]:
        """Return the settings for a config.yaml, without those that have a default in this file.

        Earlier versions did not have these settings, so their runs are equal to runs with the defaults.
        """
        return self.model_dump(exclude_defaults=True)


class ClusterConfig(Section):
    """The workers of a cluster: a file such as conf/cluster/slurm.yaml.

    Attributes:
        kind: `local` (processes on this machine), `ssh` (processes on other machines), or a batch system.
        workers: the number of workers: processes, or jobs of the batch system; with `ssh`, processes on each host.
        gpus: for `local`: worker 0 uses GPU 0, worker 1 uses GPU 1, and so on.
        hosts: for `ssh`: the machines on which the workers run.
        options: further arguments of the class that starts the workers: distributed.LocalCluster,
            distributed.SSHCluster, dask_jobqueue.SLURMCluster, ...
    """

    kind: Literal["local", "ssh", "slurm", "pbs", "sge", "lsf", "oar", "htcondor", "moab"]
    workers: int = Field(ge=1)
    gpus: bool = False
    hosts: list[str] = []
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_kind(self):
        if self.gpus and self.kind != "local":
            raise ValueError(f"gpus is for kind: local; ask for a GPU in the options of {self.kind}")
        if bool(self.hosts) != (self.kind == "ssh"):
            raise ValueError("hosts, the machines of the workers, are needed for kind: ssh, and for no other kind")
        return self
