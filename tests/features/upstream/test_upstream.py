import pytest

from soctk.errors import SoctkError
from soctk.features import upstream


@pytest.mark.parametrize("path", ["/no/such/encoder", "../encoder", "~/encoder"])
def test_a_directory_that_is_not_there_is_told_and_not_looked_for_on_the_hub(path):
    with pytest.raises(SoctkError, match=f"--upstream {path}: no such directory"):
        upstream.load(path)


def test_a_folder_that_is_called_as_an_upstream_is_does_not_stand_in_for_it(tmp_path, monkeypatch):
    (tmp_path / "fbank").mkdir()
    monkeypatch.chdir(tmp_path)
    assert upstream.load("fbank").hidden_sizes == upstream.load("s3prl:fbank").hidden_sizes
    with pytest.raises(SoctkError, match=r"--upstream ./fbank: transformers cannot load it"):
        upstream.load("./fbank")


class FourLayers:
    name, hidden_sizes = "four", [8] * 4


@pytest.mark.parametrize(
    ("asked", "indices"), [((0,), (0,)), ("last", (3,)), ("all", (0, 1, 2, 3)), ((2, 1), (1, 2)), ((3, 0, 3), (0, 3))]
)
def test_layers_are_counted_from_the_input_of_the_first(asked, indices):
    assert upstream.layer_indices(FourLayers, asked) == indices


@pytest.mark.parametrize("layer", [4, -1])
def test_a_layer_that_is_not_there_is_told(layer):
    with pytest.raises(
        SoctkError, match=rf"four has no layer {layer}\nChoose from 0 \(the input .*\) to 3, last, or all"
    ):
        upstream.layer_indices(FourLayers, (1, layer))


class OddWidths:
    name, hidden_sizes = "odd", [8, 8, 6]


def test_layers_of_different_widths_are_not_mixed():
    assert upstream.layer_indices(OddWidths, (0, 1)) == (0, 1)
    with pytest.raises(SoctkError, match=r"of different widths \(0: 8, 1: 8, 2: 6\)\nExtract them one at a time"):
        upstream.layer_indices(OddWidths, "all")
