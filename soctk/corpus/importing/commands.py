"""Commands in Kaldi's wav.scp: soctk runs none, but a command that only decodes a file is replaced by this file."""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import soundfile

_STDIN, _STDOUT = "-", ("-", "/dev/stdout", "pipe:1", "pipe:", "-:wav")
_SHELL = re.compile(r"[;&<>`]|\$[({]")
_ARCHIVE = re.compile(r".*\.ark:\d+(\[.*\])?")
_FLAC_LETTERS = set("cdsF")
_FFMPEG_FLAGS = ("-hide_banner", "-nostdin", "-y", "-vn", "-nostats")


class NotAFile(ValueError):
    """The reason why an entry of wav.scp cannot be replaced by a file."""


@dataclass(frozen=True)
class _Decoded:
    """What a program writes: the sound of a file, if this file has a certain sample rate and number of channels.

    Attributes:
        file: the file, or - for the output of the program before it.
        rate: the sample rate that the program asks for, in Hz; None if it keeps that of the file.
        channels: the number of channels that the program asks for; None if it keeps that of the file.
    """

    file: str
    rate: int | None = None
    channels: int | None = None


def is_command(entry: str) -> bool:
    """Return whether an entry of wav.scp is a command, and not a path."""
    return entry.endswith("|")


def find_file(entry: str) -> str:
    """Return the file that an entry of wav.scp stands for.

    A command stands for the file that it reads, if it writes the same sound: the same channels at the same sample rate
    from beginning to end. The number of bits and the format of the file make no difference.

    Raises:
        NotAFile: the entry is another command, or a place in an archive.
    """
    if _ARCHIVE.fullmatch(entry):
        raise NotAFile("a place in an archive")
    if not is_command(entry):
        return entry
    if _SHELL.search(entry):
        raise NotAFile("a shell command")
    file = _STDIN
    stages = entry.rstrip("|").split("|")
    for number, stage in enumerate(stages):
        try:
            program, *arguments = shlex.split(stage)
        except ValueError as error:
            raise NotAFile("an empty command, or a quote that is not closed") from error
        name = program.rpartition("/")[2]
        if name not in _PROGRAMS:
            raise NotAFile(f"the program {name}, which soctk does not know")
        decoded = _PROGRAMS[name](arguments)
        if (decoded.file == _STDIN) != (number > 0):
            raise NotAFile(f"{name} reads no file" if number == 0 else f"{name} does not read the output before it")
        file = decoded.file if number == 0 else file
        _check_same(replace(decoded, file=file), name)
    return file


def _check_same(decoded: _Decoded, program: str) -> None:
    """Compare the sample rate and the channels that a program asks for with those of the file."""
    if decoded.rate is None and decoded.channels is None:
        return
    try:
        info = soundfile.info(decoded.file)
    except (OSError, RuntimeError) as error:
        raise NotAFile(f"{program} asks for a sample rate or channels, and {decoded.file} cannot be read") from error
    if decoded.rate not in (None, info.samplerate):
        raise NotAFile(f"{program} resamples from {info.samplerate} to {decoded.rate} Hz")
    if decoded.channels not in (None, info.channels):
        raise NotAFile(f"{program} makes {decoded.channels} of {info.channels} channels")


def _cat(arguments: list[str]) -> _Decoded:
    if len(arguments) != 1 or arguments[0].startswith("--"):
        raise NotAFile("cat of several files")
    return _Decoded(arguments[0])


def _sph2pipe(arguments: list[str]) -> _Decoded:
    files = []
    words = iter(arguments)
    for word in words:
        if word == "-f":
            _require("sph2pipe", word, next(words, ""), ("wav", "rif"))
        elif word == "-c":
            _require("sph2pipe", word, next(words, ""), ("1",))  # the channel that soctk uses
        elif word != "-p":
            files.append(word)
    return _Decoded(_one_input("sph2pipe", [file for file in files if file != "-"] or files))


def _flac(arguments: list[str]) -> _Decoded:
    files = []
    for word in arguments:
        is_short = re.fullmatch("-[a-zA-Z]+", word) and set(word[1:]) <= _FLAC_LETTERS
        if not is_short and word not in ("--decode", "--stdout", "--silent", "--totally-silent", "-"):
            files.append(word)
    return _Decoded(_one_input("flac", files or ["-"]))


