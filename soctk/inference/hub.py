"""Packed models on the Hugging Face hub: the search for a model, and its upload."""

import hashlib
import importlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soctk.errors import SoctkError
from soctk.inference.bundle import CARD, ENCODER, RECORDINGS, SETTINGS, WEIGHTS
from soctk.inference.onnx import form

_FILES = (
    *(SETTINGS, WEIGHTS, RECORDINGS, CARD, f"{ENCODER}*/*.json", f"{ENCODER}*/*.safetensors"),
    *(f"{form.FOLDER}/{name}" for name in (form.SETTINGS, form.GRAPH, form.ARRAYS)),
)
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_SHA256 = re.compile("[0-9a-f]{64}")
_TIMEOUT = 10  # s
_SERVER_ERROR = 500  # HTTP status
_TOKENS = "https://huggingface.co/settings/tokens"


def find(model: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the folder of a packed model: a local one, or a copy of a model on the Hugging Face hub.

    Only the files of a packed model are downloaded, into the cache of huggingface_hub, and only once. Without a network
    connection, the copy in the cache is used.

    Args:
        model: a folder; or an id OWNER/NAME on the hub, if there is no such folder. A path that is not a str is a
            folder.
        revision: the commit, tag or branch on the hub; by default the newest commit.

    Raises:
        SoctkError: the hub has no such model or revision, or cannot be reached; or a folder is given with a revision.
    """
    path = Path(model)
    if isinstance(model, str) and not path.exists() and _is_id(model):
        return _download(model, revision)
    if revision is not None:
        raise SoctkError(
            "a revision is given, but this is not the id of a model on the Hugging Face hub",
            remedy="Leave out the revision, or give an id OWNER/NAME.",
            where=path,
        )
    return path


def check_access(repo: str, private: bool) -> None:
    """Check that a user is logged in to the hub and may write to models of this owner, before work is done for it.

    Args:
        repo: the id OWNER/NAME.
        private: whether only the owner may see the model.

    Raises:
        SoctkError: the id is malformed, nobody is logged in, the hub cannot be reached, or the owner is somebody else;
            or `private` is given and others can see the existing model.
    """
    from huggingface_hub import HfApi

    if not _is_id(repo):
        raise SoctkError(
            f"'{repo}' is no name of a model on the Hugging Face hub",
            remedy="Give USER/NAME, with your user name or organisation there. NAME has letters, digits, -, _ and .; "
            "no -- and no .. .",
            where="--push",
        )
    with _errors(repo, "--push"):
        account = HfApi().whoami()
    owners = [account["name"], *(organisation["name"] for organisation in account.get("orgs", []))]
    if repo.partition("/")[0] not in owners:
        raise _no_right(repo, f"You are logged in as {account['name']} and can use: {', '.join(owners)}.")
    if private:
        _require_private(repo)


def push(folder: Path, repo: str, private: bool) -> str:
    """Upload a packed model to the hub in one commit. If the hub has no model of this name, it is made.

    Files of an earlier model that the new one lacks are removed by the same commit.

    Args:
        folder: the packed model.
        repo: the id OWNER/NAME.
        private: whether only the owner may see the model.

    Returns:
        The revision: the id of the commit.

    Raises:
        SoctkError: `check_access` raises it, or the token does not allow it.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _errors(repo, "--push"):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private:
            _require_private(repo)
        return api.upload_folder(
            repo_id=repo, folder_path=folder, delete_patterns=list(_FILES), commit_message="Upload a model of soctk"
        ).oid


def page(repo: str) -> str:
    """Return the address of a model on the hub."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{repo}"


def _is_id(text: str) -> bool:
    """Return whether a text is an id OWNER/NAME that the hub allows."""
    if not _ID.fullmatch(text):
        return False
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, errors, snapshot_download

    options: dict[str, Any] = {"revision": revision, "allow_patterns": list(_FILES)}
    with _errors(repo, repo, revision):
        try:
            # One short request: without a network, snapshot_download would repeat its requests for 20 s.
            files = HfApi().model_info(repo, revision=revision, timeout=_TIMEOUT).siblings or []
        except _failures() as error:
            if isinstance(error, errors.HfHubHTTPError) and error.response.status_code < _SERVER_ERROR:
                raise
            try:
                folder = Path(snapshot_download(repo, local_files_only=True, **options))
            except errors.LocalEntryNotFoundError:
                raise SoctkError(
                    "no such folder, and no copy of such a model on this machine; the Hugging Face hub is not "
                    f"available ({type(error).__name__})",
                    remedy="Check the path. The first use of a model on the hub needs a network connection (and no "
                    "HF_HUB_OFFLINE).",
                    where=repo,
                ) from error
        else:
            if SETTINGS not in {file.rfilename for file in files}:
                raise SoctkError(
                    f"not a packed model: it has no {SETTINGS} on the Hugging Face hub",
                    remedy="Give a model that soctk-pack wrote.",
                    where=repo,
                )
            folder = Path(snapshot_download(repo, **options))
    _check_weights(folder)
    return folder


def _check_weights(folder: Path) -> None:
    """Compare the weights with their checksum.

    In the hub's cache, the weights are a link to a file whose name is the checksum.

    Raises:
        SoctkError: they differ.
    """
    blob = (folder / WEIGHTS).resolve()
    if blob.is_file() and _SHA256.fullmatch(blob.name):
        with blob.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != blob.name:
                raise SoctkError(
                    "damaged (its checksum differs from the one on the Hugging Face hub)",
                    remedy=f"Remove it, and run the command again, which downloads it: rm {blob}",
                    where=folder / WEIGHTS,
                )


def _require_private(repo: str) -> None:
    from huggingface_hub import HfApi

    with _errors(repo, "--push"):
        api = HfApi()
        if api.repo_exists(repo) and not api.model_info(repo).private:
            raise SoctkError(
                "this model exists on the hub, and everybody can see it",
                remedy="Make it private in its settings on the hub, or leave out --private, or choose another name.",
                where=f"--push {repo}",
            )


@contextmanager
def _errors(repo: str, where: str, revision: str | None = None) -> Iterator[None]:
    """Raise errors of the hub and of the network as SoctkError; other errors are passed on."""
    from huggingface_hub import errors, get_token

    login = "Log in once: hf auth login (or set HF_TOKEN)."
    try:
        yield
    except SoctkError:
        raise
    except errors.LocalTokenNotFoundError as error:
        raise SoctkError("you are not logged in to the Hugging Face hub", remedy=login, where=where) from error
    except errors.GatedRepoError as error:
        raise SoctkError(
            "the owner of this model on the Hugging Face hub must first give you access",
            remedy=f"Ask for it on the page of the model, {page(repo)}. {login}",
            where=where,
        ) from error
    except errors.RepositoryNotFoundError as error:
        hint = "" if get_token() else f" For a private model: {login}"
        raise SoctkError(
            "no such folder, and no such model on the Hugging Face hub",
            remedy=f"Check the path, or the name on the hub.{hint}",
            where=where,
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SoctkError(
            f"the model on the Hugging Face hub has no revision {revision}",
            remedy=f"Choose a commit, tag or branch: {page(repo)}/commits/main",
            where=where,
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refused(repo, where, error.response.status_code, login, str(error)) from error
    except OSError as error:
        if error.filename:
            raise  # a file on this machine
        raise _unreachable(where, error) from error
    except _failures() as error:
        raise _unreachable(where, error) from error


def _failures() -> tuple[type[Exception], ...]:
    """Return the classes of the errors of the hub and of the network; they have no common class.

    JSONDecodeError: another server, such as a hotel's network, sent a page in place of the hub's answer.
    """
    from huggingface_hub import errors

    http_error = errors.HfHubHTTPError.__bases__[0]  # of httpx or httpx2, which depends on the version
    library = importlib.import_module(http_error.__module__.partition(".")[0])
    names = ("RevisionResolutionError", "XetDownloadError")  # not in all versions
    more = (getattr(errors, name) for name in names if hasattr(errors, name))
    return (OSError, http_error, library.InvalidURL, json.JSONDecodeError, *more)


def _refused(repo: str, where: str, status: int, login: str, message: str) -> SoctkError:
    if status == 401:
        return SoctkError("the Hugging Face hub does not accept your token", remedy=login, where=where)
    if status == 403:
        return _no_right(repo, f"The token needs the right to write there: {_TOKENS}")
    text = " ".join(message.split())
    return SoctkError(f"the Hugging Face hub refuses ({status}: {text})", remedy="Try again later.", where=where)


def _no_right(repo: str, remedy: str) -> SoctkError:
    return SoctkError("you have no right to write to this model on the Hugging Face hub", remedy, f"--push {repo}")


def _unreachable(where: str, error: Exception) -> SoctkError:
    text = " ".join(str(error).split())
    return SoctkError(
        f"the Hugging Face hub cannot be reached ({type(error).__name__}: {text})",
        remedy="Check the network connection, and HF_ENDPOINT and HF_HUB_OFFLINE if they are set.",
        where=where,
    )
