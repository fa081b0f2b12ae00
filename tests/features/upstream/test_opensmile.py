import dataclasses
import sys

import numpy as np
import opensmile
import pytest

from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.features.extract import Extraction, extract
from soctk.features.store import FeatureStore

LEVELS = {
    "egemaps": (opensmile.FeatureLevel.Functionals, 88),
    "egemaps-lld": (opensmile.FeatureLevel.LowLevelDescriptors, 25),
}


@pytest.fixture
def two(corpus):
    """A corpus of two recordings."""
    kept = corpus.utterances[:2]
    of_both = {name: getattr(corpus, name) for name in ("wav", "speaker", "emotion", "seconds")}
    parts = {name: {utt: values[utt] for utt in kept} for name, values in of_both.items()}
    return dataclasses.replace(corpus, **parts)


@pytest.mark.parametrize("name", LEVELS)
def test_the_stored_frames_are_the_values_of_opensmile(tmp_path, two, name, capsys):
    level, size = LEVELS[name]
    extract(two, tmp_path / "feats", Extraction(name))
    extract(two, tmp_path / "feats", Extraction(name))
    assert capsys.readouterr().out.count("licence permits non-commercial use and research only") == 1
    store = FeatureStore.open(tmp_path / "feats")
    assert (store.settings["dtype"], store.settings["has_units"]) == ("float32", True)
    assert store.settings.get("frame_shift_ms") == (10.0 if size == 25 else None)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, level)
    for utt in two.utterances:
        expected = smile.process_file(two.wav[utt]).to_numpy()
        assert expected.shape[1] == size
        np.testing.assert_allclose(store.load([utt])[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", LEVELS)
def test_a_waveform_shorter_than_the_window_of_the_pitch_is_extended_with_zeros(name):
    waveform = np.random.default_rng(0).normal(0, 0.1, 800).astype(np.float32)  # 50 ms
    encoder = upstream.load(name)
    (short,) = encoder.hidden_states([waveform], [0])
    (extended,) = encoder.hidden_states([np.concatenate([waveform, np.zeros(160, np.float32)])], [0])
    assert short.isfinite().all()
    np.testing.assert_array_equal(short, extended)


def test_a_missing_package_is_one_message_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(
        SoctkError,
        match=r"opensmile, which is not installed\nInstall .* 'soctk\[egemaps\]'.*bin/setup egemaps",
    ):
        upstream.load("egemaps")


def test_a_misspelled_name_is_answered_with_the_right_one():
    with pytest.raises(SoctkError, match="egemaps"):
        upstream.load("egemap")
