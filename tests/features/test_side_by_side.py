"""Several encoders side by side: one Store of several feature stores."""

import pytest
import torch

from soctk.errors import SoctkError
from soctk.features import side_by_side
from soctk.features.store import FeatureStore

UTTERANCES = ("a", "b")


def write(path, count, size, layers, frames=3, utterances=UTTERANCES, digest="", **more) -> FeatureStore:
    """Write a store of an encoder with `count` hidden states, in which state n has the value n everywhere."""
    settings = {
        "upstream": path.name, "layers": layers, "num_layers": count, "hidden_size": size, "dtype": "float32",
        "versions": {}, **more,
    }  # fmt: skip
    store = FeatureStore.create(path, settings)
    states = torch.stack([torch.full((frames, size), float(layer)) for layer in layers])
    store.write_shard({utt: states.clone() for utt in utterances}, {utt: f"{utt}{digest}" for utt in utterances})
    store.finish()
    return FeatureStore.open(path)


@pytest.fixture
def both(tmp_path):
    """An encoder with the hidden states 0 to 6 of width 2, and one with 0 to 4 of width 5, which has other frames."""
    write(tmp_path / "base", 7, 2, [2, 3, 6])
    write(tmp_path / "tiny", 5, 5, [0, 2, 4], frames=9)
    return side_by_side.open_stores(tmp_path / "base", tmp_path / "tiny")


def test_hidden_states_are_numbered_over_all_encoders(both):
    assert both.layers == [2, 3, 6, 7, 9, 11]
    assert both.last_layers == [6, 11]
    store, own = both.select([9, 11])
    assert (store.path.name, own) == ("tiny", [2, 4])
    assert both.load(["a"], [3]).unique().tolist() == [3.0]
    assert both.load(["b"], [9]).shape == (9, 1, 5)
    assert both.load(["b"], [9]).unique().tolist() == [2.0]
    assert [both.depth(layer) for layer in (3, 6, 7, 9)] == [0.5, 1, 0, 0.5]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("auto", "auto"), (None, None), ((2,), [2, 9]), (((3, 2), (4,)), [3, 2, 11]), (((6,), (0, 2)), [6, 7, 9])],
)
def test_numbers_are_those_of_each_encoder(both, given, expected):
    assert side_by_side.numbers(both, given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (((2,), (2,), (2,)), "hidden states are listed for 3 encoders, but there are 2\nGive one list for all"),
        ((3,), r"tiny: the store has no hidden state 3, only 0, 2, 4\nGive a list for each store"),
    ],
)
def test_wrong_numbers_are_refused(both, given, message):
    with pytest.raises(SoctkError, match=message):
        side_by_side.numbers(both, given)


def test_lists_for_several_encoders_need_several_stores(tmp_path):
    store = write(tmp_path / "base", 7, 2, [2, 3, 6])
    assert side_by_side.open_stores(store.path).layers == [2, 3, 6]
    assert side_by_side.numbers(store, (3, 2)) == [3, 2]
    with pytest.raises(SoctkError, match="hidden states are listed for 2 encoders, but there is one"):
        side_by_side.numbers(store, ((3,), (2,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"utterances": ("a",)},
            r"other: 1 utterance is in one store only, such as b, which is in .*base\nExtract the",
        ),
        ({"utterances": ("a", "b", "c")}, "base: 1 utterance is in one store only, such as c, which is in .*other"),
        ({"digest": "x"}, r"other: 2 utterances have other recordings than in .*base, such as a\nExtract the features"),
        (
            {"speeds": [0.9]},
            r"other: the setting speeds is \[0.9\] here, and None in .*base\nExtract both with the same",
        ),
        ({"normalise": "level"}, "other: the setting normalise is level here, and None in .*base"),
    ],
)
def test_stores_of_other_recordings_are_refused(tmp_path, changes, message):
    write(tmp_path / "base", 7, 2, [2])
    write(tmp_path / "other", 5, 5, [2], **changes)
    with pytest.raises(SoctkError, match=message):
        side_by_side.open_stores(tmp_path / "base", tmp_path / "other")


def test_a_store_is_named_once(tmp_path):
    write(tmp_path / "base", 7, 2, [2])
    with pytest.raises(SoctkError, match="base: this store is given twice"):
        side_by_side.open_stores(tmp_path / "base", tmp_path / "base" / ".." / "base")
