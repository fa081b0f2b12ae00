"""Degradations of recordings: noise, room, telephone, MP3, gain, pitch and cut, for training and for tests.

All functions take a waveform `(T,)`, float32 with full scale 1.0, at a rate in Hz, and return a new float32 waveform.
Only `cut` changes the length. All random numbers come from a numpy Generator.
"""

import io
from bisect import bisect_left
from collections.abc import Iterable

import numpy as np
import soundfile
import soxr
import torch
from torchaudio import functional  # type: ignore[import-untyped]

from soctk.corpus.level import at_level, rms
from soctk.errors import SoctkError

TELEPHONE_RATE = 8000  # Hz
_TELEPHONE_BAND = (300, 3400)  # Hz, ITU-T G.712
_MU_LAW_LEVELS = 256  # ITU-T G.711
# The sample rates of MP3 in Hz. For each of the three versions of MPEG: its lowest sample rate in Hz, and its lowest
# and highest bit rate in kbit/s.
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MP3_KBPS = ((32000, (32, 320)), (16000, (8, 160)), (0, (8, 64)))
# Samples by which LAME's encoder and the decoder delay the sound. libsndfile removes them itself, except at low
# rates: then the header that declares them does not fit into the first frame.
_MP3_DELAY = 576 + 529
_WINDOW = 0.032  # s, of the phase vocoder


