import dataclasses
import re
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import write_corpus

from soctk import config
from soctk.cli import verify
from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.features import array_files
from soctk.features.array_files import Unreadable
from soctk.features.extract import Extraction, extract
from soctk.features.imported import Import, import_features
from soctk.features.store import FeatureStore
from soctk.inference.pack import Packing, pack
from soctk.training.cross import _check_features, _check_recordings
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

NAME = Import("egemaps")


def write_npy(folder: Path, corpus: DataDir, shape=(7, 4), **arrays: np.ndarray) -> Path:
    """Write features of a corpus; `arrays` are those of the first utterances, in place of random ones."""
    folder.mkdir(exist_ok=True)
    for number, utt in enumerate(corpus.utterances):
        np.save(folder / f"{utt}.npy", np.random.default_rng(number).normal(size=shape).astype(np.float32))
    for utt, array in zip(corpus.utterances, arrays.values(), strict=False):
        np.save(folder / f"{utt}.npy", array)
    return folder


@pytest.mark.parametrize("shape", [(7, 4), (3, 7, 4)])
def test_the_store_contains_the_arrays(tmp_path, corpus, shape):
    folder = write_npy(tmp_path / "npy", corpus, shape)
    summary = import_features(corpus, folder, tmp_path / "store", NAME)
    assert (summary.utterances, summary.frames, summary.hidden_size) == (36, 36 * 7, 4)
    store = FeatureStore.open(tmp_path / "store")
    assert store.layers == list(range(summary.layers)) == list(range(3 if len(shape) == 3 else 1))
    for utt in corpus.utterances:
        array = np.load(folder / f"{utt}.npy").reshape(-1, 7, 4)
        np.testing.assert_array_equal(store.load([utt]).transpose(0, 1).numpy(), array)
    assert store.verify() == []
    assert store.settings["upstream"] == "egemaps"
    assert "frame_shift_ms" not in store.settings


def test_the_digests_are_those_of_an_extracted_store(tmp_path, corpus):
    extract(corpus, tmp_path / "fbank", Extraction("fbank"))
    summary = import_features(corpus, write_npy(tmp_path / "npy", corpus), tmp_path / "store", NAME)
    expected = FeatureStore.open(tmp_path / "fbank").recordings
    assert FeatureStore.open(tmp_path / "store").recordings == expected
    assert "recordings: read, so that soctk-train can compare those of training and test" in summary.notes


def test_without_recordings_equal_features_are_found(tmp_path, corpus):
    """Utterances 0 and 12 are of spk0 and spk2, which are never in the same fold."""
    same = np.ones((5, 4))
    folder = write_npy(tmp_path / "npy", corpus, first=same)
    np.save(folder / f"{corpus.utterances[12]}.npy", same)
    corpus.wav[corpus.utterances[3]].unlink()
    summary = import_features(corpus, folder, tmp_path / "store", NAME)
    assert any(note.startswith("Note: 1 of 36 recordings are missing, such as /") for note in summary.notes)
    features = Features(FeatureStore.open(tmp_path / "store"), corpus.utterances)
    experiment = Experiment(config.load([Path("conf")], "mean", "linear"), corpus, features, tmp_path / "exp")
    with pytest.raises(SoctkError, match=f"{corpus.utterances[0]} .*= {corpus.utterances[12]}"):
        experiment.check([1, 2, 3], [1])


@pytest.mark.slow
def test_a_model_is_trained_but_not_packed(tmp_path, corpus, conf):
    arrays = {utt: np.full((5, 2), corpus.emotions.index(name)) for utt, name in corpus.emotion.items()}
    generator = np.random.default_rng(0)
    noisy = {utt: (array + 0.1 * generator.normal(size=array.shape)).astype("f") for utt, array in arrays.items()}
    kaldiio.save_ark(str(tmp_path / "feats.ark"), noisy, scp=str(tmp_path / "feats.scp"))
    import_features(corpus, tmp_path / "feats.scp", tmp_path / "store", NAME)
    features = Features(FeatureStore.open(tmp_path / "store"), corpus.utterances)
    settings = config.load(conf, "mean", "linear", overrides=["frames.layer_norm=false"])
    assert Experiment(settings, corpus, features, tmp_path / "exp").run([1, 2, 3], [1]) == 3
    table = "".join(path.read_text() for path in tmp_path.glob("exp/fold*/seed1/predictions.tsv"))
    rows = [line.split("\t") for line in table.splitlines() if not line.startswith("utt\t")]
    assert len(rows) == 36
    assert all(row[2] == row[3] for row in rows)
    with pytest.raises(
        SoctkError, match=r"the features egemaps were made by another program \(soctk-import-features\)"
    ):
        pack(Packing(tmp_path / "exp"), tmp_path / "model")


