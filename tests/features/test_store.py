import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from conftest import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from soctk.errors import SoctkError
from soctk.features import shards
from soctk.features import store as store_module
from soctk.features.settings import compared
from soctk.features.store import FeatureStore

RECORDINGS = {"utt0": "d0", "utt1": "d1", "utt2": "d2"}
SETTINGS = {"upstream": "test", "layers": [3], "hidden_size": 4, "dtype": "float16", "versions": {"torch": "1"}}


def frames_of(*lengths: int, layers: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"utt{i}": torch.randn(layers, t, 4, generator=generator).half() for i, t in enumerate(lengths)}


def block_of(*tensors: torch.Tensor) -> torch.Tensor:
    """Return utterances `(L, T, D)` as a block `(sum of T, L, D)`."""
    return torch.cat(tensors, dim=1).transpose(0, 1)


@pytest.fixture
def stored(tmp_path):
    """Return the path of a finished store with two shards, and its frames."""
    frames = frames_of(5, 2, 7)
    store = FeatureStore.create(tmp_path / "store", SETTINGS)
    store.write_shard({"utt0": frames["utt0"], "utt2": frames["utt2"]}, RECORDINGS)
    store.write_shard({"utt1": frames["utt1"]}, RECORDINGS)
    store.finish()
    return tmp_path / "store", frames


def test_frames_are_read_in_any_order(stored):
    path, frames = stored
    for order in (["utt0", "utt1", "utt2"], ["utt2", "utt0"], ["utt1"]):
        store = FeatureStore.open(path)
        loaded = store.load(order)
        assert store.lengths(order) == [frames[utt].shape[1] for utt in order]
        assert loaded.is_contiguous()
        torch.testing.assert_close(loaded, block_of(*(frames[utt] for utt in order)), rtol=0, atol=0)


def test_shards_have_a_layer_axis_only_for_several_layers(stored, tmp_path):
    (shard,) = {path for path in stored[0].glob("shard-*") if "utt1" in load_file(path)}
    assert load_file(shard)["utt1"].shape == (2, 4)
    store = FeatureStore.create(tmp_path / "several", SETTINGS | {"layers": [1, 3, 4]})
    store.write_shard(frames_of(5, layers=3), RECORDINGS)
    (shard,) = (tmp_path / "several").glob("shard-*")
    assert load_file(shard)["utt0"].shape == (3, 5, 4)


@pytest.mark.parametrize("layers", [[1], [4], [3, 4], [4, 1], [1, 3, 4]])
def test_requested_layers_are_read_in_the_requested_order(tmp_path, layers):
    frames = frames_of(5, 2, layers=3)
    store = FeatureStore.create(tmp_path / "store", SETTINGS | {"layers": [1, 3, 4]})
    store.write_shard(frames, RECORDINGS)
    store.finish()
    opened = FeatureStore.open(tmp_path / "store")
    every = opened.load(["utt1", "utt0"])
    torch.testing.assert_close(every, block_of(frames["utt1"], frames["utt0"]), rtol=0, atol=0)
    some = opened.load(["utt1", "utt0"], layers)
    torch.testing.assert_close(some, every[:, [[1, 3, 4].index(layer) for layer in layers]], rtol=0, atol=0)
    with pytest.raises(SoctkError, match=r"the store has no hidden state 2, only 1, 3, 4\nUse one of these"):
        opened.load(["utt0"], [1, 2])


def test_shards_of_several_stores_in_one_directory_form_one_store(tmp_path, stored):
    path, frames = stored
    parts = [FeatureStore.create(tmp_path / f"part{i}", SETTINGS) for i in range(2)]
    parts[0].write_shard({"utt0": frames["utt0"]}, RECORDINGS)
    parts[1].write_shard({utt: frames[utt] for utt in ("utt1", "utt2")}, RECORDINGS)
    for shard in (tmp_path / "part1").glob("shard-*"):
        shard.rename(tmp_path / "part0" / shard.name)
    FeatureStore.create(tmp_path / "part0", SETTINGS).finish()
    merged = FeatureStore.open(tmp_path / "part0").load(list(frames))
    torch.testing.assert_close(merged, FeatureStore.open(path).load(list(frames)), rtol=0, atol=0)


