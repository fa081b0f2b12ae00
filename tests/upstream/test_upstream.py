import pytest

from soctk import upstream
from soctk.errors import SoctkError


@pytest.mark.parametrize("path", ["/no/such/encoder", "../encoder", "~/encoder"])
def test_a_directory_that_is_not_there_is_told_and_not_looked_for_on_the_hub(path):
    with pytest.raises(SoctkError, match=f"--upstream {path}: no such directory"):
        upstream.load(path)


class FourLayers:
    name, hidden_sizes = "four", [8] * 4


def test_layers_are_counted_from_the_input_of_the_first():
    assert [upstream.layer_index(FourLayers, layer) for layer in (0, 3, "last")] == [0, 3, 3]


@pytest.mark.parametrize("layer", [4, -1])
def test_a_layer_that_is_not_there_is_told(layer):
    with pytest.raises(SoctkError, match=rf"four has no layer {layer}\nChoose 0 \(the input .*\) to 3, or last."):
        upstream.layer_index(FourLayers, layer)
