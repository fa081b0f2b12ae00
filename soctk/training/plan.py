"""The plan of a recipe: checks of its options, names of its directories, commands of its stages."""

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soctk import config
from soctk.cluster import option as cluster_option
from soctk.errors import SoctkError
from soctk.features.upstream import has_one_state, opensmile, own
from soctk.schema import Config
from soctk.training import directory_names, recipe_tuning, settings, trainable
from soctk.training.classifier import EmotionClassifier
from soctk.training.recipe import Recipe
from soctk.training.recipe_options import Options, per_encoder, spaced

_LAST_STAGE = 3  # unless the options choose stage 4 or 5


@dataclass(frozen=True)
class Plan:
    """The directories, and the options of the commands, of one run of a recipe.

    Attributes:
        variables: the shell variables of bin/recipe.sh, in order: `stage`, `data`, `feats`, ...
        stores: the feature store of each upstream.
        upstreams: the upstreams.
        extract_options: the options of soctk-extract, after its arguments and --upstream.
        train_options: the options of soctk-train, or of soctk-finetune, after its arguments.
        pack_options: the options of soctk-pack, after its arguments.
        robustness_options: the options of soctk-robustness, after its argument.
    """

    variables: dict[str, str]
    stores: list[str]
    upstreams: list[str]
    extract_options: list[str]
    train_options: list[str]
    pack_options: list[str]
    robustness_options: list[str]

    def shell(self) -> str:
        """Return assignments for bash to evaluate; every value is quoted."""
        lines = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        lines.append(f"stores=({shlex.join(self.stores)})")
        lines.append(f"upstreams=({shlex.join(self.upstreams)})")
        lines.append(f"extract_options=({shlex.join(self.extract_options)})")
        lines.append(f"train_options=({shlex.join(self.train_options)})")
        lines.append(f"pack_options=({shlex.join(self.pack_options)})")
        lines.append(f"robustness_options=({shlex.join(self.robustness_options)})")
        return "\n".join(lines)

    def _training(self) -> list[str]:
        """Return the command of stage 2."""
        v = self.variables
        if v["finetune"]:
            upstream = ["--upstream", self.upstreams[0]]
            return ["soctk-finetune", v["data"], v["experiment"], *upstream, *self.train_options]
        return ["soctk-train", v["data"], self.stores[0], v["experiment"], *self.train_options]

    def describe(self) -> str:
        """Return a readable list of the stages: input, output, log, and command."""
        v = self.variables
        extract = [
            ["soctk-extract", v["data"], store, "--upstream", upstream, *self.extract_options]
            for store, upstream in zip(self.stores, self.upstreams, strict=True)
        ]
        stages = [
            ("data", v["source"], v["data"], v["data_log"], []),
            ("features", v["data"], v["feats"], v["extract_log"], extract),
            ("train", v["data"] if v["finetune"] else v["feats"], v["experiment"], v["train_log"],
             [self._training()]),
            ("score", v["expdir"], f"{v['expdir']}/RESULTS.md", v["score_log"], [["soctk-score", v["expdir"]]]),
            ("pack", v["experiment"], v["model"], v["pack_log"],
             [["soctk-pack", v["experiment"], v["model"], *self.pack_options]]),
            ("robustness", v["experiment"], f"{v['experiment']}/robustness", v["robustness_log"],
             [["soctk-robustness", v["experiment"], *self.robustness_options]]),
        ]  # fmt: skip
        lines = []
        for number, (what, source, target, log, commands) in enumerate(stages):
            if v["finetune"] and number == 1:
                continue
            if int(v["stage"]) <= number <= int(v["stop_stage"]):
                lines.append(f"Stage {number}: {what}: {source} -> {target} (log: {log})")
                lines += [f"    {shlex.join(command)}" for command in commands]
        return "\n".join(lines)


