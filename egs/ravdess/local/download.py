"""Download RAVDESS's speech recordings from Zenodo. A download can be resumed, and its MD5 is checked."""

import hashlib
import urllib.error
import urllib.request
import zipfile
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import click
from tqdm import tqdm

from soctk.cli.common import Command, Directory
from soctk.errors import SoctkError
from soctk.files import atomic_directory

URL = "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip"
MD5 = "bc696df654c87fed845eb13823edef8a"
FOLDER = "Audio_Speech_Actors_01-24"


def download(url: str, path: Path, md5: str) -> None:
    """Download `url` to `path`. An interrupted download leaves a file `path`.part, which the next call completes.

    Raises:
        SoctkError: the download failed, or the checksum of the file is not `md5`.
    """
    part = path.with_name(f"{path.name}.part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            _append(response, part, done if response.status == HTTPStatus.PARTIAL_CONTENT else 0)
    except urllib.error.HTTPError as error:
        # "range not satisfiable" means that no bytes are left to download: `path`.part is complete
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _download_error(url, str(error)) from error
    except (OSError, HTTPException) as error:
        raise _download_error(url, str(getattr(error, "reason", error))) from error
    with part.open("rb") as content:
        digest = hashlib.file_digest(content, "md5").hexdigest()
    if digest != md5:
        part.unlink()
        raise SoctkError(
            f"the downloaded file has the MD5 {digest}, not {md5}; it was removed",
            remedy="Run stage 0 again, or download and unpack it yourself and give its folder with --corpus DIR.",
            where=url,
        )
    part.replace(path)


def _append(response: HTTPResponse, part: Path, done: int) -> None:
    size = done + int(response.headers.get("Content-Length", 0))
    with (
        part.open("ab" if done else "wb") as file,
        tqdm(total=size, initial=done, desc=part.stem, unit="B", unit_scale=True, disable=None) as progress,
    ):
        while chunk := response.read(1 << 20):
            progress.update(file.write(chunk))
        if file.tell() < size:
            raise ConnectionError(f"the connection ended after {file.tell()} of {size} bytes")


def _download_error(url: str, reason: str) -> SoctkError:
    return SoctkError(
        f"cannot be downloaded ({reason})",
        remedy="Run stage 0 again with a network connection; it resumes the download. "
        "Or give the corpus with --corpus DIR, the folder Audio_Speech_Actors_01-24 or its parent. "
        "If data/ravdess exists already, start with --stage 1.",
        where=url,
    )


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("directory", type=Directory())
@click.option("--url", default=URL, help="Address of the zip file.")
@click.option("--md5", default=MD5, help="Its MD5 checksum.")
def main(directory: Path, url: str, md5: str) -> None:
    """Download and unpack the corpus into DIRECTORY, unless DIRECTORY holds it already."""
    if (directory / FOLDER).is_dir():
        return
    directory.mkdir(parents=True, exist_ok=True)
    archive = directory / f"{FOLDER}.zip"
    if not archive.exists():
        download(url, archive, md5)
    with atomic_directory(directory / FOLDER) as unpacked, zipfile.ZipFile(archive) as content:
        content.extractall(unpacked)


if __name__ == "__main__":
    main()
