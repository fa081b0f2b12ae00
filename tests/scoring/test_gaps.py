import dataclasses

import numpy as np
import pytest
from conftest import write_run

from soctk.corpus.datadir import DataDir
from soctk.scoring import predictions, scales, subgroups
from soctk.scoring.score import score

GENERATOR = np.random.default_rng(0)
# 8 women and 6 men, w0 to w7 and m0 to m5, have 6 to 14 utterances of two classes each.
COUNTS = {f"{sex}{i}": int(GENERATOR.integers(6, 15)) for sex, n in (("w", 8), ("m", 6)) for i in range(n)}
UTTERANCES = [f"{name}-{i:02}" for name, count in sorted(COUNTS.items()) for i in range(count)]
RIGHT = {utt: bool(GENERATOR.random() < (0.8 if utt[0] == "w" else 0.55)) for utt in UTTERANCES}
DATA = DataDir(
    wav=dict.fromkeys(UTTERANCES),
    speaker={utt: utt[:2] for utt in UTTERANCES},
    emotion={utt: "ab"[i % 2] for i, utt in enumerate(UTTERANCES)},
    seconds=dict.fromkeys(UTTERANCES, 1.0),
    gender={name: "f" if name[0] == "w" else "m" for name in COUNTS},
    fold=dict.fromkeys(COUNTS, 1),
    emotions=("a", "b"),
)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory) -> predictions.Predictions:
    path = tmp_path_factory.mktemp("exp")
    pairs = [DATA.emotion[utt] + (DATA.emotion[utt] if RIGHT[utt] else {"a": "b", "b": "a"}[DATA.emotion[utt]])
             for utt in UTTERANCES]  # fmt: skip
    write_run(path / "m" / "fold1" / "seed1", " ".join(pairs), UTTERANCES, "ab")
    (runs,) = predictions.find(path).values()
    return predictions.read(runs)


def with_values(name: str, values: dict[str, str]) -> DataDir:
    return dataclasses.replace(DATA, gender={}, extra={name: values})


def accuracy(utterances: list[str]) -> float:
    return 100 * float(np.mean([RIGHT[utt] for utt in utterances]))


def resample(groups: list[list[str]], are_paired: bool) -> np.ndarray:
    """Return differences of WA for 4,000 draws of speakers: for each group its own, or the same for both."""
    generator, result = np.random.default_rng(1), []
    sums = [
        {name: (sum(RIGHT[u] for u in group if u[:2] == name), sum(u[:2] == name for u in group))
         for name in {utt[:2] for utt in group}}
        for group in groups
    ]  # fmt: skip
    for _ in range(4000):
        drawn = [generator.choice(sorted(of_group), len(of_group)) for of_group in sums]
        if are_paired:
            drawn = [drawn[0], drawn[0]]
        right = [
            np.sum([of_group[name] for name in names], axis=0) for of_group, names in zip(sums, drawn, strict=True)
        ]
        result.append(100 * (right[0][0] / right[0][1] - right[1][0] / right[1][1]))
    return np.array(result)


def test_the_gap_between_women_and_men_has_the_interval_of_an_unpaired_bootstrap(predicted):
    gap = next(gap for gap in subgroups.gaps(predicted, DATA) if gap.metric == "WA")
    women, men = ([utt for utt in UTTERANCES if utt[0] == sex] for sex in "wm")
    assert (gap.attribute, gap.groups, gap.highest, gap.lowest) == ("sex", 2, "female", "male")
    assert gap.difference.value == pytest.approx(accuracy(women) - accuracy(men))
    # The quantile of Student's t with about 13 degrees of freedom is 2.16. The jackknife divides by S - 1 speakers, the
    # bootstrap by S, which is 8% less for 8 and 6 speakers; and one utterance adds to the margin.
    error = (gap.difference.high - gap.difference.value) / 2.16
    assert 1.05 < error / resample([women, men], are_paired=False).std() < 1.25


def test_groups_of_the_same_speakers_have_the_interval_of_a_paired_bootstrap(predicted):
    """Odd utterances of a speaker vary with the even ones, so the interval is narrower than an unpaired one."""
    odd = {utt: "odd" if int(utt[-1]) % 2 else "even" for utt in UTTERANCES}
    gap = next(gap for gap in subgroups.gaps(predicted, with_values("take", odd)) if gap.metric == "WA")
    groups = [[utt for utt in UTTERANCES if odd[utt] == value] for value in (gap.highest, gap.lowest)]
    assert gap.difference.value == pytest.approx(accuracy(groups[0]) - accuracy(groups[1]))
    error = (gap.difference.high - gap.difference.value) / 2.16
    assert error == pytest.approx(resample(groups, are_paired=True).std(), rel=0.15)