def make(recipe: Recipe, options: Options) -> Plan:
    """Check all options, and return the plan. Nothing is written.

    Relative paths in `corpus`, `expdir` and `upstream` are relative to the working directory; the paths of the plan are
    absolute or relative to the recipe.

    Raises:
        SoctkError: a name is unknown, a value is wrong, two options are incompatible, or --corpus is missing.
    """
    stop_stage = _last_stage(options)
    _check_own_protocol(recipe, options)
    own_conf = [Path("conf")] if (recipe.path / "conf").is_dir() else []
    conf_dirs = [recipe.path / folder for folder in [*own_conf, *options.conf_dirs]]
    resolved = settings.resolve(
        preset=options.preset,
        conf_dirs=conf_dirs,
        pooling=options.pooling,
        head=options.head,
        layers=_use_layers(options),
        combine=options.combine,
        recentre=options.recentre,
        enrol=options.enrol,
        protocol=options.protocol,
        target=options.target,
        overrides=options.overrides,
        tune=options.finetune,
    )
    upstreams = [_path_or_name(upstream) for upstream in options.upstreams]
    _check_upstreams(options, resolved, config.conf_directories(given=conf_dirs))
    recipe_tuning.check(options, upstreams, config.conf_directories(given=conf_dirs), stop_stage)
    if opensmile.FUNCTIONALS in upstreams:
        trainable.check_poolings(resolved.pooling)
    data, stores, experiment = directory_names.make(recipe, options, resolved, upstreams)
    own_expdir = f"exp{directory_names.suffix(recipe, options, 'expdir', '/')}"
    expdir = _absolute(options.expdir) if options.expdir else own_expdir
    corpus = _corpus(recipe, options, data)
    variables = {
        "stage": str(options.stage),
        "stop_stage": str(stop_stage),
        "corpus": corpus,
        "source": corpus or recipe.corpus.download or "",
        "data": data,
        "feats": ", ".join(stores),
        "expdir": expdir,
        "experiment": f"{expdir}/{experiment}",
        "model": f"{expdir}/{experiment}/model",
        "protocol": options.protocol,
        "finetune": options.finetune or "",
        **{name.replace("-", "_"): value for name, value in options.own.items()},
        "data_log": f"{data}/log/prepare.log",
        "extract_log": f"{stores[0]}/log/extract.log",
        "train_log": f"{expdir}/{experiment}/log/train.log",
        "score_log": f"{expdir}/log/score.log",
        "pack_log": f"{expdir}/{experiment}/log/pack.log",
        "robustness_log": f"{expdir}/{experiment}/log/robustness.log",
    }
    conf = ["--conf", "conf"] if own_conf else []
    work = ["--nj", str(options.nj), "--device", options.device]
    workers = _cluster(options.cluster)
    extract_options = [*conf, "--layer", spaced(options.layers)]
    if options.speeds:
        extract_options += ["--speed-perturb", spaced(options.speeds)]
    if options.augmentations:
        extract_options += ["--augment", " ".join(options.augmentations)]
    if options.normalise != "none":
        extract_options += ["--normalise", options.normalise]
    runs = ["--seeds", spaced(options.seeds), *(["--folds", spaced(options.folds)] if options.folds else [])]
    others = [word for store in stores[1:] for word in ("--with-store", store)]
    tuning = recipe_tuning.train_options(options, resolved) if options.finetune else others
    train_options = [*tuning, *conf, *_model(options, resolved)]
    folders = [upstream for upstream in upstreams if Path(upstream).is_absolute() and not own.is_own(upstream)]
    classes = [upstream for upstream in upstreams if own.is_own(upstream)]
    return Plan(
        variables,
        stores,
        upstreams,
        extract_options=[*extract_options, *_with_given([*work, *workers], options.extract_args)],
        train_options=[*train_options, *_with_given([*runs, *work, *workers], options.train_args)],
        pack_options=[
            *(word for folder in folders for word in ("--with-encoder", folder)),
            *recipe_tuning.pack_options(options),
            *work,
        ],
        robustness_options=[*(word for given in folders + classes for word in ("--encoder", given)), *work],
    )