def test_verify_finds_flipped_bits_and_missing_shards(stored):
    path, _ = stored
    assert FeatureStore.open(path).verify() == []
    one, other = sorted(path.glob("shard-*"))
    content = bytearray(one.read_bytes())
    content[-1] ^= 1
    one.write_bytes(content)
    assert FeatureStore.open(path).verify() == [f"{one.name}: damaged (its checksum is wrong)"]
    other.unlink()
    assert FeatureStore.open(path).verify() == sorted(
        [f"{one.name}: damaged (its checksum is wrong)", f"{other.name}: missing"]
    )


def test_the_same_frames_always_give_the_same_shard(stored):
    frames = {f"utt{i}": torch.full((2, 3, 4), float(i)).half() for i in range(8)}
    digests = {utt: f"digest of {utt}" for utt in frames}
    settings = SETTINGS | {"layers": [1, 2]}
    backwards = dict(reversed(frames.items()))
    names = {shards.encode(order, digests, settings)[0] for order in (frames, backwards) * 10}
    assert len(names) == 1
    for other in (
        shards.encode(frames, digests | {"utt3": "other"}, settings),
        shards.encode(frames | {"utt3": frames["utt3"] + 1}, digests, settings),
        shards.encode(frames, digests, settings | {"upstream": "other"}),
    ):
        assert other[0] not in names


