"""The inputs of soctk-predict: recordings, folders, data directories, lists of paths, and sound from a pipe."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from soctk.corpus import audio, datadir, recordings
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError

PIPE = "-"
_LIST = "@"
_DATA_DIRECTORY = "wav.scp"


@dataclass(frozen=True)
class Source:
    """A recording to classify, or a part of one.

    Attributes:
        name: the name in the output: the path as it was given, or below the folder that was given.
        clip: the file, or the part of it.
        channel: the channel that a data directory declares: 1, 2, ..., or mix; None elsewhere.
    """

    name: str
    clip: Clip
    channel: str | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.clip.path


def expand(inputs: Sequence[str]) -> Iterator[Source | SoctkError]:
    """Yield the recordings of the inputs, or an error for each input that has none.

    Args:
        inputs: recordings; folders, with recordings at any depth; data directories; `@FILE`, a list with one of these
            on each line, relative to the working directory; or `-`, a pipe, which becomes a Source with this name.
    """
    yield from _expand_each(inputs, _expand)


def distinct(sources: Sequence[Source]) -> list[Source]:
    """Return the sources without repetitions; the first of equal ones stays."""
    first: dict[tuple[str, float, float | None], Source] = {}
    for source in sources:
        path = os.path.abspath(source.path)  # noqa: PTH100 - a link is another recording
        first.setdefault((path, source.clip.start, source.clip.end), source)
    return list(first.values())


def is_data_directory(folder: Path) -> bool:
    """Return whether a folder is a data directory."""
    return (folder / _DATA_DIRECTORY).is_file()


def find_recordings(folder: Path) -> list[Path]:
    """Return the recordings at any depth below a folder, sorted; their extensions are those of audio files.

    Raises:
        SoctkError: there are none.
    """
    found = [path for path in recordings.list_files(folder) if path.suffix.lower() in audio.SUFFIXES]
    if not found:
        raise SoctkError(
            "no recordings in this folder",
            remedy="Give a folder with files such as .wav, .flac or .mp3, or give the files themselves.",
            where=folder,
        )
    return found


def _expand_each(
    texts: Iterable[str], expand_one: Callable[[str], Iterator[Source | SoctkError]]
) -> Iterator[Source | SoctkError]:
    for text in texts:
        try:
            yield from expand_one(text)
        except SoctkError as error:
            yield error


def _expand(text: str) -> Iterator[Source | SoctkError]:
    if text in ("", _LIST):
        raise SoctkError("no path", remedy="Give a recording, a folder, or @FILE.", where=repr(text))
    if text == PIPE:
        yield Source(PIPE, Clip(Path(PIPE)))
    elif text.startswith(_LIST):
        yield from _read_list(Path(text.removeprefix(_LIST)))
    else:
        yield from _expand_path(text)


def _expand_path(text: str) -> Iterator[Source]:
    path = Path(text)
    if not path.is_dir():
        yield Source(text, Clip(path))  # a missing file is found when it is read
    elif is_data_directory(path):
        data = datadir.read(path, recordings=False)
        yield from (Source(str(clip.path), clip, data.channel) for clip in data.clips.values())
    else:
        yield from (Source(str(file), Clip(file)) for file in find_recordings(path))


def _read_list(path: Path) -> Iterator[Source | SoctkError]:
    try:
        lines = [line.removesuffix(b"\r") for line in path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    except OSError as error:
        raise SoctkError(
            f"the list cannot be read ({error.strerror})",
            remedy="Check the path. A recording whose name begins with @ is given as ./@NAME.",
            where=path,
        ) from error
    names = [os.fsdecode(line) for line in lines if line.strip()]
    if not names:
        raise SoctkError("the list is empty", remedy="Write a path on each line.", where=path)
    if any("\0" in name for name in names):
        raise SoctkError(
            "the list has a zero byte, so it is no text",
            remedy="Write a path on each line. To classify this file itself, leave out the @.",
            where=path,
        )
    yield from _expand_each(names, _expand_path)