def _with_given(own: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return `own`, pairs of an option and its value, without the options in `given`, and then `given`."""
    pairs = zip(own[::2], own[1::2], strict=True)
    kept = [pair for pair in pairs if not any(word.partition("=")[0] == pair[0] for word in given)]
    return [*(word for pair in kept for word in pair), *given]


def _model(options: Options, resolved: Config) -> Iterator[str]:
    """Yield the options of soctk-train that define the model, the protocol, and a target other than emotions."""
    yield from ("--preset", options.preset, "--pooling", resolved.pooling_name, "--head", resolved.head.name)
    layers = options.use_layers if isinstance(options.use_layers, tuple) else None
    numbers = ", ".join(map(spaced, per_encoder(layers))) if layers else spaced(resolved.frames.layers)
    if not options.finetune:
        yield from ("--layer", numbers)
    yield from ("--combine", resolved.frames.combine)
    yield from ("--recentre", resolved.recentre.by, "--enrol", str(resolved.recentre.enrol))
    yield from ("--protocol", options.protocol)
    if options.target != "emotion":
        yield from ("--target", options.target)


def _last_stage(options: Options) -> int:
    """Return the last stage to run."""
    if options.stop_stage is None:
        return max(_LAST_STAGE, options.stage)
    if options.stage > options.stop_stage:
        raise SoctkError(
            f"the first stage, {options.stage}, comes after the last, {options.stop_stage}",
            remedy="Give a --stage that is not greater than --stop-stage.",
            where="--stage",
        )
    return options.stop_stage


def _check_own_protocol(recipe: Recipe, options: Options) -> None:
    if options.protocol not in recipe.protocols:
        return
    for name, value in recipe.protocols[options.protocol].needs.items():
        if options.own[name] != value:
            raise SoctkError(
                f"works only with --{name} {value}, not with --{name} {options.own[name]}",
                remedy=f"Leave out --{name}, or choose another protocol.",
                where=f"--protocol {options.protocol}",
            )


def _use_layers(options: Options) -> str | list[int] | None:
    """Return the hidden states to train on; None for the default of frames.yaml."""
    if options.use_layers is None:
        return "all" if options.layers != "all" or options.extracts_last else None
    if isinstance(options.use_layers, str):
        return options.use_layers
    return sorted({layer for own in per_encoder(options.use_layers) for layer in own})


def _check_upstreams(options: Options, resolved: Config, conf_dirs: Sequence[Path]) -> None:
    """Refuse layers that an upstream does not have or that are not extracted, and a model that cannot be built."""
    upstreams, used = options.upstreams, options.use_layers
    lists = per_encoder(used) if isinstance(used, tuple) else [used]
    if len(lists) not in (1, len(upstreams)):
        raise SoctkError(
            f"hidden states are listed for {len(lists)} encoders, and --upstream names {len(upstreams)}",
            remedy='Give one list for all encoders, or one for each, such as "2 3 4 5, 2 3".',
            where="--use-layer",
        )
    for upstream, own_layers in zip(upstreams, lists if len(lists) > 1 else lists * len(upstreams), strict=True):
        of_one = replace(options, upstream=shlex.quote(upstream), use_layers=own_layers)
        model = _check_layers(of_one, upstream, resolved, conf_dirs)
        if model.is_trained and len(upstreams) > 1:
            raise trainable.several_encoders()


def _check_layers(options: Options, upstream: str, resolved: Config, conf_dirs: Sequence[Path]) -> EmotionClassifier:
    """Check the layers of one upstream; return a model for it, whose sizes do not matter."""
    known = config.load_upstream(conf_dirs, upstream)
    extracted = range(known.layers + 1) if known else None
    if isinstance(options.layers, tuple):
        missing = [layer for layer in options.layers if extracted is not None and layer not in extracted]
        if missing and known:
            raise SoctkError(
                f"{upstream} has the hidden states 0 to {known.layers}, not {spaced(missing)}",
                remedy="Choose numbers in this range.",
                where="--layer",
            )
    stored = _stored_layers(options, upstream, known.layers if known else None)
    used = per_encoder(options.use_layers)[0] if isinstance(options.use_layers, tuple) else ()
    missing = [layer for layer in used if stored is not None and layer not in stored]
    if missing and stored is not None:
        choose = f"Choose from the hidden states of {upstream} that --layer {spaced(options.layers)} extracts"
        raise SoctkError(
            f"hidden states are not extracted: {spaced(missing)}",
            remedy=f"{choose} ({spaced(stored)})" + (", or change --layer." if options.layers != "all" else "."),
            where="--use-layer",
        )
    # Building a model raises the errors of its settings.
    trained = resolved.frames.layers
    is_one = trained in ("last", "auto") or options.extracts_last if isinstance(trained, str) else len(trained) == 1
    return EmotionClassifier(known.hidden_size if known else 512, 1 if is_one else 2, 2, resolved)


def _stored_layers(options: Options, upstream: str, highest: int | None) -> Sequence[int] | None:
    """Return the hidden states of an upstream that will be extracted; None if they are not known before.

    Args:
        options: the options of the recipe.
        upstream: the upstream.
        highest: the number of its last hidden state, if it is known.
    """
    if isinstance(options.layers, tuple):
        return options.layers
    highest = 0 if has_one_state(upstream) else highest
    if highest is None:
        return None
    return [highest] if options.layers == "last" else list(range(highest + 1))


def _corpus(recipe: Recipe, options: Options, data: str) -> str:
    """Return the folder of the recordings, or "" where stage 0 downloads them.

    Raises:
        SoctkError: the folder does not exist, or stage 0 needs --corpus.
    """
    if options.corpus:
        corpus = _absolute(options.corpus)
        if not Path(corpus).is_dir():
            raise SoctkError("no such directory", remedy="Check the path.", where=f"--corpus {corpus}")
        return corpus
    if recipe.corpus.default or recipe.corpus.download or options.stage > 0:
        return recipe.corpus.default or ""
    is_prepared = (recipe.path / data / "wav.scp").is_file()
    go_on = f"To continue with {data}, which exists, give --stage 1." if is_prepared else ""
    remedy = " ".join(filter(None, ("Give --corpus DIR.", recipe.corpus.obtain, go_on)))
    raise SoctkError("stage 0 needs the recordings", remedy=remedy)


def _cluster(option: str | None) -> list[str]:
    """Return the option --cluster of a stage, after a check.

    Raises:
        SoctkError: soctk.cluster.option.parse raises it.
    """
    if option is None:
        return []
    cluster_option.parse(option)
    return ["--cluster", _absolute(option) if Path(option).is_file() else option]


def _absolute(path: str) -> str:
    """Return the absolute path, so that a change of the working directory does not matter."""
    return str(Path.cwd() / path)


def _path_or_name(upstream: str) -> str:
    """Return the upstream with the absolute path of its folder or file, or its name.

    A folder without a config.json counts only if the given path contains a slash: the name fbank means the upstream,
    even if a folder has this name. MODULE:CLASS becomes FILE.py:CLASS if the file is in the working directory, which
    is another one in the stages.

    Raises:
        SoctkError: there is no such file.
    """
    if own.is_own(upstream):
        module, _, name = upstream.rpartition(":")
        file = Path(module if module.endswith(".py") else f"{module}.py").expanduser()
        if module.endswith(".py") and not file.is_file():
            raise SoctkError("no such file", remedy="Check the path.", where=f"--upstream {upstream}")
        return f"{_absolute(str(file))}:{name}" if file.is_file() else upstream
    folder = Path(upstream)
    if folder.is_dir() and ("/" in upstream or (folder / "config.json").is_file()):
        return os.path.abspath(folder)  # noqa: PTH100 - a link keeps its name
    return upstream
