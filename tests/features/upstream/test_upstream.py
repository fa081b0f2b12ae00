import pytest

from soctk.errors import SoctkError
from soctk.features import upstream


@pytest.mark.parametrize("path", ["/no/such/encoder", "../encoder", "~/encoder"])
def test_a_missing_directory_is_reported_without_a_search_on_the_hub(path):
    with pytest.raises(SoctkError, match=f"--upstream {path}: no such directory"):
        upstream.load(path)


def test_a_directory_with_the_name_of_an_upstream_does_not_replace_it(tmp_path, monkeypatch):
    (tmp_path / "fbank").mkdir()
    monkeypatch.chdir(tmp_path)
    assert upstream.load("fbank").hidden_sizes == upstream.load("s3prl:fbank").hidden_sizes
    with pytest.raises(SoctkError, match=r"--upstream ./fbank: transformers cannot load it"):
        upstream.load("./fbank")


class FourLayers:
    name, hidden_sizes = "four", [8] * 4


@pytest.mark.parametrize(
    ("layers", "indices"), [((0,), (0,)), ("last", (3,)), ("all", (0, 1, 2, 3)), ((2, 1), (1, 2)), ((3, 0, 3), (0, 3))]
)
def test_layers_are_numbered_from_the_input_of_the_first(layers, indices):
    assert upstream.layer_indices(FourLayers, layers) == indices


@pytest.mark.parametrize("layer", [4, -1])
def test_an_unknown_layer_is_refused(layer):
    with pytest.raises(
        SoctkError,
        match=rf"four has no hidden state {layer}\nUse a number from 0 \(the .*\) to 3, or last, or all",
    ):
        upstream.layer_indices(FourLayers, (1, layer))


class OddWidths:
    name, hidden_sizes = "odd", [8, 8, 6]


def test_layers_of_different_widths_are_refused():
    assert upstream.layer_indices(OddWidths, (0, 1)) == (0, 1)
    with pytest.raises(SoctkError, match=r"have different widths \(0: 8, 1: 8, 2: 6\)\nExtract each width"):
        upstream.layer_indices(OddWidths, "all")
