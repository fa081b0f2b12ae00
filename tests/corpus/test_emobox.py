import csv
import dataclasses
import gzip
import json
from collections import Counter

import numpy as np
import pytest
import soundfile
from conftest import with_segments, write_corpus

from soctk.corpus import datadir, emobox, importing
from soctk.errors import SoctkError


def test_an_exported_corpus_can_be_imported(tmp_path):
    data = write_corpus(tmp_path)
    emobox.write(tmp_path / "emobox" / "mine", "mine", data)
    rows = importing.read([tmp_path / "emobox" / "mine"])
    labels = dict.fromkeys(data.emotions)
    again = importing.build_corpus(rows, tmp_path, {name: name for name in labels}, tmp_path / "folds.yaml")
    datadir.write(tmp_path / "again", again)
    first, second = datadir.read(tmp_path / "data"), datadir.read(tmp_path / "again")
    assert (first.speaker, first.emotion, first.fold, first.gender, first.wav, first.emotions) == (
        second.speaker,
        second.emotion,
        second.fold,
        second.gender,
        second.wav,
        second.emotions,
    )


def test_files_are_written_in_emoboxs_layout(tmp_path):
    data = write_corpus(tmp_path)
    emobox.write(tmp_path / "mine", "mine", data)
    lines = [json.loads(line) for line in (tmp_path / "mine" / "mine.jsonl").read_text().splitlines()]
    first = lines[0]
    assert first == {
        "key": "spk0-angry-0",
        "dataset": "mine",
        "wav": str(data.wav["spk0-angry-0"]),
        "type": "raw",
        "sample_rate": 16000,
        "num_frame": round(first["length"] * 16000),
        "task": "category",
        "length": pytest.approx(data.seconds["spk0-angry-0"]),
        "emo": "angry",
        "channel": 1,
        "spk": "spk0",
        "gender": "m",
    }
    for fold in (1, 2, 3):
        parts = {
            part: [
                json.loads(line)["spk"]
                for line in (tmp_path / "mine" / f"fold_{fold}" / f"mine_{part}_fold_{fold}.jsonl").open()
            ]
            for part in ("train", "test")
        }
        assert {data.fold[speaker] for speaker in parts["test"]} == {fold}
        assert fold not in {data.fold[speaker] for speaker in parts["train"]}
        assert len(parts["train"]) + len(parts["test"]) == 36
    assert json.loads((tmp_path / "mine" / "label_map.json").read_text()) == {e: e for e in data.emotions}


def write_emobox(folder, rows: list[tuple[str, int, str]]) -> None:
    """Write rows of key, fold and label as in EmoBox's own files: without speakers, with the labels of the corpus."""
    for fold in {fold for _, fold, _ in rows}:
        (folder / f"fold_{fold}").mkdir(parents=True)
        for part in ("train", "test"):
            lines = [
                json.dumps({"key": key, "wav": f"downloads/c/{key}.wav", "type": "raw", "emo": emo, "channel": 1})
                for key, its_fold, emo in rows
                if (its_fold == fold) == (part == "test")
            ]
            (folder / f"fold_{fold}" / f"c_{part}_fold_{fold}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "label_map.json").write_text('{"p": "Fear", "c": "Angry"}')


def test_emoboxs_own_files_give_classes_and_folds(tmp_path):
    write_emobox(tmp_path / "data" / "c", [("a-1", 1, "p"), ("a-2", 1, "c"), ("b-1", 2, "p")])
    assert emobox.is_emobox(tmp_path / "data" / "c")
    rows = importing.read([tmp_path / "data" / "c"], "{speaker}-{n}.wav")
    assert [(row["speaker"], row["utterance_fold"], row["emotion"]) for row in rows] == [
        ("a", "1", "Fear"),
        ("a", "1", "Angry"),
        ("b", "2", "Fear"),
    ]
    assert importing.audio_root(tmp_path / "data" / "c") == tmp_path


def test_the_folds_of_ravdess_are_those_of_the_recipe(tmp_path, shared):
    with gzip.open(shared / "emobox" / "ravdess_utterances.tsv.gz", "rt") as lines:
        rows = [(row[0], int(row[1]), "p") for row in csv.reader(lines, delimiter="\t")]
    write_emobox(tmp_path / "data" / "ravdess", rows)
    pattern = "ravdess-03-01-{emotion}-{intensity}-{statement}-{repetition}-{speaker}.wav"
    read = importing.read([tmp_path / "data" / "ravdess"], pattern)
    assert len(read) == 1440
    assert Counter((row["speaker"], row["utterance_fold"]) for row in read)["20", "1"] == 60


def test_an_utterance_in_two_test_folds_is_refused(tmp_path):
    write_emobox(tmp_path / "c", [("a-1", 1, "p"), ("a-1", 2, "p")])
    with pytest.raises(SoctkError, match="given twice, in two folds, or with contradictions\n  a-1: folds 1 and 2"):
        emobox.read(tmp_path / "c")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("label_map.json", b"p: Fear", "not valid JSON: "),
        ("label_map.json", b'["Fear"]', "not a JSON object\nCorrect"),
        (
            "fold_1/c_test_fold_1.jsonl",
            '{"key": "\xe4"}\n'.encode("latin-1"),
            "line 1 is not a JSON object in UTF-8 ('utf-8' codec",
        ),
        ("fold_1/c_test_fold_1.jsonl", b'{"wav": "x"}\n', "the 'key' of line 1 is missing or not text\nWrite the"),
        ("c.jsonl", b'{"key": ["x"]}\n', "the 'key' of line 1 is missing or not text\nWrite the"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, file, content, message):
    write_emobox(tmp_path, [("a-1", 1, "p")])
    (tmp_path / file).write_bytes(content)
    with pytest.raises(SoctkError) as error:
        emobox.read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / file}: {message}")


