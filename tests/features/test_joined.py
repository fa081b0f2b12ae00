import pytest
import torch

from soctk.errors import SoctkError
from soctk.features.interface import Store
from soctk.features.joined import JoinedStore
from soctk.features.store import FeatureStore

SETTINGS = {"upstream": "test", "layers": [3, 5], "hidden_size": 4, "dtype": "float16"}
LENGTHS = {"utt0": 5, "utt1": 2, "utt2": 7}


@pytest.fixture
def stores(tmp_path) -> dict[str, FeatureStore]:
    """Return the feature stores of two corpora with the same ids of utterances but different frames."""
    generator = torch.Generator().manual_seed(0)
    for name in ("one", "two"):
        store = FeatureStore.create(tmp_path / name, SETTINGS)
        frames = {utt: torch.randn(2, length, 4, generator=generator).half() for utt, length in LENGTHS.items()}
        store.write_shard(frames, {utt: f"digest of {utt} in {name}" for utt in frames})
        store.finish()
    return {name: FeatureStore.open(tmp_path / name) for name in ("one", "two")}


def read(store: Store, utterances: list[str], layers: list[int] | None = None) -> list[torch.Tensor]:
    """Return the frames `(T, L, D)` of each utterance, read only through the interface Store."""
    return list(store.load(utterances, layers).split(store.lengths(utterances)))


@pytest.mark.parametrize("layers", [None, [5], [5, 3]])
def test_a_joined_store_gives_the_frames_of_its_stores(stores, layers):
    joined = read(JoinedStore(stores), ["two:utt1", "one:utt0", "one:utt2", "two:utt0", "one:utt1"], layers)
    one, two = (read(stores[name], ["utt0", "utt1", "utt2"], layers) for name in ("one", "two"))
    for frames, expected in zip(joined, [two[1], one[0], one[2], two[0], one[1]], strict=True):
        torch.testing.assert_close(frames, expected, rtol=0, atol=0)


def test_a_joined_store_of_one_corpus_equals_its_store(stores):
    single: Store = stores["one"]
    joined: Store = JoinedStore({"one": stores["one"]})
    for frames, expected in zip(read(joined, ["one:utt2", "one:utt0"]), read(single, ["utt2", "utt0"]), strict=True):
        torch.testing.assert_close(frames, expected, rtol=0, atol=0)
    assert (joined.settings, joined.layers) == (single.settings, single.layers)
    assert joined.checksum() == single.checksum()
    assert joined.where == single.where == str(single.path)


def test_the_checksum_depends_on_every_store(stores):
    assert len({JoinedStore({"x": x, "y": y}).checksum() for x in stores.values() for y in stores.values()}) == 4


def test_a_colon_may_be_part_of_an_utterance_id(tmp_path):
    store = FeatureStore.create(tmp_path, SETTINGS)
    store.write_shard({"a:b": torch.ones(2, 3, 4).half()}, {"a:b": "digest"})
    assert JoinedStore({"one": FeatureStore.create(tmp_path, SETTINGS)}).lengths(["one:a:b"]) == [3]


def test_a_missing_utterance_is_reported_with_its_store(stores):
    with pytest.raises(SoctkError) as error:
        JoinedStore(stores).load(["one:utt0", "two:utt9"])
    assert str(error.value).startswith(f"{stores['two'].path}: 1 utterance has no features, such as utt9\n")
