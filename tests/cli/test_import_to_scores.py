"""Corpora in the formats of other toolkits go to a table of scores by commands alone."""

import re
import shutil
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import ROOT

from soctk.cli import extract, import_, import_features, score, train
from soctk.corpus import audio, datadir
from soctk.features.store import FeatureStore

sys.path.insert(0, str(ROOT / "tests" / "corpus" / "importing"))
from small_corpus import write_audformat_recordings

LINEAR = ("--pooling", "mean", "--head", "linear")


def run(command, *arguments: object) -> str:
    """Run a command; return its output."""
    result = CliRunner().invoke(command.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_audformat_database_of_segments_goes_to_a_score_table(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "tests" / "golden" / "audformat" / form, "db")
    write_audformat_recordings(Path("db"))
    tables = [f"db/db.{name}.{form}" for name in ("emotion.train", "emotion.dev", "emotion.test")]
    assert "24 utterances in 6 recordings" in run(import_, *tables, "db/db.yaml", "data")
    run(extract, "data", "feats", "--upstream", "fbank")
    run(train, "data", "feats", "exp/one", *LINEAR)
    output = run(score, "exp")
    assert re.search(r"one +1 x 1 +100.00 ", output)
    assert "Protocol partition" in Path("exp/RESULTS.md").read_text()


@pytest.mark.slow
def test_a_kaldi_directory_with_segments_and_ark_features_goes_to_a_score_table(tmp_path, monkeypatch):
    """The emotion is the transcript. A feature is 1 for one emotion; the number of frames is that of 10 ms shifts."""
    monkeypatch.chdir(tmp_path)
    write_audformat_recordings(Path("kaldi"))
    speakers = ("ann", "bob", "cid", "dan", "eve", "fay")
    takes = [(speaker, take) for speaker in speakers for take in range(4)]
    files = {
        "wav.scp": [f"{speaker} sox kaldi/audio/{speaker}.wav -t wav - |" for speaker in speakers],
        "segments": [f"{speaker}-{take} {speaker} {take} {take + 1 if take < 3 else -1}" for speaker, take in takes],
        "utt2spk": [f"{speaker}-{take} {speaker}" for speaker, take in takes],
        "text": [f"{speaker}-{take} {('happy', 'sad')[take % 2]}" for speaker, take in takes],
    }
    for name, lines in files.items():
        Path("kaldi", name).write_text("".join(f"{line}\n" for line in lines))
    generator = np.random.default_rng(0)
    arrays = {}
    for speaker, take in takes:
        arrays[f"{speaker}-{take}"] = generator.normal((3 * (take % 2), 0, 0), size=(98, 3)).astype(np.float32)
    kaldiio.save_ark("kaldi/feats.ark", arrays, scp="kaldi/feats.scp", compression_method=2)
    assert "24 utterances in 6 recordings" in run(import_, "--kaldi", "kaldi", "data", "--column", "emotion=text")
    output = run(import_features, "data", "kaldi", "feats", "--name", "plp", "--frame-shift", 10)
    assert output.splitlines() == [
        "recordings: read, so that soctk-train can compare those of training and test",
        "feats: 24 utterances, 2352 frames of 3 values, 1 hidden state",
    ]
    data = datadir.read(Path("data"))
    digests = {utt: info.digest for utt, info in audio.check(data.clips).items()}
    assert FeatureStore.open(Path("feats")).recordings == digests
    assert len(set(digests.values())) == 24
    run(train, "data", "feats", "exp/one", *LINEAR, "--set", "frames.layer_norm=false")
    output = run(score, "exp")
    assert re.search(r"one +5 x 1 +100.00 ", output)


def test_names_of_features_are_words(tmp_path):
    (tmp_path / "npy").mkdir()
    for name in ("", "two words", "a/b", ".hidden"):
        arguments = [str(tmp_path), str(tmp_path / "npy"), str(tmp_path / "store"), "--name", name]
        result = CliRunner().invoke(import_features.main, arguments)
        assert result.exit_code == 2
        assert f"'{name}' is not a name without white space and slashes" in result.output


def test_a_table_of_a_spreadsheet_goes_to_a_data_directory(tmp_path):
    """Excel's CSV in a country with decimal commas: semicolons, times such as 0,5, and a byte-order mark."""
    lines = ["sep=;", "path;start;end;emotion;speaker"]
    for speaker in ("ann", "bob", "cid"):
        soundfile.write(tmp_path / f"{speaker}.wav", np.random.default_rng(len(lines)).normal(size=16000) * 0.1, 16000)
        lines += [f"{speaker}.wav;0,25;0,5;sad;{speaker}", f"{speaker}.wav;0,5;;calm;{speaker}"]
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "labels.csv").write_text("".join(f"{line}\r\n" for line in lines), encoding=encoding)
        run(import_, tmp_path / "labels.csv", tmp_path / encoding)
        data = datadir.read(tmp_path / encoding)
        assert sorted(data.seconds.values()) == [0.25] * 3 + [0.5] * 3
