"""Conditions of a test of robustness: each disturbs recordings in one way, with fixed random numbers."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr

from soctk.corpus import audio, recordings
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError, unknown_name

VOICES = 6  # of babble
# Increase this number if a condition changes the sound differently; predictions with another number are refused.
VERSION = 2
_OPTION = "--conditions"


@dataclass(frozen=True)
class Kind:
    """A kind of condition.

    Attributes:
        values: the values that are tested by default; None for a kind without values.
        unit: the unit of the value.
        about: what is done to a recording.
        limits: the lowest and the highest value.
    """

    values: tuple[float, ...] | None
    unit: str
    about: str
    limits: tuple[float, float] = (0, 0)


_SNR, _SNR_LIMITS = (20.0, 10.0, 5.0, 0.0), (-40, 80)
CLEAN, OWN_NOISE = "clean", "noise"
NOISES = ("white", "pink", "babble", OWN_NOISE)
KINDS: dict[str, Kind] = {
    CLEAN: Kind(None, "", "the recordings as they are"),
    "white": Kind(_SNR, "dB", "white noise at this signal-to-noise ratio", _SNR_LIMITS),
    "pink": Kind(_SNR, "dB", "pink noise (1/f) at this signal-to-noise ratio", _SNR_LIMITS),
    "babble": Kind(
        _SNR,
        "dB",
        f"the sum of {VOICES} other test recordings of the same fold, of other speakers where there are enough, at "
        "this signal-to-noise ratio",
        _SNR_LIMITS,
    ),
    OWN_NOISE: Kind(_SNR, "dB", "noise from the recordings in --noise at this signal-to-noise ratio", _SNR_LIMITS),
    "reverb": Kind((0.6,), "s", "a generated room with this reverberation time T60", (0.05, 10)),
    "telephone": Kind(None, "", "a telephone line: 300 to 3400 Hz, 8 kHz, mu-law"),
    "mp3": Kind((32.0,), "kb/s", "MP3 at this bit rate", (8, 320)),
    "gain": Kind((12.0, -12.0), "dB", "amplified by this gain, and clipped at full scale", (-60, 60)),
    "cut": Kind((2.0, 1.0), "s", "the middle of the recording, this long; shorter recordings stay whole", (0.1, 30)),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition.

    Attributes:
        kind: a key of KINDS.
        value: its value, in the unit of the kind; None for a kind without values.
    """

    kind: str
    value: float | None = None

    @property
    def name(self) -> str:
        """The name on the command line, such as white:10 or telephone."""
        return self.kind if self.value is None else f"{self.kind}:{self.value:g}"

    @property
    def folder(self) -> str:
        """The name of its folder, such as white_10."""
        return self.name.replace(":", "_")

    @property
    def title(self) -> str:
        """The name in tables, such as white 10 dB."""
        if self.value is None:
            return self.kind
        sign = "+" if self.kind == "gain" else "-"
        return f"{self.kind} {self.value:{sign}g} {KINDS[self.kind].unit}".replace("-", "−")

    @property
    def place(self) -> tuple[int, float]:
        """The place in tables: by kind, the highest value first."""
        return list(KINDS).index(self.kind), -(self.value or 0)

    def apply(self, waveform: np.ndarray, rate: int, utterance: str, sounds: "Sounds") -> np.ndarray:
        """Return the disturbed waveform.

        All random numbers follow from the utterance and the kind, so an utterance has the same noise at each ratio.

        Args:
            waveform: the utterance `(T,)`, float32 with full scale 1.
            rate: its sample rate in Hz.
            utterance: its id.
            sounds: the recordings from which noise is taken.

        Raises:
            SoctkError: Sounds.babble or Sounds.noise raises it, or MP3 cannot be written.
        """
        from soctk.corpus import degradations  # imports torch, which reports do not need

        seed = hashlib.sha256(f"{self.kind} {utterance}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(seed, np.uint32))
        value = 0.0 if self.value is None else self.value
        match self.kind:
            case "white":
                return degradations.add_noise(waveform, degradations.white(len(waveform), rng), value)
            case "pink":
                return degradations.add_noise(waveform, degradations.pink(len(waveform), rng), value)
            case "babble":
                return degradations.add_noise(waveform, sounds.babble(utterance, len(waveform), rate, rng), value)
            case "noise":
                return degradations.add_noise(waveform, sounds.noise(len(waveform), rate, rng), value)
            case "reverb":
                return degradations.reverberate(waveform, rate, value, rng)
            case "telephone":
                return degradations.telephone(waveform, rate)
            case "mp3":
                return degradations.mp3(waveform, rate, value)
            case "gain":
                return degradations.gain(waveform, value)
            case "cut":
                return degradations.cut(waveform, rate, value)
        return waveform


def parse(text: str, has_noise: bool) -> list[Condition]:
    """Return the conditions in a text such as "white:10 telephone", in the order of tables, `clean` first.

    A kind without a value stands for its default values.

    Args:
        text: the names; without any, all conditions are chosen.
        has_noise: whether there are noise recordings (--noise).

    Raises:
        SoctkError: a name is unknown, a value is wrong, or the kind `noise` is chosen without recordings.
    """
    words = text.replace(",", " ").split() or [kind for kind in KINDS if has_noise or kind != OWN_NOISE]
    found = {Condition(CLEAN)}
    for word in words:
        name, colon, value = word.partition(":")
        if name not in KINDS:
            raise unknown_name("condition", name, KINDS, where=_OPTION)
        if name == OWN_NOISE and not has_noise:
            raise SoctkError("noise needs recordings", remedy="Give a folder with some: --noise DIR.", where=_OPTION)
        kind = KINDS[name]
        if not colon:
            found.update(Condition(name, default) for default in kind.values or (None,))
        else:
            found.add(Condition(name, _value(word, value, kind)))
    return sorted(found, key=lambda condition: condition.place)


def of_folder(folder: str) -> Condition | None:
    """Return the condition with a folder's name (Condition.folder); None if it is no condition."""
    try:
        found = [condition for condition in parse(folder.replace("_", ":"), True) if condition.folder == folder]
    except SoctkError:
        return None
    return found[0] if found else None


def _value(word: str, text: str, kind: Kind) -> float:
    if kind.values is None:
        raise SoctkError(f"'{word}' has a value, and this condition has none", "Leave out the value.", where=_OPTION)
    low, high = kind.limits
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not low <= value <= high:
        raise SoctkError(
            f"the value of '{word}' is no number from {low:g} to {high:g}",
            remedy=f"Write the value in {kind.unit} after the colon, such as {word.partition(':')[0]}:"
            f"{kind.values[0]:g}.",
            where=_OPTION,
        )
    return float(f"{value:g}") + 0.0  # as in the name; -0 becomes 0


@dataclass(frozen=True)
class Sounds:
    """The recordings from which noise is taken.

    Attributes:
        clips: the place of each test utterance of the fold.
        speaker: the speaker of each utterance.
        channel: the channel of these recordings.
        noises: the properties of the noise recordings (read_noises); empty without any.
    """

    clips: Mapping[str, Clip]
    speaker: Mapping[str, str]
    channel: str = "1"
    noises: Mapping[Path, audio.AudioInfo] = field(default_factory=dict)

    def babble(self, utterance: str, length: int, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return the sum `(length,)` of VOICES other test recordings, or of all others if there are fewer.

        Recordings of other speakers are taken if there are at least VOICES of them.

        Raises:
            SoctkError: the fold has no other test utterance.
        """
        from soctk.corpus import degradations  # imports torch

        others = sorted(utt for utt in self.clips if utt != utterance)
        if not others:
            raise SoctkError(
                f"{utterance} is the only test utterance of its fold, so there are no others for babble",
                remedy=f"Choose conditions without babble: {_OPTION}.",
            )
        strangers = [utt for utt in others if self.speaker[utt] != self.speaker[utterance]]
        chosen = strangers if len(strangers) >= VOICES else others
        drawn = rng.choice(len(chosen), min(VOICES, len(chosen)), replace=False)
        voices = (_load(self.clips[chosen[index]], self.channel, rate) for index in drawn)
        return degradations.babble(voices, length, rng)

    def noise(self, length: int, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return a part `(length,)` of one of the noise recordings at random, or all of one that is shorter."""
        names = list(self.noises)
        path = names[rng.integers(len(names))]
        seconds = self.noises[path].seconds
        start = rng.uniform(0, max(0.0, seconds - length / rate))
        end = start + length / rate
        clip = Clip(path, start, end) if end < seconds else Clip(path)
        return _resampled(*audio.load_native(clip, "mix"), rate)


def read_noises(folder: Path) -> dict[Path, audio.AudioInfo]:
    """Return the properties of each noise recording in a folder, at any depth, sorted by path.

    Raises:
        SoctkError: there are none, or recordings are silent or cannot be used.
    """
    paths = sorted(path for path in recordings.list_files(folder) if path.suffix.lower() in audio.SUFFIXES)
    if not paths:
        raise SoctkError(
            f"no recordings ({', '.join(sorted(audio.SUFFIXES))})",
            remedy="Give a folder with recordings of noise.",
            where=f"--noise {folder}",
        )
    infos = audio.check({str(path): path for path in paths}, "mix")
    silent = [path for path in paths if infos[str(path)].is_silent]
    if silent:
        raise SoctkError("silent, so it is no noise", remedy="Remove it from --noise.", where=silent[0])
    return {path: infos[str(path)] for path in paths}


def digest(noises: Mapping[Path, audio.AudioInfo]) -> str:
    """Return the digest of noise recordings: of their samples and order."""
    return hashlib.sha256("".join(info.digest for info in noises.values()).encode()).hexdigest()


@lru_cache(maxsize=256)
def _load(clip: Clip, channel: str, rate: int) -> np.ndarray:
    """Return a recording `(T,)` at a rate; a voice is part of the babble of many utterances."""
    return _resampled(*audio.load_native(clip, channel), rate)


def _resampled(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    return samples if rate == to else soxr.resample(samples, rate, to)
