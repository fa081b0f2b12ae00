from pathlib import Path

import pytest
from small_corpus import make_rows, write_recordings

from soctk.corpus.importing import Account, build_corpus
from soctk.errors import SoctkError


def test_the_summary_is_an_equation():
    account = Account()
    account.read = {Path("a.csv"): 20, Path("b.csv"): 5}
    account.left_out.update({"blank": 3, "copies": 0, "without an emotion": 2})
    account.add_completing(Path("s.csv"), 7, 4, {"for other speakers": 3})
    account.note("Note: x")
    account.settle(20)
    assert account.summary(20) == [
        "rows: 20 in a.csv + 5 in b.csv = 20 utterances + 3 blank + 2 without an emotion",
        "rows: 7 in s.csv = 4 that complete utterances + 3 for other speakers",
        "Note: x",
    ]


def test_numbers_that_do_not_add_up_are_an_error():
    account = Account()
    account.read = {Path("a.csv"): 20}
    account.left_out["blank"] = 3
    with pytest.raises(SoctkError, match=r"the import does not add up: 20 rows are not 16 used rows \+ 3 blank\n"):
        account.settle(16)
    with pytest.raises(SoctkError, match=r"s\.csv does not add up: 7 rows are not 4 used rows\nThis is an error in"):
        account.add_completing(Path("s.csv"), 7, 4, {"for other speakers": 0})


def test_a_row_that_is_lost_on_the_way_to_the_corpus_is_an_error_and_no_folds_are_written(tmp_path):
    write_recordings(tmp_path)
    account = Account()
    account.read = {Path("a.csv"): 18}
    with pytest.raises(SoctkError, match="the import does not add up: 18 rows are not 17 used rows"):
        build_corpus(make_rows()[1:], tmp_path, {}, tmp_path / "folds.yaml", account=account)
    assert not (tmp_path / "folds.yaml").exists()