def _sox(arguments: list[str]) -> _Decoded:
    words = iter(arguments)
    source = _next_file(words, ("-t",), rate=[], channels=[])
    rate: list[int] = []
    channels: list[int] = []
    target = _next_file(words, ("-t", "-b", "-e", "-r", "-c"), rate, channels)
    if target not in _STDOUT:
        raise NotAFile(f"sox writes to {target}")
    effects = list(words)
    if effects[:1] == ["rate"] and effects[1:]:
        rate.append(_to_hz(effects[-1]))
    elif effects == ["remix", "1"]:
        pass  # the channel that soctk uses
    elif effects:
        raise NotAFile(f"the effect {effects[0]} of sox")
    return _Decoded(source, rate[-1] if rate else None, channels[-1] if channels else None)


def _next_file(words: Iterator[str], allowed: tuple[str, ...], rate: list[int], channels: list[int]) -> str:
    """Return the next file name in sox's arguments; keep the sample rate and the channels that options ask for."""
    for word in words:
        if re.fullmatch(r"-V\d?|-[qDG]|--no-dither", word):
            continue
        if not word.startswith("-") or word == "-":
            return word
        value = next(words, "")
        if word not in allowed:
            raise NotAFile(f"the option {word} {value} of sox".rstrip())
        if word == "-r":
            rate.append(_to_hz(value))
        if word == "-c":
            channels.append(_to_number(value))
        if word == "-t" and len(allowed) > 1:
            _require("sox", word, value, ("wav", "wavpcm"))
    raise NotAFile("sox without an input or an output")


def _ffmpeg(arguments: list[str]) -> _Decoded:
    decoded, files = _Decoded(""), []
    words = iter(arguments)
    for word in words:
        if word in _FFMPEG_FLAGS:
            continue
        if not word.startswith("-") or word == "-":
            files.append(word)
            continue
        value = next(words, "")
        if word == "-i" and not decoded.file:
            decoded = replace(decoded, file=_STDIN if value in ("-", "pipe:0", "pipe:") else value)
        elif word == "-ar":
            decoded = replace(decoded, rate=_to_hz(value))
        elif word == "-ac":
            decoded = replace(decoded, channels=_to_number(value))
        elif word == "-f":
            _require("ffmpeg", word, value, ("wav",))
        elif word in ("-acodec", "-c:a", "-codec:a"):
            if not value.startswith("pcm_"):
                raise NotAFile(f"the option {word} {value} of ffmpeg")
        elif word not in ("-v", "-loglevel"):
            raise NotAFile(f"the option {word} {value} of ffmpeg".rstrip())
    if len(files) != 1 or files[0] not in _STDOUT or not decoded.file:
        raise NotAFile("ffmpeg without one input and one output")
    return decoded


_PROGRAMS: dict[str, Callable[[list[str]], _Decoded]] = {
    "cat": _cat,
    "ffmpeg": _ffmpeg,
    "flac": _flac,
    "sox": _sox,
    "sph2pipe": _sph2pipe,
}


def _one_input(program: str, files: list[str]) -> str:
    if len(files) != 1 or (files[0].startswith("-") and files[0] != _STDIN):
        unknown = next((file for file in files if file.startswith("-") and file != _STDIN), "")
        raise NotAFile(f"the option {unknown} of {program}" if unknown else f"{program} with {len(files)} files")
    return files[0]


def _require(program: str, option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise NotAFile(f"the option {option} {value} of {program}".replace("  ", " "))


def _to_hz(text: str) -> int:
    """Return a sample rate such as 16000 or 16k, in Hz."""
    factor = 1000 if text[-1:] in ("k", "K") else 1
    try:
        return round(float(text.rstrip("kK")) * factor)
    except ValueError as error:
        raise NotAFile(f"the sample rate {text}") from error


def _to_number(text: str) -> int:
    if not text.isdecimal():
        raise NotAFile(f"the number of channels {text}")
    return int(text)
