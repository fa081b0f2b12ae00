"""A stand-in for the Hugging Face hub on loopback: it speaks the parts of the hub's API that huggingface_hub uses here.

It has accounts and tokens, models with commits, and large files by the LFS protocol. It has no Xet storage; clients
need HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

_LFS = (".safetensors", ".onnx")


@dataclass
class Model:
    """A model on the hub: its commits, oldest first, each a mapping path -> content, and its tags."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        """Return the id of a commit."""
        if revision == "main":
            return list(self.commits)[-1]
        return revision if revision in self.commits else self.tags.get(revision)

    def commit(self, files: dict[str, bytes]) -> str:
        """Add a commit with these files, and no others; return its id."""
        number = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[number] = files
        return number


@dataclass
class Hub:
    """The content of the hub.

    Attributes:
        url: its address.
        accounts: token -> user.
        read_only: the tokens that may not write.
        models: OWNER/NAME -> model.
        blobs: checksum -> content of the large files.
        requests: all requests so far, as METHOD PATH.
        faults: METHOD PATH -> HTTP status, for requests that fail by a fault of the hub.
    """

    url: str = ""
    accounts: dict[str, str] = field(default_factory=lambda: {"secret": "ada", "reader": "ada"})
    read_only: set[str] = field(default_factory=lambda: {"reader"})
    models: dict[str, Model] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, files: dict[str, bytes], private: bool = False) -> str:
        """Add a model with a first commit, or a commit to a model; return the id of the commit."""
        return self.models.setdefault(name, Model(private)).commit(files)


@contextmanager
def running() -> Iterator[Hub]:
    """Run a hub in a thread."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def connect(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Let huggingface_hub in this process use the hub at an address, with a cache, and log in as ada."""
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "secret")


def unplug(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let the connections of huggingface_hub fail: no program listens at this port."""
    connect(monkeypatch, "http://127.0.0.1:9", cache)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Print nothing."""

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        if status := self.hub.faults.get(f"{self.command} {path}"):
            return self._send(status, {"error": "a fault of the hub"})
        for pattern, action in self._ACTIONS.items():
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                return action(self, **match.groupdict())
        return self._send(501, {"error": f"the stand-in has no {self.command} {path}"})

    @property
    def user(self):
        """The user of the request; None if nobody is logged in."""
        return self.hub.accounts.get(self._token)

    @property
    def _token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _may_write(self, name):
        return self.user == name.partition("/")[0] and self._token not in self.hub.read_only

    def _send(self, status, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status, message, code=None):
        self._send(status, {"error": message}, **({"X_Error_Code": code} if code else {}), X_Error_Message=message)

    def _found(self, name, revision="main"):
        """Return the model and the commit, or answer that there is none."""
        model = self.hub.models.get(name)
        if model is None or (model.private and self.user != name.partition("/")[0]):
            status = 404 if self.user else 401  # the hub does not say whether a private model exists
            return self._refuse(status, "Repository not found", "RepoNotFound")
        commit = model.resolve(revision) if model.commits else ""
        if commit is None:
            return self._refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return model, commit

    def _whoami(self):
        if self.user is None:
            return self._refuse(401, "Invalid credentials")
        return self._send(200, {"name": self.user, "type": "user", "orgs": []})

    def _create(self):
        request = json.loads(self.body)
        name = f"{request.get('organization') or self.user}/{request['name']}"
        if not self._may_write(name):
            return self._refuse(403, "You don't have the rights to create a model under this namespace")
        if name in self.hub.models:
            return self._send(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        self.hub.models[name] = Model(request.get("visibility") == "private" or request.get("private", False))
        return self._send(200, {"url": f"{self.hub.url}/{name}"})

    def _info(self, name, revision=None):
        if found := self._found(name, revision or "main"):
            model, commit = found
            files = [{"rfilename": path} for path in model.commits.get(commit, {})]
            self._send(200, {"id": name, "modelId": name, "sha": commit, "private": model.private, "siblings": files})

    def _tree(self, name, revision):
        if found := self._found(name, revision):
            model, commit = found
            self._send(200, [_describe(*file) for file in model.commits.get(commit, {}).items()])

    def _validate(self):
        self._send(200, {"errors": [], "warnings": []})

    def _preupload(self, name, revision):
        if not self._may_write(name):
            return self._refuse(403, "Forbidden: you must have write access")
        files = [
            {"path": file["path"], "shouldIgnore": False,
             "uploadMode": "lfs" if file["path"].endswith(_LFS) else "regular"}
            for file in json.loads(self.body)["files"]
        ]  # fmt: skip
        return self._send(200, {"files": files})

    def _batch(self, name):
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.hub.url}/blobs/{item['oid']}"}}}
            for item in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _put(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.blobs[oid] = self.body
        self._send(200, b"")

    def _commit(self, name, revision):
        if not self._may_write(name):
            return self._refuse(403, "Forbidden: you must have write access")
        model = self.hub.models[name]
        files = dict(list(model.commits.values())[-1]) if model.commits else {}
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = model.commit(files)
        return self._send(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _resolve(self, name, revision, path):
        if found := self._found(name, revision):
            model, commit = found
            content = model.commits.get(commit, {}).get(path)
            if content is None:
                return self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            described = _describe(path, content)
            etag = described.get("lfs", described)["oid"]
            self._send(200, content, ETag=f'"{etag}"', X_Repo_Commit=commit)
        return None

    _NAME, _REVISION = r"(?P<name>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
    _ACTIONS = {  # noqa: RUF012
        "GET /api/whoami-v2": _whoami,
        "POST /api/repos/create": _create,
        "POST /api/validate-yaml": _validate,
        f"GET /api/models/{_NAME}": _info,
        f"GET /api/models/{_NAME}/revision/{_REVISION}": _info,
        f"GET /api/models/{_NAME}/tree/{_REVISION}/?": _tree,
        f"POST /api/models/{_NAME}/preupload/{_REVISION}": _preupload,
        f"POST /api/models/{_NAME}/commit/{_REVISION}": _commit,
        rf"POST /{_NAME}\.git/info/lfs/objects/batch": _batch,
        "PUT /blobs/(?P<oid>.*)": _put,
        f"(?:HEAD|GET) /{_NAME}/resolve/{_REVISION}/(?P<path>.+)": _resolve,
    }


def _describe(path: str, content: bytes) -> dict:
    """Return the entry of a file in a listing, with the checksums of git and of LFS."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": git}
    if path.endswith(_LFS):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry
