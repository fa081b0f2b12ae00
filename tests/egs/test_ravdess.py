"""Stage 0 of egs/ravdess: on a synthetic copy of the corpus, and on the real corpus if it is present."""

import csv
import gzip
import hashlib
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from soctk.corpus import datadir

RECIPE = ROOT / "egs" / "ravdess"
FOLDER = "Audio_Speech_Actors_01-24"


def call(script: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, RECIPE / "local" / script, *map(str, arguments)]
    return subprocess.run(command, cwd=RECIPE, capture_output=True, text=True)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Path:
    """1,440 different files of 0.08 to 0.12 s, with the published file names."""
    root = tmp_path_factory.mktemp("ravdess")
    generator = np.random.default_rng(0)
    for actor in range(1, 25):
        folder = root / FOLDER / f"Actor_{actor:02}"
        folder.mkdir(parents=True)
        for emotion in range(1, 9):
            for intensity in (1, 2)[: 1 if emotion == 1 else 2]:
                for statement in (1, 2):
                    for repetition in (1, 2):
                        name = f"03-01-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}.wav"
                        soundfile.write(folder / name, generator.normal(0, 0.1, generator.integers(640, 960)), 8000)
    return root


@pytest.fixture
def copy(synthetic, tmp_path) -> Path:
    """A copy of hard links, which a test may damage."""
    for file in synthetic.rglob("*.wav"):
        target = tmp_path / "copy" / file.relative_to(synthetic)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(file)
    return tmp_path / "copy"


@pytest.mark.parametrize("folder", ["", FOLDER])
def test_the_folder_or_its_parent_gives_the_whole_corpus(synthetic, tmp_path, folder):
    result = call("prepare.py", synthetic / folder, tmp_path / "data")
    assert (result.returncode, result.stdout) == (0, "")
    data = datadir.read(tmp_path / "data")
    assert datadir.summary(data) == (
        "1440 utterances, 0.04 h, 24 speakers, 6 folds; Neutral 96, Calm 192, Happy 192, Sad 192, Angry 192, "
        "Fearful 192, Disgust 192, Surprised 192"
    )
    assert data.emotion["actor02-03-01-06-01-02-01-02"] == "Fearful"
    assert (data.gender["actor01"], data.gender["actor02"]) == ("m", "f")


def test_duplicate_files_are_used_once(copy, synthetic, tmp_path):
    again = copy / FOLDER / FOLDER
    for file in (synthetic / FOLDER).rglob("*.wav"):
        target = again / file.relative_to(synthetic / FOLDER)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(file)
    result = call("prepare.py", copy, tmp_path / "data")
    assert result.returncode == 0
    assert result.stdout == f"{copy} contains 1440 files more than once; the first copy of each is used\n"
    assert len(datadir.read(tmp_path / "data").wav) == 1440


def test_files_with_equal_names_and_different_content_are_refused(copy, tmp_path):
    other = copy / "other" / "03-01-05-01-01-01-09.wav"
    other.parent.mkdir()
    soundfile.write(other, np.full(800, 0.5), 8000)
    result = call("prepare.py", copy, tmp_path / "data")
    assert result.returncode == 1
    assert "these files have the same name but different content\n  03-01-05-01-01-01-09\n" in result.stderr


def test_missing_files_are_named(copy, tmp_path):
    names = ["03-01-05-01-01-01-09", "03-01-08-02-02-02-24"]
    for name in names:
        (copy / FOLDER / f"Actor_{name[-2:]}" / f"{name}.wav").unlink()
    result = call("prepare.py", copy, tmp_path / "data")
    assert result.returncode == 1
    assert (
        f"{copy}: 2 of the 1440 recordings are missing\n  {names[0]}\n  {names[1]}\nUnpack {FOLDER}.zip again"
        in result.stderr
    )
    assert not (tmp_path / "data").exists()


def test_stereo_files_and_repeated_recordings_are_reported(copy, tmp_path):
    folder = copy / FOLDER / "Actor_07"
    stereo, first, second = (folder / f"03-01-0{e}-01-01-01-07.wav" for e in (2, 3, 4))
    for path in (stereo, second):
        path.unlink()
    soundfile.write(stereo, np.random.default_rng(1).normal(0, 0.1, (800, 2)), 8000)
    second.hardlink_to(first)
    result = call("prepare.py", copy, tmp_path / "data")
    assert result.returncode == 0
    several, copies, *_ = result.stdout.splitlines()
    assert several.startswith("Note: several channels (channel 1 is used): actor07-03-01-02-01-01-01-07 (2). ")
    assert copies.startswith("Note: the same recording with several emotions: actor07-03-01-03-01-01-01-07 (Happy) = ")


