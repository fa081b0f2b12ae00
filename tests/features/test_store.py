import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soctk.errors import SoctkError
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


def test_temporary_files_of_killed_processes_are_removed(stored):
    path, _ = stored
    (path / ".shard-0123.safetensors.99.tmp").touch()
    FeatureStore.create(path, SETTINGS).finish()
    assert not list(path.glob(".*"))


def test_a_shard_that_another_process_has_written_is_kept(stored, monkeypatch):
    path, _ = stored
    write, store = Path.write_bytes, FeatureStore.create(path, SETTINGS)
    monkeypatch.setattr(Path, "write_bytes", lambda file, content: (write(file, content), store.finish()))
    before = sorted(path.iterdir())
    assert store.write_shard({"utt0": frames_of(5)["utt0"]}, {"utt0": "d0"}) > 0
    assert sorted(path.iterdir()) == before


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


@pytest.mark.parametrize(("file", "content"), [("store.json", ""), ("index.tsv", "utterance\n"), ("index.tsv", "")])
def test_a_damaged_index_or_settings_file_is_reported(stored, file, content):
    path, _ = stored
    (path / file).write_text(content)
    with pytest.raises(SoctkError, match=f"{file}: damaged"):
        FeatureStore.open(path)
