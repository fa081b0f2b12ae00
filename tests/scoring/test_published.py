import csv

import pytest
from conftest import ROOT

from soctk.errors import SoctkError
from soctk.scoring import published

FIGURES = published.read(ROOT / "conf" / "published.csv")
FEATURES = {"upstream": "hubert_base", "layers": [12], "num_layers": 13}
SETTINGS = {"protocol": "emobox", "pooling": {"mean": {}}, "frames": {"layers": "all"}, "features": FEATURES}


def test_figures_for_the_same_corpus_upstream_and_pooling_are_found():
    found = published.matching(FIGURES, "ravdess", SETTINGS)
    assert found["source"].str.partition(" ")[0].tolist() == ["EmoBox", "SOC"]
    assert found["WA"].tolist() == [66.21, 65.24]
    assert found["differs"].tolist() == ["", ""]
    assert len(published.matching(FIGURES, "mini", SETTINGS)) == 0
    assert len(published.matching(FIGURES, "ravdess", SETTINGS | {"pooling": {"mean": {}, "soc": {}}})) == 0


@pytest.mark.parametrize("name", ["hubert-base-ls960", "facebook/hubert-base-ls960", "HuBERT-base"])
def test_an_upstream_is_known_by_its_name_on_the_hub(name):
    settings = SETTINGS | {"features": FEATURES | {"upstream": name}}
    assert len(published.matching(FIGURES, "ravdess", settings)) == 2


def test_a_protocol_and_a_layer_that_differ_are_told():
    features = FEATURES | {"layers": list(range(13))}
    settings = SETTINGS | {"protocol": "soctk", "features": features, "frames": {"layers": [4, 5]}}
    found = published.matching(FIGURES, "ravdess", settings)
    assert set(found["differs"]) == {"protocol emobox, not soctk; layer last, not 4, 5"}
    last = settings | {"frames": {"layers": [12]}}
    assert set(published.matching(FIGURES, "ravdess", last)["differs"]) == {"protocol emobox, not soctk"}


def test_that_the_experiment_takes_recordings_of_the_test_speakers_is_told():
    found = published.matching(FIGURES, "ravdess", SETTINGS | {"recentre": {"by": "speaker"}})
    assert set(found["differs"]) == {"without recordings of the test speakers, which it takes"}
    assert set(published.matching(FIGURES, "ravdess", SETTINGS | {"recentre": {"by": "none"}})["differs"]) == {""}


def test_a_figure_that_is_no_number_is_told(tmp_path):
    (tmp_path / "p.csv").write_text(",".join(published.COLUMNS) + '\nme,ravdess,fbank,,last,mean,soctk,"54,2",,\n')
    with pytest.raises(SoctkError, match=r"p.csv: not a table \(.*54,2"):
        published.read(tmp_path / "p.csv")


def test_the_figures_are_those_that_were_collected(shared):
    with (shared / "emobox" / "published.csv").open() as file:
        collected = list(csv.DictReader(file))
    for row, (_, ours) in zip(collected, FIGURES.iterrows(), strict=True):
        assert ours["source"].startswith(row["source"])
        assert [ours[key] for key in ("corpus", "upstream", "pooling")] == [
            row[key] for key in ("corpus", "upstream", "pooling")
        ]
        assert ["" if value != value else f"{value:.2f}" for value in ours[["UA", "WA", "F1"]]] == [
            row[key] for key in ("UA", "WA", "F1")
        ]


def test_a_table_of_other_columns_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("source,WA\nme,99\n")
    with pytest.raises(SoctkError, match=r"p.csv: the columns are not source, corpus,"):
        published.read(tmp_path / "p.csv")
