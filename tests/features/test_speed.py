from soctk.features.speed import copy_id, with_copies


def test_the_id_of_a_copy_ends_in_its_speed():
    assert [copy_id("utt", speed) for speed in (0.9, 1.25, 2.0)] == ["utt-sp0.9", "utt-sp1.25", "utt-sp2"]


def test_at_speed_1_the_id_is_that_of_the_utterance():
    assert copy_id("utt", 1) == copy_id("utt", 1.0) == "utt"


def test_copies_follow_the_utterances_speed_by_speed():
    assert with_copies(["a", "b"], [0.9, 1.1]) == ["a", "b", "a-sp0.9", "b-sp0.9", "a-sp1.1", "b-sp1.1"]
    assert with_copies(["a", "b"], []) == ["a", "b"]
