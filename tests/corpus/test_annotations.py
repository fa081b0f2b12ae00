"""Data directories with dimensions and distributions: utt2arousal, utt2valence, utt2dominance and utt2dist."""

import dataclasses
import math

import pytest
from conftest import write_corpus
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import audio, datadir, emobox, kaldi, quick_checks
from soctk.corpus.annotations import format_distribution, parse_distribution
from soctk.errors import SoctkError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def numbers(corpus, start: float = 1.0) -> dict[str, float]:
    return {utt: start + i / 8 for i, utt in enumerate(corpus.utterances)}


def with_shares(corpus) -> datadir.DataDir:
    """Return the corpus with the share 0.5 for the emotion of each utterance, and 0.3 and 0.2 for the others."""
    order = {name: [name, *(other for other in corpus.emotions if other != name)] for name in corpus.emotions}
    shares = {
        utt: tuple((0.5, 0.3, 0.2)[order[emotion].index(name)] for name in corpus.emotions)
        for utt, emotion in corpus.emotion.items()
    }
    return dataclasses.replace(corpus, distribution=shares)


def test_dimensions_and_distributions_are_written_and_read(tmp_path, corpus):
    labelled = dataclasses.replace(
        with_shares(corpus), dimensions={"arousal": numbers(corpus), "valence": numbers(corpus, -3)}
    )
    datadir.write(tmp_path, labelled)
    assert (tmp_path / "utt2arousal").read_text().startswith("spk0-angry-0 1.0\nspk0-angry-1 1.125\n")
    assert (tmp_path / "utt2dist").read_text().startswith("spk0-angry-0 0.300000 0.500000 0.200000\n")
    found = datadir.read(tmp_path)
    assert found.dimensions == labelled.dimensions
    assert list(found.dimensions) == ["arousal", "valence"]
    assert found.distribution.keys() == labelled.distribution.keys()
    for utt, shares in found.distribution.items():
        assert shares == pytest.approx(labelled.distribution[utt])
        assert sum(shares) == pytest.approx(1, abs=1e-12)
    assert found.extra == {}
    summary = datadir.summary(found)
    assert summary.endswith("; calm 12, angry 12, sad 12; arousal 1 to 5.375; valence -3 to 1.375")


def test_a_corpus_of_dimensions_alone_has_no_emotions(tmp_path, corpus):
    alone = dataclasses.replace(corpus, emotion={}, emotions=(), dimensions={"dominance": numbers(corpus)})
    datadir.write(tmp_path, alone)
    assert not (tmp_path / "utt2emo").exists() and not (tmp_path / "emotions").exists()
    found = datadir.read(tmp_path)
    assert (found.emotion, found.emotions) == ({}, ())
    assert found.strata == dict.fromkeys(corpus.utterances, "")
    assert datadir.summary(found).endswith("3 folds; dominance 1 to 5.375")


def test_the_checksum_follows_the_labels(corpus):
    shares, values = with_shares(corpus), numbers(corpus)
    first = dataclasses.replace(corpus, dimensions={"arousal": values})
    other = dataclasses.replace(corpus, dimensions={"arousal": values | {corpus.utterances[0]: 9.0}})
    assert len({data.checksum() for data in (corpus, shares, first, other)}) == 4


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("utt2arousal", "nan", "utt2arousal line 1: 'spk0-angry-0 nan' is not an id, a space and a number"),
        ("utt2arousal", "high", "utt2arousal line 1: 'spk0-angry-0 high' is not an id, a space and a number"),
        ("utt2dist", "0.5 0.5", "utt2dist: spk0-angry-0 has 2 probabilities, and the file emotions has 3"),
        ("utt2dist", "0.5 0.4 0", "utt2dist line 1: 'spk0-angry-0 0.5 0.4 0' is not an id, a space and a probability"),
        ("utt2dist", "-0.5 0.5 1", "is not an id, a space and a probability of each emotion, with the sum 1"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, corpus, file, line, message):
    datadir.write(tmp_path, dataclasses.replace(with_shares(corpus), dimensions={"arousal": numbers(corpus)}))
    rows = (tmp_path / file).read_text().splitlines()
    (tmp_path / file).write_text("\n".join([f"spk0-angry-0 {line}", *rows[1:]]) + "\n")
    with pytest.raises(SoctkError) as error:
        datadir.read(tmp_path)
    assert message in str(error.value)


def test_a_corpus_needs_emotions_or_a_dimension(tmp_path, corpus):
    with pytest.raises(SoctkError, match="utt2emo: no labels; write this file, or one of utt2arousal, utt2"):
        datadir.write(tmp_path, dataclasses.replace(corpus, emotion={}, emotions=()))
    datadir.write(tmp_path, corpus)
    (tmp_path / "utt2emo").unlink()
    with pytest.raises(SoctkError, match="not a data directory: it has no utt2emo\n"):
        datadir.read(tmp_path)


def test_dimensions_of_other_utterances_are_refused(tmp_path, corpus):
    values = dict(list(numbers(corpus).items())[1:])
    with pytest.raises(SoctkError, match=r"utt2valence: 1 id of wav\.scp missing, such as spk0-angry-0"):
        datadir.write(tmp_path, dataclasses.replace(corpus, dimensions={"valence": values}))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9).filter(any))
def test_a_distribution_of_votes_survives_its_text(votes):
    shares = [vote / sum(votes) for vote in votes]
    again = parse_distribution(format_distribution(shares))
    assert again == pytest.approx(shares, abs=1e-5)
    assert math.isclose(sum(again), 1)


def test_checks_and_exports_of_a_corpus_of_dimensions_alone(tmp_path, corpus):
    alone = dataclasses.replace(corpus, emotion={}, emotions=(), dimensions={"arousal": numbers(corpus)})
    infos = audio.check(corpus.clips)
    same = infos | {"spk3-sad-0": infos["spk0-sad-0"]}  # both are in fold 1
    (note,) = quick_checks.notes(alone, same)
    assert note.startswith("Note: the same recording by several speakers of one fold: spk0-sad-0 = spk3-sad-0. ")
    with pytest.raises(SoctkError, match="the corpus has no emotions, and EmoBox's metadata need them"):
        emobox.write(tmp_path / "emobox", "x", alone)
    kaldi.write(tmp_path / "kaldi", alone)
    assert datadir.read(tmp_path / "kaldi").dimensions == alone.dimensions
