"""The example corpora of README.md and docs/own-corpus.md, in each form that the pages describe."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import soundfile

ACTORS = {"mara": "female", "otto": "male", "Ida Lee": "female", "finn": "male", "0042": "female", "lou": "male"}
MOODS = ("cheerful", "gloomy", "plain", "unclear")


def write_moods(home: Path) -> None:
    """Write recordings, tables and metadata into a home directory; the frequency of a tone depends on the mood."""
    moods, emobox = home / "moods", home / "EmoBox"
    generator = np.random.default_rng(0)
    rows, lines = [], []
    for actor, sex in ACTORS.items():
        for index, mood in enumerate(MOODS):
            for take in range(1, 4):
                name = f"{actor}_{mood}_{take:04}.wav"
                tone = np.sin(np.arange(6400) * 0.1 * (1 + index)) * np.linspace(0.2, 1, 6400)
                samples = 0.05 * generator.normal(size=6400) + 0.4 * tone
                clip = f"clips/k7_{len(rows) + 1:04}.wav"
                places = [clip, f"named/{name}", f"sorted/{actor}/{mood}/{take}.wav", f"db/audio/{name}"]
                for path in [*(moods / place for place in places), emobox / "downloads" / "moods" / name]:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(path, samples, 16000)
                rows.append({"clip": clip, "mood": mood, "actor": actor, "gender": sex, "file": f"audio/{name}"})
                lines.append({"key": name, "wav": f"downloads/moods/{name}", "emo": mood, "channel": 1})
    write_csv(moods / "labels.csv", rows, {name: name for name in ("clip", "mood", "actor", "gender")})
    write_csv(moods / "db" / "db.emotion.csv", rows, {"file": "file", "emotion": "mood"})
    write_csv(moods / "db" / "db.files.csv", rows, {"file": "file", "speaker": "actor"})
    speakers = "".join(f"      '{actor}': {{gender: {sex}}}\n" for actor, sex in ACTORS.items())
    (moods / "db" / "db.yaml").write_text(f"schemes:\n  speaker:\n    dtype: str\n    labels:\n{speakers}")
    write_kaldi(moods / "kaldi", rows)
    (home / "corpus").mkdir()
    (home / "corpus" / "clips").symlink_to(moods / "clips")
    write_csv(home / "corpus" / "labels.csv", rows, {"path": "clip", "emotion": "mood", "speaker": "actor"})
    for fold in (1, 2, 3):
        file = emobox / "data" / "moods" / f"fold_{fold}" / f"moods_test_fold_{fold}.jsonl"
        file.parent.mkdir(parents=True)
        test = [line for line in lines if list(ACTORS).index(line["key"].split("_")[0]) % 3 + 1 == fold]
        file.write_text("".join(json.dumps(line) + "\n" for line in test))


def write_kaldi(folder: Path, rows: list[dict]) -> None:
    """Write a data directory of Kaldi; its file utt2mood has the labels."""
    folder.mkdir()
    lines: dict[str, list[str]] = {"wav.scp": [], "utt2spk": [], "utt2mood": []}
    for row in rows:
        speaker = row["actor"].replace(" ", "_")
        utt = f"{speaker}-{Path(row['clip']).stem}"
        lines["wav.scp"].append(f"{utt} sox {shlex.quote(str(folder.parent / row['clip']))} -t wav - |")
        lines["utt2spk"].append(f"{utt} {speaker}")
        lines["utt2mood"].append(f"{utt} {row['mood']}")
    for name, content in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in sorted(content)))


def write_csv(path: Path, rows: list[dict], columns: dict[str, str]) -> None:
    """Write a table; `columns` maps the name of each column to its key in `rows`."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[row[key] for key in columns.values()] for row in rows])