def test_temporary_files_of_killed_processes_are_removed(stored):
    path, _ = stored
    writer = run_python(
        f"""
import os, signal
from soctk.files import atomic
with atomic({str(path / "file")!r}) as temporary:
    temporary.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    assert writer.wait() == -signal.SIGKILL
    assert len(list(path.glob(".*"))) == 1
    FeatureStore.create(path, SETTINGS).finish()
    assert not list(path.glob(".*"))


def test_a_shard_that_is_being_written_survives_the_end_of_another_extraction(stored, monkeypatch):
    path, _ = stored
    write, store = Path.write_bytes, FeatureStore.create(path, SETTINGS)

    def write_while_another_process_finishes(file, content):
        write(file, content)
        monkeypatch.undo()
        FeatureStore.create(path, SETTINGS).finish()

    monkeypatch.setattr(Path, "write_bytes", write_while_another_process_finishes)
    assert store.write_shard({"utt3": torch.ones(1, 6, 4).half()}, {"utt3": "d3"}) > 0
    store.finish()
    assert FeatureStore.open(path).load(["utt3"]).eq(1).all()


def test_an_utterance_that_another_process_has_stored_is_not_stored_again(stored, monkeypatch):
    path, frames = stored
    before = sorted(path.iterdir())
    store = FeatureStore(path, SETTINGS, {})
    assert store.write_shard({"utt2": frames["utt2"], "utt1": frames["utt1"]}, RECORDINGS) == 0
    assert sorted(path.iterdir()) == before
    # Another process stores utt3 after this one has checked, and before its shard gets the final name.
    locked, new = store_module.locked, {f"utt{i}": torch.full((1, 2, 4), float(i)).half() for i in (3, 4)}
    digests = {utt: f"d{utt[-1]}" for utt in new}

    def lock_too_late(file):
        monkeypatch.undo()
        FeatureStore.create(path, SETTINGS).write_shard({"utt3": new["utt3"]}, digests)
        return locked(file)

    monkeypatch.setattr(store_module, "locked", lock_too_late)
    assert store.write_shard(new, digests) > 0
    assert stored_utterances(path) == ["utt0", "utt1", "utt2", "utt3", "utt4"]
    assert not list(path.glob(".*"))


def test_a_shard_gets_its_name_while_other_writers_wait(stored, monkeypatch):
    path, frames = stored
    replace, locked_at = Path.replace, []

    def replace_while_locked(file, target):
        with (path / "store.json").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked_at.append(target.name[:6])
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", replace_while_locked)
    FeatureStore.create(path, SETTINGS).write_shard({"utt3": frames["utt0"]}, {"utt3": "d3"})
    assert locked_at == ["shard-"]


def stored_utterances(path: Path) -> list[str]:
    """Return the utterances of all shards, sorted; one that is stored twice is listed twice."""
    return sorted(utt for shard in path.glob("shard-*") for utt in load_file(shard))


def test_processes_that_extract_the_same_utterances_store_each_once(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_in_shards_of, args=(tmp_path / "store", size)) for size in (3, 4, 5, 7)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    utterances = [f"utt{i:02}" for i in range(40)]
    assert stored_utterances(tmp_path / "store") == utterances
    loaded = FeatureStore.open(tmp_path / "store").load(utterances)
    assert loaded[:, 0, 0].tolist() == [float(i) for i in range(40) for _ in range(2)]
    assert not list((tmp_path / "store").glob(".*"))


def _write_in_shards_of(path: Path, size: int) -> None:
    """Fill a store with 40 utterances, `size` to a shard."""
    torch.set_num_threads(1)
    store = FeatureStore.create(path, SETTINGS)
    for start in range(0, 40, size):
        each = {f"utt{i:02}": torch.full((1, 2, 4), float(i)).half() for i in range(start, min(start + size, 40))}
        store.write_shard(each, dict.fromkeys(each, "d"))
    store.finish()


def test_shards_whose_utterances_are_in_other_shards_are_removed(stored):
    path, frames = stored
    before = sorted(path.iterdir())
    for utts in (["utt0"], ["utt2", "utt1"], ["utt0", "utt1", "utt2"]):
        name, content = shards.encode({utt: frames[utt] for utt in utts}, RECORDINGS, compared(SETTINGS))
        (path / name).write_bytes(content)
    reader = FeatureStore.open(path)
    FeatureStore.create(path, SETTINGS).finish()
    assert sorted(path.iterdir()) == before  # those that the index named: other processes may be reading them
    torch.testing.assert_close(reader.load(list(frames)), block_of(*frames.values()), rtol=0, atol=0)


def test_shards_with_different_recordings_of_an_utterance_are_refused(stored):
    path, frames = stored
    name, content = shards.encode({"utt1": frames["utt1"]}, {"utt1": "other"}, compared(SETTINGS))
    (path / name).write_bytes(content)
    with pytest.raises(
        SoctkError, match=r"store: shard-\w+.safetensors and shard-\w+.safetensors hold different .* utt1"
    ):
        FeatureStore.create(path, SETTINGS)


def test_a_shard_with_other_settings_is_refused(stored, tmp_path):
    path, frames = stored
    other = FeatureStore.create(tmp_path / "other", SETTINGS | {"upstream": "other"})
    other.write_shard({"utt3": frames["utt0"]}, {"utt3": "d3"})
    (shard,) = other.path.glob("shard-*")
    shutil.copy(shard, path)
    with pytest.raises(SoctkError) as error:
        FeatureStore.create(path, SETTINGS)
    assert str(error.value) == (
        f"{path / shard.name}: the shard has other settings than the store\n"
        "  upstream: test in store.json, other in the shard\n"
        "Move the shard to a store with its settings. "
        "Run stage 1 (soctk-extract) again; it extracts only what is missing."
    )


def test_two_processes_with_different_settings_do_not_create_one_store(tmp_path, monkeypatch):
    write = Path.write_text

    def write_after_another_process(file, *args, **options):
        monkeypatch.undo()
        with pytest.raises(SoctkError, match="this store has other settings"):
            FeatureStore.create(tmp_path, SETTINGS).write_shard(frames_of(3), RECORDINGS) and write(
                file, *args, **options
            )
            FeatureStore.create(tmp_path, SETTINGS | {"upstream": "other"})
        return write(file, *args, **options)

    monkeypatch.setattr(Path, "write_text", write_after_another_process)
    with pytest.raises(SoctkError, match="the shard has other settings than the store"):
        FeatureStore.create(tmp_path, SETTINGS | {"upstream": "other"})


def test_ids_that_would_break_the_index_are_refused(stored):
    path, frames = stored
    store = FeatureStore.create(path, SETTINGS)
    for utt in ("a\tb", "a\nb"):
        with pytest.raises(SoctkError, match=r"the id 'a\\[tn]b' contains a tab or a line feed\nRename"):
            store.write_shard({utt: frames["utt0"]}, {utt: "d"})
    odd = ["a\rb", "a\vb", "a\x85b", "a\u2028b", "a b", "é", "e\u0301"]
    expected = {utt: frames["utt0"] + i for i, utt in enumerate(odd)}
    store.write_shard(expected, dict.fromkeys(odd, "d"))
    store.finish()
    torch.testing.assert_close(FeatureStore.open(path).load(odd), block_of(*expected.values()), rtol=0, atol=0)


def test_the_index_lists_shard_frames_and_recording_of_each_utterance(stored):
    path, _ = stored
    header, *rows = [line.split("\t") for line in (path / "index.tsv").read_text().splitlines()]
    assert header == ["utterance", "shard", "frames", "recording"]
    assert [(row[0], *row[2:]) for row in rows] == [("utt0", "5", "d0"), ("utt1", "2", "d1"), ("utt2", "7", "d2")]
    assert all((path / row[1]).is_file() for row in rows)


def test_files_get_the_permissions_of_the_umask(stored, tmp_path):
    (tmp_path / "plain").touch()
    assert {file.stat().st_mode for file in stored[0].iterdir()} == {(tmp_path / "plain").stat().st_mode}


def test_a_store_records_the_digests_of_its_recordings(stored):
    path, _ = stored
    filled, opened = FeatureStore.create(path, SETTINGS), FeatureStore.open(path)
    assert filled.recordings == opened.recordings == RECORDINGS
    checksum = opened.checksum()
    assert checksum == filled.checksum()
    filled.write_shard({"utt3": torch.zeros(1, 3, 4).half()}, {"utt3": "d3"})
    filled.finish()
    assert FeatureStore.open(path).checksum() != checksum


def test_other_settings_are_refused_and_the_difference_is_shown(stored):
    path, _ = stored
    with pytest.raises(SoctkError) as error:
        FeatureStore.create(path, {**SETTINGS, "layers": [2], "dtype": "float32"})
    assert "this store has other settings" in str(error.value)
    assert "layers: [3] stored, [2] requested" in str(error.value)
    assert "dtype: float16 stored, float32 requested" in str(error.value)


def test_other_versions_are_accepted(stored):
    path, _ = stored
    FeatureStore.create(path, {**SETTINGS, "versions": {"torch": "2"}})
    assert json.loads((path / "store.json").read_text())["versions"] == {"torch": "1"}


def test_an_unfinished_store_is_not_opened(tmp_path):
    with pytest.raises(SoctkError, match="no feature store in this directory"):
        FeatureStore.open(tmp_path)
    FeatureStore.create(tmp_path, SETTINGS).write_shard(frames_of(3), RECORDINGS)
    with pytest.raises(SoctkError, match=r"the extraction has not finished\nRun stage 1"):
        FeatureStore.open(tmp_path)


def test_a_path_that_is_not_utf_8_is_refused(stored, monkeypatch):
    path, _ = stored
    moved = path.with_name(os.fsdecode(b"caf\xe9"))
    path.rename(moved)
    for use in (FeatureStore.open, lambda path: FeatureStore.create(path, SETTINGS)):
        with pytest.raises(SoctkError, match=r"the path is not UTF-8, and safetensors cannot open files there\nRename"):
            use(moved)
    monkeypatch.chdir(moved)
    assert len(FeatureStore.open(Path()).load(["utt0"])) == 5  # the remedy


def test_utterances_that_are_not_in_the_store_are_reported(stored):
    with pytest.raises(
        SoctkError,
        match=r"2 utterances have no features, such as uttX\nRun stage 1 .*only what is missing",
    ):
        FeatureStore.open(stored[0]).load(["utt0", "uttX", "uttY"])


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_damaged_shard_is_reported(stored, damage):
    path, _ = stored
    shard = sorted(path.glob("shard-*"))[0]
    shard.unlink() if damage == "removed" else shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(SoctkError) as error:
        FeatureStore.open(path).load(["utt0", "utt1", "utt2"])
    assert str(error.value).startswith(f"{shard}: missing or damaged")


@pytest.mark.parametrize("layers", [1, 3])
def test_a_flipped_bit_is_found_when_the_frames_are_read(tmp_path, layers):
    settings = SETTINGS | {"layers": list(range(layers))}
    store = FeatureStore.create(tmp_path, settings)
    store.write_shard(frames_of(5, layers=layers), RECORDINGS)
    store.finish()
    (shard,) = tmp_path.glob("shard-*")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1  # in the last hidden state
    shard.write_bytes(content)
    opened = FeatureStore.open(tmp_path)
    for layer in range(layers - 1):
        opened.load(["utt0"], [layer])
    with pytest.raises(SoctkError) as error:
        opened.load(["utt0"], [layers - 1])
    assert str(error.value) == (
        f"{shard}: missing or damaged (the frames of utt0 have a wrong checksum)\nRemove this file, if it exists. "
        "Run stage 1 (soctk-extract) again; it extracts only what is missing. soctk-verify finds all damaged shards."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not valid JSON: Expecting value"),
        ("[]", "not a JSON object"),
        ("{}", "layers"),
        ('{"format": 2, "layers": [0], "hidden_size": "4", "dtype": "float16", "upstream": "x"}', "hidden_size"),
        ('{"format": 2, "layers": [], "hidden_size": 4, "dtype": "float16", "upstream": "x"}', "layers"),
        ('{"format": 2, "layers": [0], "hidden_size": 4, "dtype": "int8", "upstream": "x"}', "dtype"),
        ('{"a":' * 100_000, "not valid JSON: nested too deeply"),
    ],
)
def test_a_damaged_settings_file_is_reported(stored, content, reason):
    path, _ = stored
    (path / "store.json").write_text(content)
    for use in (FeatureStore.open, lambda path: FeatureStore.create(path, SETTINGS)):
        with pytest.raises(SoctkError) as error:
            use(path)
        assert str(error.value).startswith(f"{path / 'store.json'}: damaged ({reason}")
        assert str(error.value).endswith("\nRemove the directory and extract again (stage 1).")


@pytest.mark.parametrize(("version", "age"), [(None, "an earlier"), (1, "an earlier"), (3, "a later")])
def test_a_store_of_another_version_of_soctk_is_refused(stored, version, age):
    path, _ = stored
    settings = json.loads((path / "store.json").read_text())
    settings.pop("format")
    (path / "store.json").write_text(json.dumps(settings | ({"format": version} if version else {})))
    for use in (FeatureStore.open, lambda path: FeatureStore.create(path, SETTINGS)):
        with pytest.raises(SoctkError, match=rf"the store was written by {age} version of soctk\nRemove the directory"):
            use(path)


def test_a_shard_of_an_earlier_version_is_refused(stored):
    path, frames = stored
    save_file({"utt3": frames["utt0"][0]}, path / "shard-0123456789abcdef.safetensors", {"utt3": "d3"})
    with pytest.raises(SoctkError, match=r"cdef\.safetensors: the shard has no checksums: .* an earlier version"):
        FeatureStore.create(path, SETTINGS)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "",
        lambda text: "utterance\n",
        lambda text: text[:-1],
        lambda text: text[:-10],
        lambda text: text + "utt9\n",
        lambda text: text + text.splitlines()[1] + "\n",
        lambda text: text.replace("\t5\t", "\tfive\t"),
        lambda text: text.replace("\t5\t", "\t0\t"),
        lambda text: text.replace("\tshard-", "\t../shard-"),
    ],
)
def test_a_damaged_index_is_reported(stored, edit):
    path, _ = stored
    (path / "index.tsv").write_text(edit((path / "index.tsv").read_text()))
    with pytest.raises(SoctkError, match=r"index.tsv: damaged\nRemove this file\. Run stage 1"):
        FeatureStore.open(path)


@pytest.mark.parametrize(
    ("old", "new"), [("\t5\t", "\t4\t"), ("\t5\t", "\t999999999999\t"), ("\td0", "\td1"), ("utt0", "utt9")]
)
def test_an_index_that_contradicts_the_shards_is_reported(stored, old, new):
    path, _ = stored
    (path / "index.tsv").write_text((path / "index.tsv").read_text().replace(old, new))
    utt = "utt9" if new == "utt9" else "utt0"
    assert FeatureStore.open(path).verify() == sorted(
        [f"index.tsv: wrong for {utt}", *(["index.tsv: without utt0"] if utt == "utt9" else [])]
    )
    with pytest.raises(SoctkError, match="damaged"):
        FeatureStore.open(path).load([utt])


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_gives_an_error_or_the_right_frames(data):
    """Flip, cut, insert or overwrite bytes anywhere in a store: frames are read as they were written, or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        path, frames = Path(folder), frames_of(3, 2, layers=2)
        options = SETTINGS | {"layers": [1, 3], "speeds": [0.9]}
        store = FeatureStore.create(path, options)
        store.write_shard(frames, RECORDINGS)
        store.finish()
        file = data.draw(st.sampled_from(sorted(path.iterdir())))
        content = file.read_bytes()
        start = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(start, min(len(content), start + 9)) | st.just(len(content)))
        file.write_bytes(content[:start] + data.draw(st.binary(max_size=12)) + content[end:])
        for use in (_load, FeatureStore.verify, lambda _: FeatureStore.create(path, options).finish()):
            try:
                result = use(FeatureStore.open(path))
            except SoctkError as error:
                assert str(error).startswith(str(path))
                continue
            if use is _load:
                torch.testing.assert_close(result, block_of(*frames.values()), rtol=0, atol=0)


def _load(store: FeatureStore) -> torch.Tensor:
    block = store.load(["utt0", "utt1"])
    assert store.recordings == {"utt0": "d0", "utt1": "d1"}
    return block