def test_folds_and_labels_equal_emoboxs(synthetic, tmp_path, shared):
    call("prepare.py", synthetic, tmp_path / "data")
    data = datadir.read(tmp_path / "data")
    with gzip.open(shared / "emobox" / "ravdess_utterances.tsv.gz", "rt") as lines:
        rows = {row[0].removeprefix("ravdess-"): row for row in csv.reader(lines, delimiter="\t")}
    assert {utt.partition("-")[2] for utt in data.wav} == rows.keys()
    for utt, speaker in data.speaker.items():
        _, fold, emotion, *_ = rows[utt.partition("-")[2]]
        assert (str(data.fold[speaker]), data.emotion[utt]) == (fold, emotion)


@pytest.mark.slow
def test_stereo_and_repeated_recordings_of_the_real_corpus_are_reported(tmp_path, shared):
    restore = shared / "corpora" / "restore_ravdess.py"
    subprocess.run([sys.executable, restore, tmp_path / "corpus"], check=True, capture_output=True)
    result = call("prepare.py", tmp_path / "corpus", tmp_path / "data")
    assert result.stdout.splitlines() == [
        "Note: several channels (channel 1 is used): 5, such as actor01-03-01-02-01-01-02-01 (2), "
        "actor01-03-01-08-01-02-02-01 (2), actor05-03-01-02-01-02-02-05 (2). To take another: soctk-import --channel "
        "1|2|mix, or write 1|2|mix to the file `channel` of the data directory.",
        "Note: known duplicates, listed in the file `duplicates`: actor07-03-01-03-01-02-01-07 (Happy) = "
        "actor07-03-01-03-01-02-02-07 (Happy). All are kept.",
    ]
    data = datadir.read(tmp_path / "data")
    with gzip.open(shared / "emobox" / "ravdess_utterances.tsv.gz", "rt") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))
    samples = {row[0].removeprefix("ravdess-"): float(row[3]) for row in rows}
    for utt, seconds in data.seconds.items():
        assert round(seconds * 48000) == pytest.approx(samples[utt.partition("-")[2]], abs=3)


class ZipServer(BaseHTTPRequestHandler):
    """Serves one zip file, with byte ranges; closes the connection after `stop_after` bytes of the next response."""

    content = b""
    stop_after: int | None = None
    ranges: tuple = ()

    def do_GET(self):
        cls = type(self)
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        cls.ranges += (start,)
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        stop, cls.stop_after = self.stop_after, None
        self.wfile.write(self.content[start : None if stop is None else start + stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    archive = tmp_path / "corpus.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("Actor_01/03-01-01-01-01-01-01.wav", np.random.default_rng(0).bytes(100_000))
    handler = type("Handler", (ZipServer,), {"content": archive.read_bytes()})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{httpd.server_port}/{FOLDER}.zip"
    httpd.shutdown()
    httpd.server_close()


def download(directory: Path, handler, url: str, md5: str | None = None) -> subprocess.CompletedProcess:
    return call("download.py", directory, "--url", url, "--md5", md5 or hashlib.md5(handler.content).hexdigest())


def test_the_corpus_is_downloaded_and_unpacked_once(tmp_path, server):
    handler, url = server
    for _ in range(2):
        assert download(tmp_path / "down", handler, url).returncode == 0
    assert (tmp_path / "down" / FOLDER / "Actor_01" / "03-01-01-01-01-01-01.wav").stat().st_size == 100_000
    assert handler.ranges == (0,)


def test_an_interrupted_download_is_reported_and_resumed(tmp_path, server):
    handler, url = server
    handler.stop_after = 30_000
    result = download(tmp_path / "down", handler, url)
    assert result.returncode == 1
    assert f"the connection ended after 30000 of {len(handler.content)} bytes" in result.stderr
    assert "--corpus DIR" in result.stderr
    assert download(tmp_path / "down", handler, url).returncode == 0
    assert handler.ranges == (0, 30_000)
    assert (tmp_path / "down" / FOLDER / "Actor_01").is_dir()


def test_a_complete_partial_file_is_not_downloaded_again(tmp_path, server):
    handler, url = server
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / f"{FOLDER}.zip.part").write_bytes(handler.content)
    assert download(tmp_path / "down", handler, url).returncode == 0
    assert (tmp_path / "down" / FOLDER / "Actor_01").is_dir()


def test_a_wrong_checksum_is_reported_and_the_file_is_removed(tmp_path, server):
    handler, url = server
    result = download(tmp_path / "down", handler, url, md5="0" * 32)
    assert result.returncode == 1
    assert f"not {'0' * 32}; it was removed" in result.stderr
    assert list((tmp_path / "down").iterdir()) == []


def test_a_failed_download_names_the_option_corpus(tmp_path):
    result = download(tmp_path / "down", ZipServer, "http://127.0.0.1:9/nothing.zip")
    assert result.returncode == 1
    assert "cannot be downloaded (" in result.stderr
    assert "Or give the corpus with --corpus DIR" in result.stderr
