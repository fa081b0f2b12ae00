from soctk.features.copies import Copy, list_copies, with_copies


def test_the_id_of_a_copy_ends_in_its_speed_or_augmentation():
    assert [Copy(speed=speed).of("utt") for speed in (0.9, 1.25, 2.0)] == ["utt-sp0.9", "utt-sp1.25", "utt-sp2"]
    assert Copy(augmentation="noise").of("utt") == "utt-aug-noise"


def test_at_speed_1_the_id_is_that_of_the_utterance():
    assert Copy().of("utt") == Copy(speed=1.0).of("utt") == "utt"


def test_the_copies_at_speeds_come_before_the_augmented_ones():
    assert list_copies([0.9], ["noise", "gain"]) == [Copy(), Copy(0.9), Copy(1, "noise"), Copy(1, "gain")]
    assert list_copies() == [Copy()]


def test_copies_follow_the_utterances_one_after_the_other():
    assert with_copies(["a", "b"], [0.9, 1.1]) == ["a", "b", "a-sp0.9", "b-sp0.9", "a-sp1.1", "b-sp1.1"]
    assert with_copies(["a", "b"], [0.9], ["gain"]) == ["a", "b", "a-sp0.9", "b-sp0.9", "a-aug-gain", "b-aug-gain"]
    assert with_copies(["a", "b"]) == ["a", "b"]
