import csv

import pytest

from soctk.errors import SoctkError
from soctk.scoring import published

TABLE = published.read(published.DEFAULT)
FEATURES = {"upstream": "hubert_base", "layers": [12], "num_layers": 13}
SETTINGS = {"protocol": "emobox", "pooling": {"mean": {}}, "frames": {"layers": "all"}, "features": FEATURES}


def test_scores_for_the_same_corpus_upstream_and_pooling_are_returned():
    rows = published.matching(TABLE, "ravdess", SETTINGS)
    assert rows["source"].str.partition(" ")[0].tolist() == ["EmoBox", "SOC"]
    assert rows["WA"].tolist() == [66.21, 65.24]
    assert rows["differs"].tolist() == ["", ""]
    assert len(published.matching(TABLE, "mini", SETTINGS)) == 0
    assert len(published.matching(TABLE, "ravdess", SETTINGS | {"pooling": {"mean": {}, "soc": {}}})) == 0


@pytest.mark.parametrize("name", ["hubert-base-ls960", "facebook/hubert-base-ls960", "HuBERT-base"])
def test_an_upstream_matches_by_its_name_on_the_hub(name):
    settings = SETTINGS | {"features": FEATURES | {"upstream": name}}
    assert len(published.matching(TABLE, "ravdess", settings)) == 2


def test_other_protocols_and_layers_are_listed_as_differences():
    features = FEATURES | {"layers": list(range(13))}
    settings = SETTINGS | {"protocol": "soctk", "features": features, "frames": {"layers": [4, 5]}}
    rows = published.matching(TABLE, "ravdess", settings)
    assert set(rows["differs"]) == {"protocol emobox, not soctk; layer last, not 4, 5"}
    last = settings | {"frames": {"layers": [12]}}
    assert set(published.matching(TABLE, "ravdess", last)["differs"]) == {"protocol emobox, not soctk"}


def test_use_of_recordings_of_the_test_speakers_is_listed_as_a_difference():
    rows = published.matching(TABLE, "ravdess", SETTINGS | {"recentre": {"by": "speaker"}})
    assert set(rows["differs"]) == {"no recordings of the test speakers, which this experiment uses"}
    assert set(published.matching(TABLE, "ravdess", SETTINGS | {"recentre": {"by": "none"}})["differs"]) == {""}


def test_a_score_that_is_not_a_number_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text(",".join(published.COLUMNS) + '\nme,ravdess,fbank,,last,mean,soctk,"54,2",,\n')
    with pytest.raises(SoctkError, match=r"p.csv: not a table of scores \(.*54,2"):
        published.read(tmp_path / "p.csv")


def test_the_published_table_equals_the_collected_scores(shared):
    with (shared / "emobox" / "published.csv").open() as file:
        collected = list(csv.DictReader(file))
    keys = ("corpus", "upstream", "pooling")
    ours = {(row["source"].partition(" ")[0], *(row[key] for key in keys)): row for _, row in TABLE.iterrows()}
    assert len(ours) == len(TABLE)
    for row in collected:
        found = ours[row["source"], *(row[key] for key in keys)]
        assert ["" if value != value else f"{value:.2f}" for value in found[["UA", "WA", "F1"]]] == [
            row[key] for key in ("UA", "WA", "F1")
        ]


def test_emoboxs_table_has_32_corpora_and_10_encoders():
    rows = TABLE[TABLE["source"].str.startswith("EmoBox")]
    assert rows.groupby("corpus")["upstream"].nunique().tolist() == [10] * 32
    assert rows[["WA", "UA", "F1"]].min().min() > 10
    assert rows[["WA", "UA", "F1"]].max().max() < 100
    assert (rows["WA"] - rows["UA"]).abs().median() < 1  # most of the corpora are balanced


@pytest.mark.parametrize(
    ("name", "corpus"),
    [("emobox-msppodcast", "msppodcast"), ("msp_podcast", "msppodcast"), ("emodb", "emodb"), ("emobox-esd", "esd")],
)
def test_a_corpus_matches_by_the_name_of_its_data_directory(name, corpus):
    rows = published.matching(TABLE, name, SETTINGS)
    assert set(rows["corpus"]) == {corpus}


def test_a_table_with_other_columns_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("source,WA\nme,99\n")
    with pytest.raises(SoctkError, match=r"p.csv: the columns are not source, corpus,"):
        published.read(tmp_path / "p.csv")
