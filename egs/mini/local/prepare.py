"""Speak the mini corpus with espeak-ng, and write its data directory.

20 voices x 5 emotions x 5 sentences, each utterance with prosody of its own, drawn about that of its emotion. The
draws are seeded by the utterance, and all is spoken anew in the same order, so the recordings are the same, byte for
byte, from run to run.
"""

import ctypes
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import espeakng_loader
import numpy as np
import soundfile
from tqdm import tqdm

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, folds
from soctk.corpus.datadir import DataDir
from soctk.files import atomic


@dataclass(frozen=True)
class Prosody:
    """Settings of espeak-ng: words a minute, and scales on which 50 (volume: 100) is the voice's own."""

    rate: float
    pitch: float
    range: float
    volume: float


# The prosody rules that M. Schroeder, "Emotional speech synthesis: a review", Eurospeech 2001, table 1, collects from
# formant synthesisers, carried over to espeak-ng's scales (volume from a base of 60, so that nothing clips):
# - happy: Burkhardt & Sendlmeier 2000: F0 mean +50%, F0 range +100%, tempo +30%
# - angry: Murray & Arnott 1995: F0 mean +10 Hz, F0 range +9 semitones, tempo +30 words a minute, loudness +6 dB
# - sad: Cahn 1990, on a scale of -10..10: F0 range -5, tempo -10, loudness -5
# - surprise: Cahn 1990: F0 range +8, tempo +4, loudness +5; here with the raised F0 of her high pitch accents
EMOTIONS = {
    "neutral": Prosody(rate=175, pitch=50, range=50, volume=60),
    "happy": Prosody(rate=228, pitch=80, range=100, volume=70),
    "sad": Prosody(rate=130, pitch=46, range=25, volume=45),
    "angry": Prosody(rate=205, pitch=56, range=80, volume=120),
    "surprise": Prosody(rate=200, pitch=68, range=90, volume=80),
}
# Standard deviations about these means: wide enough for neighbouring emotions to overlap.
VARIATION = Prosody(rate=12, pitch=5, range=8, volume=12)
LOWEST = Prosody(rate=90, pitch=5, range=5, volume=25)
HIGHEST = Prosody(rate=300, pitch=99, range=100, volume=140)

# Voice variants of espeak-ng. Those with breath noise are left out: they differ from run to run.
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


_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}


class Synthesiser:
    """libespeak-ng through ctypes: text in, int16 samples out. See espeak-ng's speak_lib.h for the names."""

    _AUDIO_OUTPUT_RETRIEVAL, _POS_CHARACTER, _CHARS_UTF8 = 1, 1, 1
    _INITIALIZE_DONT_EXIT = 0x8000
    _CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def __init__(self):
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._short = TemporaryDirectory()  # the library has room for a path of about 150 characters
        data = Path(self._short.name) / "data"
        data.symlink_to(espeakng_loader.get_data_path())
        self.sample_rate = self._library.espeak_Initialize(
            self._AUDIO_OUTPUT_RETRIEVAL, 0, str(data).encode(), self._INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng cannot be started: status {self.sample_rate}")
        self._chunks: list[np.ndarray] = []
        self._keep_samples = self._CALLBACK(self._keep)  # referenced here for as long as the library calls it
        self._library.espeak_SetSynthCallback(self._keep_samples)

    def speak(self, text: str, voice: str, prosody: Prosody) -> np.ndarray:
        """Return int16 samples `(samples,)`."""
        self._chunks.clear()
        self._must_be_zero(self._library.espeak_SetVoiceByName(f"en-us+{voice}".encode()), f"voice {voice}")
        for name, number in _PARAMETERS.items():
            value = round(getattr(prosody, name))
            self._must_be_zero(self._library.espeak_SetParameter(number, value, 0), f"{name} {value}")
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        status = self._library.espeak_Synth(encoded, size, 0, self._POS_CHARACTER, 0, self._CHARS_UTF8, None, None)
        self._must_be_zero(status, text)
        self._library.espeak_Synchronize()
        return np.concatenate(self._chunks)

    def _keep(self, samples, count, _events) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    @staticmethod
    def _must_be_zero(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"espeak-ng refuses {what}: status {status}")


@click.command(cls=Command)
@click.argument("corpus", type=Directory())
@click.argument("data", type=Directory())
def main(corpus: Path, data: Path) -> None:
    """Speak the corpus into CORPUS and write the data directory DATA."""
    synthesiser = Synthesiser()
    wav, speaker, emotion = {}, {}, {}
    plan = [(v, e, s) for v in VOICES for e in EMOTIONS for s in range(len(SENTENCES))]
    for voice, name, sentence in tqdm(plan, "speak", unit="utt", disable=None):
        spk = voice.lower()
        utt = f"{spk}-{name}-{sentence + 1}"
        samples = synthesiser.speak(SENTENCES[sentence], voice, draw_prosody(name, utt))
        wav[utt] = corpus.resolve() / spk / f"{utt}.wav"
        with atomic(wav[utt]) as temporary:
            soundfile.write(temporary, samples, synthesiser.sample_rate, subtype="PCM_16", format="WAV")
        speaker[utt], emotion[utt] = spk, name
    datadir.write(
        data,
        DataDir(
            wav=wav,
            speaker=speaker,
            emotion=emotion,
            seconds={utt: round(info.seconds, 4) for utt, info in audio.check(wav).items()},
            gender={voice.lower(): gender for voice, gender in VOICES.items()},
            fold=folds.read(Path("conf/folds.yaml")),
            emotions=tuple(EMOTIONS),
            extra={"sentence": {utt: utt[-1] for utt in wav}},
        ),
    )


def draw_prosody(emotion: str, utt: str) -> Prosody:
    """Draw an utterance's prosody about its emotion's, from a generator seeded by the utterance's id."""
    generator = np.random.default_rng(list(utt.encode()))
    drawn = {}
    for field in fields(Prosody):
        mean, deviation = getattr(EMOTIONS[emotion], field.name), getattr(VARIATION, field.name)
        value = generator.normal(mean, deviation)
        drawn[field.name] = float(np.clip(value, getattr(LOWEST, field.name), getattr(HIGHEST, field.name)))
    return Prosody(**drawn)


if __name__ == "__main__":
    main()
