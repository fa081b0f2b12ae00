import pickle
import sys
from pathlib import Path

import h5py
import kaldiio
import numpy as np
import pytest

from soctk.errors import SoctkError
from soctk.features.array_files import Unreadable, find_reader

# The matrix [[1, 2, 3], [4, 5, 6]] in Kaldi's binary format, written by hand after kaldi-matrix.cc:
# "\0B", the type "FM ", and the numbers of rows and columns, each after its size in bytes.
KALDI_MATRIX = b"\0BFM \4\2\0\0\0\4\3\0\0\0" + np.array([1, 2, 3, 4, 5, 6], "<f4").tobytes()


def frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3 + seed, 2)).astype(np.float32)


FEATURES = {"ann-1": frames(0), "bob-2": frames(1)}


def write(folder: Path, kind: str) -> Path:
    """Write FEATURES in one kind of file; return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / kind
    if kind == "npy":
        for name, array in FEATURES.items():
            (path / name).mkdir(parents=True)
            np.save(path / name / f"{name}.npy", array)
    elif kind.endswith(".h5"):
        with h5py.File(path, "w") as file:
            for name, array in FEATURES.items():
                file[f"group of {name}/{name}"] = array
    else:
        kaldiio.save_ark(str(folder / "f.ark"), FEATURES, scp=str(folder / "f.scp"), text=kind.startswith("text"))
        path = folder / f"f.{kind.partition('.')[2]}"
    return path


@pytest.mark.parametrize("kind", ["npy", "binary.ark", "binary.scp", "text.ark", "text.scp", "x.h5"])
def test_each_kind_of_file_gives_the_same_arrays(tmp_path, kind):
    read = find_reader(write(tmp_path / "features", kind))
    for _ in range(2):
        arrays = dict(read())
        assert arrays.keys() == FEATURES.keys()
        for name, array in arrays.items():
            np.testing.assert_allclose(array, FEATURES[name], rtol=1e-6)


def test_a_matrix_of_kaldi_is_read_as_its_format_is_defined(tmp_path):
    path = tmp_path / "x.ark"
    path.write_bytes(b"ann-1 " + KALDI_MATRIX + b"bob-2 " + KALDI_MATRIX)
    (tmp_path / "x.scp").write_text(f"bob-2 x.ark:{2 * 6 + len(KALDI_MATRIX)}\n")
    for file, names in (("x.ark", ["ann-1", "bob-2"]), ("x.scp", ["bob-2"])):
        arrays = dict(find_reader(tmp_path / file)())
        assert list(arrays) == names
        assert arrays["bob-2"].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_compressed_matrix_is_read(tmp_path):
    kaldiio.save_ark(str(tmp_path / "x.ark"), FEATURES, compression_method=2)
    for name, array in find_reader(tmp_path / "x.ark")():
        np.testing.assert_allclose(array, FEATURES[name], atol=0.05)


def test_a_data_directory_of_kaldi_gives_its_feats_scp(tmp_path):
    write(tmp_path / "data", "binary.scp").rename(tmp_path / "data" / "feats.scp")
    assert [name for name, _ in find_reader(tmp_path / "data")()] == list(FEATURES)


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harm was done"),)


def test_nothing_is_unpickled_and_no_command_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "npy").mkdir()
    np.save("npy/ann-1.npy", np.array([Harmful()]), allow_pickle=True)
    (tmp_path / "npy" / "bob-2.npy").write_bytes(pickle.dumps(Harmful()))
    faults = dict(find_reader(Path("npy"))())
    assert faults["ann-1"] == "it holds Python objects (a pickle), which soctk never reads"
    assert isinstance(faults["bob-2"], Unreadable)
    kaldiio.save_ark("pickle.ark", {"ann-1": [Harmful()]}, scp="pickle.scp", write_function="pickle")
    assert dict(find_reader(Path("pickle.scp"))())["ann-1"].startswith("it holds Python objects")
    with pytest.raises(
        SoctkError, match=r"pickle.ark: damaged at or after the utterance 'ann-1' \(it holds Python obj"
    ):
        list(find_reader(Path("pickle.ark"))())
    Path("commands.scp").write_text("ann-1 touch 'harm was done' |\n")
    with pytest.raises(SoctkError, match="  ann-1 is a command, and soctk runs no commands: touch 'harm"):
        find_reader(Path("commands.scp"))
    for name in ("x.pkl", "x.pt"):
        Path(name).write_bytes(pickle.dumps(Harmful()))
        with pytest.raises(
            SoctkError, match=r"it holds Python objects \(a pickle\), which soctk never reads\nWrite the f"
        ):
            find_reader(Path(name))
    assert not Path("harm was done").exists()


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "x.ark").write_bytes(b"ann-1 " + KALDI_MATRIX + b"bob-2 " + KALDI_MATRIX[:-3])
    with pytest.raises(
        SoctkError, match=r"x.ark: damaged at or after the utterance 'bob-2' \(.*\nWrite the file again"
    ):
        list(find_reader(tmp_path / "x.ark")())
    (tmp_path / "x.scp").write_text("ann-1 x.ark:6\nbob-2 gone.ark:6\ncid-3 x.ark:7\ndan-4 x.ark:6[0:1]\n")
    read = dict(find_reader(tmp_path / "x.scp")())
    assert read.pop("ann-1").shape == (2, 3)
    assert read == {
        "bob-2": "the file gone.ark is missing",
        "cid-3": "it is not a Kaldi matrix",
        "dan-4": "a part [0:1] of a matrix, which soctk does not read; copy-feats writes it as a matrix",
    }
    (tmp_path / "x.scp").write_text("ann-1\n")
    with pytest.raises(SoctkError, match="line 1: 'ann-1' is not an utterance, a space and a place"):
        find_reader(tmp_path / "x.scp")
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    with pytest.raises(SoctkError, match=r"x\.h5: damaged, or no HDF5 file"):
        list(find_reader(tmp_path / "x.h5")())
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "ann-1.npy", FEATURES["ann-1"])
    (tmp_path / "npy" / "ann-1.npy").write_bytes((tmp_path / "npy" / "ann-1.npy").read_bytes()[:-2])
    assert isinstance(dict(find_reader(tmp_path / "npy")())["ann-1"], Unreadable)


def test_other_files_are_refused_with_what_to_write(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(
        SoctkError, match=r"x\.txt: soctk cannot read features from this kind of file\nWrite the features"
    ):
        find_reader(tmp_path / "x.txt")
    with pytest.raises(SoctkError, match=r"no .npy file in this folder; it has .txt 1\nWrite the features as a folder"):
        find_reader(tmp_path)


def test_values_of_an_hdf5_file_in_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(24))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", (3, 2), "<f4", external=[(str(tmp_path / "secret"), 0, 24)])
    (array,) = dict(find_reader(tmp_path / "x.h5")()).values()
    assert isinstance(array, Unreadable) and "in another file" in array


@pytest.mark.parametrize(("file", "package"), [("x.h5", "h5py"), ("x.ark", "kaldiio"), ("x.scp", "kaldiio")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, file, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        SoctkError, match=f"{file}: reading this file needs the package {package}, which is not installed\nIns"
    ):
        find_reader(tmp_path / file)