def test_the_best_and_the_worst_of_several_groups_are_compared(predicted):
    values = {utt: "xyz"[min(2, sum(RIGHT[u] for u in UTTERANCES if u[:2] == utt[:2]) // 4)] for utt in UTTERANCES}
    values |= {utt: "xyz"[i % 3] for i, utt in enumerate(UTTERANCES) if RIGHT[utt]}
    gap = next(gap for gap in subgroups.gaps(predicted, with_values("room", values)) if gap.metric == "WA")
    scores = {value: accuracy([utt for utt in UTTERANCES if values[utt] == value]) for value in "xyz"}
    assert gap.groups == 3
    assert (gap.highest, gap.lowest) == (max(scores, key=scores.get), min(scores, key=scores.get))


def test_small_unknown_and_many_groups_have_no_gap(predicted):
    few = {utt: "few" if utt[:2] in ("m0", "m1", "m2", "m3") else "many" for utt in UTTERANCES}
    assert subgroups.gaps(predicted, with_values("room", few)) == []
    unknown = {utt: "unknown" if utt[0] == "m" else "known" for utt in UTTERANCES}
    assert subgroups.gaps(predicted, with_values("room", unknown)) == []
    assert subgroups.gaps(predicted, with_values("text", {utt: utt[-2:] for utt in UTTERANCES})) == []
    assert subgroups.gaps(predicted, None) == []


def test_groups_may_have_different_classes(predicted):
    room = {utt: "x" if DATA.emotion[utt] == "a" else "xy"[int(utt[-1]) % 2] for utt in UTTERANCES}
    assert {gap.metric for gap in subgroups.gaps(predicted, with_values("room", room))} == {"WA", "UA"}


def test_ages_in_years_are_grouped(predicted):
    ages = dict(
        zip(COUNTS, ["17", "18", "29", "29.9", "30", "44", "45", "59", "60", "80", "x", *["25"] * 3], strict=True)
    )
    parts = subgroups.subgroups(predicted, with_values("age", {utt: ages[utt[:2]] for utt in UTTERANCES}))
    assert {(p.value, p.speakers) for p in parts if p.attribute == "age"} == {
        ("1: under 18", 1), ("2: 18 to 29", 6), ("3: 30 to 44", 2), ("4: 45 to 59", 2), ("5: 60 or more", 2),
        ("unknown", 1),
    }  # fmt: skip
    words = subgroups.subgroups(predicted, with_values("age", dict.fromkeys(UTTERANCES, "young")))
    assert [p.value for p in words if p.attribute == "age"] == ["young"]


def test_dimensions_have_a_gap_of_ccc(tmp_path):
    generator = np.random.default_rng(2)
    rows = []
    for utt in UTTERANCES:
        label = generator.normal()
        rows.append(f"{utt}\t{utt[:2]}\t{label:.6f}\t{label + (0.3 if utt[0] == 'w' else 1) * generator.normal():.6f}")
    run = tmp_path / "m" / "fold1" / "seed1"
    run.mkdir(parents=True)
    (run / "predictions.tsv").write_text("\n".join(["utt\tspk\tref_arousal\thyp_arousal", *rows]) + "\n")
    (runs,) = predictions.find(tmp_path).values()
    (gap,) = subgroups.gaps(predictions.read(runs), DATA)
    assert (gap.metric, gap.highest, gap.lowest) == ("CCC_arousal", "female", "male")
    assert 0 < gap.difference.low < gap.difference.value < gap.difference.high


def test_a_statistic_among_more_speakers_keeps_its_value_and_its_error(predicted):
    (group,) = scales.groups(predicted)
    for statistic in (group.statistics["WA"], group.statistics["UA"]):
        more = statistic.among(np.arange(0, 28, 2), 28)
        assert more.speakers == 28
        assert more.value() == pytest.approx(statistic.value())
        assert more.standard_error() == pytest.approx(statistic.standard_error() * (27 / 28 / (13 / 14)) ** 0.5)
        assert more.quantile() == pytest.approx(statistic.quantile())


def test_gaps_are_in_the_scores(predicted, tmp_path):
    (experiment,) = score([predicted.path.parent])
    assert experiment.as_dict()["gaps"] == []