def test_other_features_are_other_experiments(tmp_path, corpus, conf):
    checksums = set()
    for number, name in enumerate("ab"):
        folder = write_npy(tmp_path / name, corpus, first=np.full((7, 4), number))
        import_features(corpus, folder, tmp_path / f"store {name}", NAME)
        checksums.add(FeatureStore.open(tmp_path / f"store {name}").checksum())
    assert len(checksums) == 2


def test_corpora_with_the_same_kind_of_features_can_be_crossed(tmp_path, corpus):
    @dataclasses.dataclass
    class Corpus:
        name: str
        data: DataDir
        store: FeatureStore

    corpora = []
    for name, data in (("one", corpus), ("two", write_corpus(tmp_path / "two", seed=1))):
        folder = write_npy(tmp_path / f"npy {name}", data, first=np.full((7, 4), len(corpora)))
        import_features(data, folder, tmp_path / f"store {name}", NAME)
        corpora.append(Corpus(name, data, FeatureStore.open(tmp_path / f"store {name}")))
    _check_features(corpora)
    _check_recordings(corpora)


def test_file_names_of_recordings_stand_for_utterances(tmp_path, corpus):
    renamed = {utt: path.rename(path.with_name(f"take {i}.wav")) for i, (utt, path) in enumerate(corpus.wav.items())}
    corpus = dataclasses.replace(corpus, wav=renamed)
    folder = write_npy(tmp_path / "npy", corpus)
    array = np.load(folder / f"{corpus.utterances[5]}.npy")
    for utt, path in renamed.items():
        (folder / f"{utt}.npy").rename(folder / f"{path.stem}.npy")
    np.save(folder / "of nobody.npy", array)
    summary = import_features(corpus, folder, tmp_path / "store", NAME)
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "store").load([corpus.utterances[5]])[:, 0], array)
    assert "36 utterances found by the file name of the recording" in summary.notes
    assert "Note: left out: 1 name without an utterance, such as of nobody" in summary.notes


def test_faults_are_listed_with_their_remedies(tmp_path, corpus):
    utts = corpus.utterances
    arrays = {
        "nan": np.array([[0, np.nan, 0, np.inf]]),
        "vector": np.zeros(4),
        "wide": np.zeros((7, 5)),
        "layers": np.zeros((2, 7, 4)),
        "empty": np.zeros((0, 4)),
        "text": np.array([["a", "b"]]),
        "objects": np.array([[{}, {}]], dtype=object),
        "large": np.full((2, 4), 1e5),
    }
    folder = write_npy(tmp_path / "npy", corpus, **arrays)
    (folder / f"{utts[8]}.npy").rename(folder / f"{utts[8]}-.npy")
    (folder / "copy").mkdir()
    np.save(folder / "copy" / f"{utts[9]}.npy", np.zeros((7, 4)))
    with pytest.raises(SoctkError) as caught:
        import_features(corpus, folder, tmp_path / "store", dataclasses.replace(NAME, dtype="float16"))
    assert str(caught.value).splitlines() == [
        f"{folder}: the features of 10 of 36 utterances cannot be used",
        "NaN or infinite values: make these features again (1)",
        f"  {utts[0]}: 2 of 4 values",
        "another shape: write (frames, features), or (layers, frames, features); (1, features) for one vector (2)",
        f"  {utts[1]}: shape (4,)",
        f"  {utts[4]}: shape (0, 4)",
        "no numbers: write float32 (1)",
        f"  {utts[5]}: values of type <U1",
        "unreadable: write these again, as numbers (1)",
        f"  {utts[6]}: it holds Python objects (a pickle), which soctk never reads",
        "too large for float16: --dtype float32, or smaller values (1)",
        f"  {utts[7]}: up to 1e+05",
        "given twice: keep one of each (1)",
        f"  {utts[9]}",
        "not 1 hidden state with 4 features: all utterances must have the same (2)",
        f"  {utts[2]}: shape (7, 5)",
        f"  {utts[3]}: shape (2, 7, 4)",
        "missing: give the features of every utterance of the data directory (names without an "
        f"utterance: {utts[8]}-) (1)",
        f"  {utts[8]}",
        "Each list begins with the fault and its remedy. Nothing was written.",
    ]
    assert not (tmp_path / "store").exists()


