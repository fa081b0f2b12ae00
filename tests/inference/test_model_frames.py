"""Frames of a packed model equal those that training reads from the store, for each normalisation."""

import numpy as np
import pytest
import torch

from soctk.errors import SoctkError
from soctk.inference import frames
from soctk.training.frame_norm import normalise

STATES = 30 * np.random.default_rng(0).standard_normal((2, 9, 5)).astype(np.float32)


@pytest.mark.parametrize("setting", [True, False, "utterance"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_frames_are_those_of_training(setting, dtype):
    stored = torch.from_numpy(STATES).transpose(0, 1).to(getattr(torch, dtype)).float()
    found = frames.frames(STATES, dtype, setting)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normalise(stored, setting).numpy(), rtol=1e-5, atol=1e-6)


def test_constant_frames_are_0_if_they_are_normalised():
    assert not frames.frames(np.full((1, 3, 4), 7, dtype=np.float32), "float32", True).any()


def test_states_beyond_the_range_of_the_store_are_refused():
    with pytest.raises(SoctkError, match="the frames are not finite in float16\nCheck the recording"):
        frames.frames(np.full((1, 3, 4), 1e5, dtype=np.float32), "float16", False)
