"""Synthesise the mini corpus with espeak-ng, and write its data directory.

The corpus has 20 voices x 5 emotions x 5 sentences. The prosody of each utterance is drawn from normal distributions
around the prosody of its emotion; the utterance id gives the seed. Every run synthesises all utterances in the same
order, so the recordings are identical, byte for byte, from run to run.
"""

import ctypes
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import espeakng_loader
import numpy as np
import soundfile

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, folds, quick_checks
from soctk.corpus.datadir import DataDir
from soctk.files import atomic
from soctk.progress import track


@dataclass(frozen=True)
class Prosody:
    """Settings of espeak-ng: the rate in words per minute; the others on scales where 50 (volume: 100) is neutral."""

    rate: float
    pitch: float
    range: float
    volume: float


# Prosody rules of formant synthesisers, from M. Schroeder, "Emotional speech synthesis: a review", Eurospeech 2001,
# table 1, converted to espeak-ng's scales (neutral volume 60, so that nothing clips):
# - happy: Burkhardt & Sendlmeier 2000: F0 mean +50%, F0 range +100%, tempo +30%
# - angry: Murray & Arnott 1995: F0 mean +10 Hz, F0 range +9 semitones, tempo +30 words per minute, loudness +6 dB
# - sad: Cahn 1990, on a scale of -10..10: F0 range -5, tempo -10, loudness -5
# - surprise: Cahn 1990: F0 range +8, tempo +4, loudness +5; F0 is raised here, for Cahn's high pitch accents
EMOTIONS = {
    "neutral": Prosody(rate=175, pitch=50, range=50, volume=60),
    "happy": Prosody(rate=228, pitch=80, range=100, volume=70),
    "sad": Prosody(rate=130, pitch=46, range=25, volume=45),
    "angry": Prosody(rate=205, pitch=56, range=80, volume=120),
    "surprise": Prosody(rate=200, pitch=68, range=90, volume=80),
}
# Standard deviations around these means. They are large, so that similar emotions overlap.
VARIATION = Prosody(rate=12, pitch=5, range=8, volume=12)
LOWEST = Prosody(rate=90, pitch=5, range=5, volume=25)
HIGHEST = Prosody(rate=300, pitch=99, range=100, volume=140)

# Voice variant of espeak-ng -> sex. Variants with breath noise are left out: their noise differs in each run.
VOICES = {
    **dict.fromkeys(("m1", "m2", "m3", "m4", "m7", "m8", "antonio", "Denis", "robert", "travis"), "m"),
    **dict.fromkeys(("f1", "f4", "Andrea", "Annie", "anika", "aunty", "belinda", "grandma", "linda", "steph"), "f"),
}
SENTENCES = (
    "Kids are talking by the door.",
    "Dogs are sitting by the door.",
    "She will hand it in on Wednesday.",
    "The cloth is lying on the fridge.",
    "They carried it upstairs again.",
)

# Numbers of the parameters in espeak-ng's speak_lib.h.
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}


class Synthesiser:
    """libespeak-ng through ctypes: text to int16 samples. The names are those of espeak-ng's speak_lib.h."""

    _AUDIO_OUTPUT_RETRIEVAL, _POS_CHARACTER, _CHARS_UTF8 = 1, 1, 1
    _INITIALIZE_DONT_EXIT = 0x8000
    _CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def __init__(self):
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._short = TemporaryDirectory()  # for a short path: the library accepts about 150 characters
        data = Path(self._short.name) / "data"
        data.symlink_to(espeakng_loader.get_data_path())
        self.sample_rate = self._library.espeak_Initialize(
            self._AUDIO_OUTPUT_RETRIEVAL, 0, str(data).encode(), self._INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng cannot start: status {self.sample_rate}")
        self._chunks: list[np.ndarray] = []
        # The attribute keeps the function alive while the library calls it.
        self._keep_samples = self._CALLBACK(self._keep)
        self._library.espeak_SetSynthCallback(self._keep_samples)

    def speak(self, text: str, voice: str, prosody: Prosody) -> np.ndarray:
        """Return the speech as int16 samples `(samples,)`, at `self.sample_rate` Hz."""
        self._chunks.clear()
        self._check_status(self._library.espeak_SetVoiceByName(f"en-us+{voice}".encode()), f"voice {voice}")
        for name, number in _PARAMETERS.items():
            value = round(getattr(prosody, name))
            self._check_status(self._library.espeak_SetParameter(number, value, 0), f"{name} {value}")
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        status = self._library.espeak_Synth(encoded, size, 0, self._POS_CHARACTER, 0, self._CHARS_UTF8, None, None)
        self._check_status(status, text)
        self._library.espeak_Synchronize()
        return np.concatenate(self._chunks)

    def _keep(self, samples, count, _events) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    @staticmethod
    def _check_status(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"espeak-ng failed on {what}: status {status}")


@click.command(cls=Command)
@click.argument("corpus", type=Directory())
@click.argument("data", type=Directory())
def main(corpus: Path, data: Path) -> None:
    """Synthesise the recordings into the folder CORPUS and write the data directory DATA."""
    synthesiser = Synthesiser()
    wav, speaker, emotion = {}, {}, {}
    plan = [(v, e, s) for v in VOICES for e in EMOTIONS for s in range(len(SENTENCES))]
    for voice, name, sentence in track(plan, "synthesise", "utt"):
        spk = voice.lower()
        utt = f"{spk}-{name}-{sentence + 1}"
        samples = synthesiser.speak(SENTENCES[sentence], voice, draw_prosody(name, utt))
        wav[utt] = corpus.resolve() / spk / f"{utt}.wav"
        with atomic(wav[utt]) as temporary:
            soundfile.write(temporary, samples, synthesiser.sample_rate, subtype="PCM_16", format="WAV")
        speaker[utt], emotion[utt] = spk, name
    infos = audio.check(wav)
    mini = DataDir(
        wav=wav,
        speaker=speaker,
        emotion=emotion,
        seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
        gender={voice.lower(): gender for voice, gender in VOICES.items()},
        fold=folds.read(Path("conf/folds.yaml")),
        emotions=tuple(EMOTIONS),
        extra={"sentence": {utt: utt[-1] for utt in wav}},
    )
    datadir.write(data, mini)
    for note in quick_checks.recording_notes(mini, infos):
        click.echo(note)


def draw_prosody(emotion: str, utt: str) -> Prosody:
    """Draw the prosody of an utterance around that of its emotion; the utterance id seeds the generator."""
    generator = np.random.default_rng(list(utt.encode()))
    drawn = {}
    for field in fields(Prosody):
        mean, deviation = getattr(EMOTIONS[emotion], field.name), getattr(VARIATION, field.name)
        value = generator.normal(mean, deviation)
        drawn[field.name] = float(np.clip(value, getattr(LOWEST, field.name), getattr(HIGHEST, field.name)))
    return Prosody(**drawn)


if __name__ == "__main__":
    main()