def test_a_label_that_is_not_text_is_refused(tmp_path):
    write_emobox(tmp_path, [("a-1", 1, ["p", "c"])])
    with pytest.raises(SoctkError, match=r"the emotion \['p', 'c'\] is neither text nor a number"):
        importing.read([tmp_path], "{speaker}-{n}.wav")


def test_label_dict_json_is_read_like_label_map_json(tmp_path):
    write_emobox(tmp_path, [("a-1", 1, "p"), ("b-1", 2, "c")])
    (tmp_path / "label_map.json").rename(tmp_path / "label_dict.json")
    assert [row["emo"] for row in emobox.read(tmp_path)] == ["Fear", "Angry"]
    (tmp_path / "label_map.json").write_text('{"p": "Sad"}')
    with pytest.raises(SoctkError, match=r"label_map\.json and label_dict\.json differ\nRemove one of them"):
        emobox.read(tmp_path)


def test_labels_that_the_label_map_lacks_and_files_that_are_not_read_are_told(tmp_path):
    write_emobox(tmp_path, [("a-1", 1, "p"), ("b-1", 2, "neutral"), ("c-1", 2, "Fear")])
    (tmp_path / "fold_1" / "c_test_fold1.jsonl").touch()
    told = []
    assert [row["emo"] for row in emobox.read(tmp_path, told.append)] == ["Fear", "neutral", "Fear"]
    assert told == [
        f"Note: {tmp_path}: 1 file is not read, such as fold_1/c_test_fold1.jsonl: their names are not "
        "fold_K/NAME_PART_fold_K.jsonl",
        f"Note: {tmp_path}: its label map lacks these labels, which stay as they are: neutral (1)",
    ]


def test_the_only_fold_of_a_corpus_is_a_partition(tmp_path):
    write_emobox(tmp_path / "data" / "c", [("a-1", 1, "p"), ("b-1", 0, "c")])
    for file in (tmp_path / "data" / "c" / "fold_0").iterdir():
        file.unlink()
    assert [(row["key"], row["fold"]) for row in emobox.read(tmp_path / "data" / "c")] == [
        ("a-1", "test"),
        ("b-1", "train"),
    ]


def test_contradictions_between_the_files_are_refused(tmp_path):
    write_emobox(tmp_path, [("a-1", 1, "p"), ("b-1", 2, "c")])
    (tmp_path / "c.jsonl").write_text('{"key": "a-1", "wav": "downloads/c/a-1.wav", "emo": "c"}\n')
    with pytest.raises(SoctkError, match=r"a-1: emo c and p in fold_1/c_test_fold_1\.jsonl"):
        emobox.read(tmp_path)
    (tmp_path / "c.jsonl").write_text(2 * '{"key": "z-1", "wav": "z", "emo": "c"}\n')
    with pytest.raises(SoctkError, match=r"z-1: twice in c\.jsonl"):
        emobox.read(tmp_path)


def test_the_channel_is_exported_and_another_one_is_told(tmp_path):
    data = dataclasses.replace(write_corpus(tmp_path), channel="2")
    for utt, path in data.wav.items():
        soundfile.write(path, np.random.default_rng(len(utt)).uniform(-0.1, 0.1, (1600, 2)), 16000)
    emobox.write(tmp_path / "mine", "mine", data)
    told = []
    assert {row["channel"] for row in emobox.read(tmp_path / "mine", told.append)} == {2}
    count = len(data.wav)
    assert told == [
        f"Note: {tmp_path / 'mine'}: {count} utterances with channel 2; soctk uses the channel of the option --channel"
    ]


def test_a_partition_is_one_fold_with_validation_data(tmp_path):
    corpus = write_corpus(tmp_path)
    part = {1: "train", 2: "dev", 3: "test"}
    data = dataclasses.replace(
        corpus, fold={}, split={utt: part[corpus.fold[name]] for utt, name in corpus.speaker.items()}
    )
    emobox.write(tmp_path / "mine", "mine", data)
    files = sorted(path.name for path in (tmp_path / "mine" / "fold_1").iterdir())
    assert files == ["mine_test_fold_1.jsonl", "mine_train_fold_1.jsonl", "mine_valid_fold_1.jsonl"]
    found = {row["key"]: row["fold"] for row in emobox.read(tmp_path / "mine")}
    assert found == {utt: "valid" if name == "dev" else name for utt, name in data.split.items()}


def test_segments_cannot_be_exported(tmp_path):
    data = with_segments(tmp_path / "segmented", write_corpus(tmp_path))
    with pytest.raises(SoctkError, match="are segments, and EmoBox's metadata describe whole recordings"):
        emobox.write(tmp_path / "mine", "mine", data)
    assert not (tmp_path / "mine").exists()