def white(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return white noise `(length,)`: normal samples with variance 1."""
    return rng.standard_normal(length, dtype=np.float32)


def pink(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return pink noise `(length,)`: power falls by 3 dB per octave, as 1/f; the mean is 0 and the variance 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, length)
    return (noise / max(noise.std(), np.finfo(float).tiny)).astype(np.float32)


def babble(voices: Iterable[np.ndarray], length: int, rng: np.random.Generator) -> np.ndarray:
    """Return the sum `(length,)` of voices; each has the same level, starts at a random sample, and is repeated."""
    total = np.zeros(length, np.float32)
    for voice in voices:
        total += np.resize(np.roll(at_level(voice, 1.0), rng.integers(len(voice))), length)
    return total


def add_noise(waveform: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add noise at a signal-to-noise ratio, the ratio of the mean squares of all samples.

    Digital silence gets no noise, and silent noise changes nothing: no level would give the ratio.

    Args:
        waveform: the recording `(T,)`.
        noise: noise `(N,)`; it is repeated if it is shorter than the recording, and cut if it is longer.
        snr: in dB.
    """
    noise = np.resize(noise, len(waveform))
    if not (waveform.any() and noise.any()):
        return waveform.copy()
    # In float64, because squares of faint samples underflow in float32.
    both = (torch.from_numpy(each[None].astype(np.float64)) for each in (waveform, noise))
    return functional.add_noise(*both, torch.tensor([float(snr)]))[0].numpy().astype(np.float32)


def reverberate(waveform: np.ndarray, rate: int, t60: float, rng: np.random.Generator) -> np.ndarray:
    """Convolve with the generated response of a room: direct sound, then noise that decays exponentially (Polack 1988).

    The direct sound and all reflections together have equal energy. The result has the energy of the recording; sound
    that continues after the end of the recording is cut.

    Args:
        waveform: the recording `(T,)`.
        rate: its sample rate in Hz.
        t60: the reverberation time, in which the sound decays by 60 dB, in s.
        rng: draws the reflections.
    """
    seconds = np.arange(1, max(2, round(t60 * rate))) / rate
    reflections = rng.standard_normal(len(seconds)) * 10 ** (-3 * seconds / t60)
    response = np.concatenate([[1], reflections / np.linalg.norm(reflections)]).astype(np.float32)
    both = (torch.from_numpy(np.ascontiguousarray(each)) for each in (waveform, response))
    return at_level(functional.fftconvolve(*both)[: len(waveform)].numpy(), rms(waveform))


def telephone(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Return the sound of a telephone line: 300 to 3400 Hz, 8 kHz, 8-bit mu-law.

    Args:
        waveform: the recording `(T,)`; samples beyond full scale are clipped.
        rate: its sample rate in Hz.
    """
    from scipy.signal import butter, sosfiltfilt  # slow to import; most extractions do not use it

    narrow = soxr.resample(waveform, rate, TELEPHONE_RATE)
    filters = butter(4, _TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")
    # For the filter, the signal is extended by 200 samples at both ends, or by all but one if it is shorter.
    narrow = sosfiltfilt(filters, narrow, padlen=min(200, max(0, len(narrow) - 1))).clip(-1, 1)
    codes = functional.mu_law_encoding(torch.from_numpy(narrow.astype(np.float32)), _MU_LAW_LEVELS)
    decoded = functional.mu_law_decoding(codes, _MU_LAW_LEVELS).numpy()
    return _of_length(soxr.resample(decoded, TELEPHONE_RATE, rate), len(waveform))


def mp3(waveform: np.ndarray, rate: int, kbps: float) -> np.ndarray:
    """Encode as MP3 at a constant bit rate and decode again, with LAME through libsndfile.

    Args:
        waveform: the recording `(T,)`; samples beyond full scale are clipped.
        rate: its sample rate in Hz; MP3 has nine rates up to 48 kHz, so others are encoded at the next one.
        kbps: in kbit/s, for one channel; LAME takes the nearest one that it has: 32 to 320 from 32 kHz on, 8 to 160
            from 16 kHz on, 8 to 64 below.

    Raises:
        SoctkError: the installed soundfile or libsndfile cannot write MP3.
    """
    coded_rate = _MP3_RATES[min(bisect_left(_MP3_RATES, rate), len(_MP3_RATES) - 1)]
    samples = soxr.resample(waveform, rate, coded_rate).clip(-1, 1)
    low, high = next(limits for lowest, limits in _MP3_KBPS if coded_rate >= lowest)
    compression = min(max((high - kbps) / (high - low), 0), 0.999)  # 1 is refused in spite of libsndfile's manual
    file = io.BytesIO()
    try:
        soundfile.write(file, samples, coded_rate, format="MP3", compression_level=compression, bitrate_mode="CONSTANT")
    except (TypeError, ValueError, soundfile.SoundFileError) as error:
        raise SoctkError(
            f"the installed soundfile cannot write MP3 ({error})", remedy="Run: pip install --upgrade soundfile"
        ) from error
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    decoded = decoded[_MP3_DELAY if len(decoded) > len(samples) else 0 :]
    return _of_length(soxr.resample(decoded, coded_rate, rate), len(waveform))


def gain(waveform: np.ndarray, db: float) -> np.ndarray:
    """Amplify by `db` dB, and clip at full scale, as a recorder does."""
    return (waveform * np.float32(10 ** (db / 20))).clip(-1, 1)


def pitch(waveform: np.ndarray, rate: int, semitones: float) -> np.ndarray:
    """Shift the pitch by `semitones`: a phase vocoder changes the tempo, and resampling restores it.

    torchaudio.functional.pitch_shift does the same, but resamples with filters that are many thousand samples long for
    most shifts.

    Args:
        waveform: the recording `(T,)`.
        rate: its sample rate in Hz.
        semitones: the shift; 12 semitones double all frequencies.
    """
    factor = 2 ** (semitones / 12)
    size = 4 * max(1, round(_WINDOW * rate / 4))
    hop = size // 4
    window = torch.hann_window(size)
    padded = torch.from_numpy(_of_length(waveform, max(len(waveform), size)))
    spectrum = torch.stft(padded, size, hop, window=window, return_complex=True)
    advance = torch.linspace(0, torch.pi * hop, size // 2 + 1)[:, None]
    stretched = functional.phase_vocoder(spectrum, 1 / factor, advance)
    stretched = torch.istft(stretched, size, hop, window=window, length=round(len(padded) * factor))
    return _of_length(soxr.resample(stretched.numpy(), rate * factor, rate), len(waveform))


def cut(waveform: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """Return the middle of a recording, `seconds` long; a shorter recording as it is."""
    length = max(1, round(seconds * rate))
    start = max(0, (len(waveform) - length) // 2)
    return waveform[start : start + length].copy()


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut samples at the end, or append zeros."""
    return np.pad(samples[:length], (0, max(0, length - len(samples)))).astype(np.float32)