def test_swapped_axes_are_recognised(tmp_path, corpus):
    folder = write_npy(tmp_path / "npy", corpus)
    for number, utt in enumerate(corpus.utterances):
        np.save(folder / f"{utt}.npy", np.zeros((4, 5 + number)))
    with pytest.raises(SoctkError, match=r"the axes seem to be \(features, frames\), .*: write array.T \(35\)"):
        import_features(corpus, folder, tmp_path / "store", NAME)


def test_the_number_of_frames_is_compared_with_the_duration(tmp_path, corpus):
    """A window of 25 ms every 10 ms has 2 frames less than the duration has shifts."""
    folder = tmp_path / "npy"
    folder.mkdir()
    for utt, seconds in corpus.seconds.items():
        np.save(folder / f"{utt}.npy", np.ones((int(100 * seconds) - 2, 3)))
    timed = dataclasses.replace(NAME, frame_shift=10.0)
    import_features(corpus, folder, tmp_path / "store", timed)
    assert FeatureStore.open(tmp_path / "store").settings["frame_shift_ms"] == 10
    utt = corpus.utterances[7]
    np.save(folder / f"{utt}.npy", np.ones((int(100 * corpus.seconds[utt]) + 9, 3)))
    with pytest.raises(
        SoctkError, match=rf"another duration: check --frame-shift 10, .* \(1\)\n  {utt}: \d+ frames, but"
    ):
        import_features(corpus, folder, tmp_path / "other", timed)
    with pytest.raises(SoctkError, match=r"check --frame-shift 20, .* \(36\)"):
        import_features(corpus, folder, tmp_path / "other", dataclasses.replace(NAME, frame_shift=20.0))


def test_an_existing_store_is_kept(tmp_path, corpus):
    folder = write_npy(tmp_path / "npy", corpus)
    import_features(corpus, folder, tmp_path / "store", NAME)
    with pytest.raises(SoctkError, match="store: it exists already\nRemove it, or choose another directory"):
        import_features(corpus, folder, tmp_path / "store", NAME)


def test_a_damaged_or_incomplete_store_is_imported_again(tmp_path, corpus):
    import_features(corpus, write_npy(tmp_path / "npy", corpus), tmp_path / "store", NAME)
    store = FeatureStore.open(tmp_path / "store")
    remedy = "\nRemove the store, and import the features again .soctk-import-features.."
    with pytest.raises(SoctkError, match=f"no features, such as nobody{remedy}"):
        store.load(["nobody"])
    shard = next((tmp_path / "store").glob("shard-*"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SoctkError, match=f"missing or damaged .*{remedy}"):
        store.load(corpus.utterances)
    result = CliRunner().invoke(verify.main, [str(tmp_path / "store")])
    assert result.exit_code == 1
    assert re.search(f"its checksum is wrong.*{remedy}", result.output)


def test_many_shards_hold_what_one_holds(tmp_path, corpus, monkeypatch):
    folder = write_npy(tmp_path / "npy", corpus)
    import_features(corpus, folder, tmp_path / "one", NAME)
    monkeypatch.setattr("soctk.features.imported._SHARD_BYTES", 300)
    import_features(datadir.read(tmp_path / "data"), folder, tmp_path / "many", NAME)
    assert len(list((tmp_path / "many").glob("shard-*"))) == 12
    one, many = (FeatureStore.open(tmp_path / name).load(corpus.utterances) for name in ("one", "many"))
    assert torch.equal(one, many)


@pytest.mark.parametrize("change", ["removed", "unreadable", "other numbers"])
def test_features_that_change_during_the_import_are_no_store(tmp_path, corpus, monkeypatch, change):
    arrays = {utt: np.ones((7, 4), np.float32) for utt in corpus.utterances}
    last = corpus.utterances[-1]
    later = {"removed": {}, "unreadable": {last: Unreadable("gone")}, "other numbers": {last: np.zeros((7, 4))}}[change]
    reads = iter([arrays, {utt: array for utt, array in arrays.items() if utt != last} | later])
    monkeypatch.setattr(array_files, "find_reader", lambda path: lambda: iter(next(reads).items()))
    with pytest.raises(SoctkError, match=f"features: the features of {last} changed during the import\nImport them"):
        import_features(corpus, Path("features"), tmp_path / "store", NAME)
    assert not (tmp_path / "store").exists()
