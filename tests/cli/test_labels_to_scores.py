"""From a table to scores for labels other than one emotion, by the commands alone, on generated tones."""

import csv
import json

import pytest
from click.testing import CliRunner
from conftest import write_corpus

from soctk.cli import extract, import_, score, sweep, train

NUMBERS = {"calm": ("2.5", "4", "3.25"), "angry": ("6.5", "1.5", "6"), "sad": ("1.75", "2", "2.5")}
PARTS = ("Train", "Train", "Development", "Test1", "Test1", "Test2")


def call(command, *arguments) -> str:
    result = CliRunner().invoke(command, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with recordings, and the features of all."""
    folder = tmp_path_factory.mktemp("labels")
    corpus = write_corpus(folder)
    call(extract.main, folder / "data", folder / "feats", "--upstream", "mfcc")
    return folder, corpus


def write_table(path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def msp(home):
    """The same folder, with a corpus that is imported from a table like that of MSP-Podcast."""
    folder, corpus = home
    rows = []
    for utt, emotion in corpus.emotion.items():
        act, val, dom = NUMBERS[emotion]
        rows.append(
            {"FileName": corpus.wav[utt].name, "EmoClass": emotion[0].upper(), "EmoAct": act, "EmoVal": val,
             "EmoDom": dom, "SpkrID": corpus.speaker[utt], "Split_Set": PARTS[int(corpus.speaker[utt][-1])]}
        )  # fmt: skip
    write_table(folder / "labels_consensus.csv", rows)
    columns = ("path=FileName", "speaker=SpkrID", "split=Split_Set", "emotion=EmoClass")
    options = [word for column in columns for word in ("--column", column)]
    audio = corpus.wav["spk0-sad-0"].parent
    text = call(import_.main, folder / "labels_consensus.csv", folder / "msp", "--audio", audio, *options)
    assert "arousal 1.75 to 6.5; valence 1.5 to 4; dominance 2.5 to 6" in text
    call(extract.main, folder / "msp", folder / "msp-feats", "--upstream", "mfcc")
    return folder


@pytest.mark.slow
def test_a_table_like_that_of_msp_podcast_has_three_dimensions_and_two_tests(msp):
    folder = msp
    exp = folder / "exp"
    for name, target, head in (
        ("linear", "arousal+valence+dominance", "linear"),
        ("mlp", "arousal+valence+dominance", "mlp"),
        ("emotion", "emotion", "linear"),
    ):
        call(train.main, folder / "msp", folder / "msp-feats", exp / name, "--target", target, "--head", head,
             "--pooling", "mean")  # fmt: skip
    call(score.main, exp, "--compare")
    experiments = json.loads((exp / "scores.json").read_text())["experiments"]
    assert set(experiments) == {
        f"{name}/{test}" for name in ("linear", "mlp", "emotion") for test in ("test1", "test2")
    }
    pooled = experiments["linear/test1"]["pooled"]
    assert set(pooled) == {
        f"{metric}_{name}" for metric in ("CCC", "r", "RMSE") for name in ("arousal", "valence", "dominance")
    }
    assert pooled["CCC_arousal"]["value"] > 0.4
    text = (exp / "RESULTS.md").read_text()
    assert "| linear/test1: dominance" in text
    assert "CCC of valence" in text


@pytest.mark.slow
def test_votes_are_trained_on_and_scored_as_distributions(home):
    folder, corpus = home
    others = {"calm": "sad", "angry": "calm", "sad": "calm"}
    rows = [
        {"path": corpus.wav[utt], "speaker": corpus.speaker[utt], "r1": emotion, "r2": emotion,
         "r3": others[emotion] if i % 2 else emotion}
        for i, (utt, emotion) in enumerate(corpus.emotion.items())
    ]  # fmt: skip
    write_table(folder / "votes.csv", rows)
    columns = [word for name in ("r1", "r2", "r3") for word in ("--column", f"label={name}")]
    call(import_.main, folder / "votes.csv", folder / "votes", "--num-folds", "3", *columns)
    call(extract.main, folder / "votes", folder / "votes-feats", "--upstream", "mfcc")
    for head in ("linear", "mlp"):
        call(train.main, folder / "votes", folder / "votes-feats", folder / "soft" / head, "--target", "distribution",
             "--head", head, "--pooling", "mean")  # fmt: skip
    call(score.main, folder / "soft", "--compare")
    experiments = json.loads((folder / "soft" / "scores.json").read_text())["experiments"]
    pooled = experiments["linear"]["pooled"]
    assert list(pooled)[:4] == ["WA", "UA", "F1", "log_loss"]
    assert 0 < pooled["JSD"]["low"] < pooled["JSD"]["value"] < 0.6
    assert pooled["cross_entropy"]["value"] > 0.3  # at least the entropy of the votes
    header = (folder / "soft" / "linear" / "fold1" / "seed1" / "predictions.tsv").read_text().splitlines()[0]
    assert header.split("\t")[:5] == ["utt", "spk", "ref", "hyp", "dist"]


@pytest.mark.slow
def test_a_sweep_compares_dimensions_by_ccc(msp):
    text = call(sweep.main, msp / "msp", msp / "msp-feats", msp / "sweep", "--target", "arousal", "--head", "linear",
                "--grid", "pooling=[mean, stats]", "--nested")  # fmt: skip
    assert "\n  test1: CCC of arousal " in text
    header, _, *rows = text[text.index("point ") :].splitlines()
    assert header.split() == ["point", "valid_CCC", "valid_loss", "runs"]
    scores = [float(row.split()[1]) for row in rows[:2]]
    assert scores == sorted(scores, reverse=True)
