"""Write tests/golden/audformat: a database of segments in CSV and in Parquet, as audformat 1.4.3 writes it.

    python -m venv af && af/bin/pip install audformat==1.4.3 && af/bin/python tests/golden/make_audformat.py

The tests need the files, but not audformat. The database has six recordings of 4 s, with four segments each; the last
segment of a recording has no end. Tables of the splits train, dev and test have the emotion and the speaker; a table of
the files has the language; the sex and the age of the speakers are in a misc table.
"""

from pathlib import Path

import audformat
import pandas as pd

HERE = Path(__file__).parent / "audformat"
SPEAKERS = {"train": ["ann", "bob", "cid"], "dev": ["dan"], "test": ["eve", "fay"]}
SEX = {"ann": "female", "bob": "male", "cid": "male", "dan": "male", "eve": "female", "fay": "female"}
EMOTIONS = ["happy", "sad", "happy", "sad"]

database = audformat.Database("moods", usage=audformat.define.Usage.UNRESTRICTED, languages=["eng"])
database.schemes["emotion"] = audformat.Scheme(labels=["happy", "sad"])
database.schemes["gender"] = audformat.Scheme(labels=["female", "male"])
database.schemes["age"] = audformat.Scheme("int")
database.schemes["language"] = audformat.Scheme("str")
database["speaker"] = audformat.MiscTable(pd.Index(list(SEX), dtype="string", name="speaker"))
database["speaker"]["gender"] = audformat.Column(scheme_id="gender")
database["speaker"]["gender"].set(list(SEX.values()))
database["speaker"]["age"] = audformat.Column(scheme_id="age")
database["speaker"]["age"].set([31, 42, 53, 24, 35, 46])
database.schemes["speaker"] = audformat.Scheme(labels="speaker", dtype="str")
files = [f"audio/{speaker}.wav" for speaker in SEX]
database["files"] = audformat.Table(audformat.filewise_index(files))
database["files"]["language"] = audformat.Column(scheme_id="language")
database["files"]["language"].set("eng")
for split, speakers in SPEAKERS.items():
    database.splits[split] = audformat.Split(split)
    table = database[f"emotion.{split}"] = audformat.Table(
        audformat.segmented_index(
            [f"audio/{speaker}.wav" for speaker in speakers for _ in EMOTIONS],
            [f"{start}s" for _ in speakers for start in (0, 1, 2, 3)],
            [end for _ in speakers for end in ("1s", "2s", "2.75s", pd.NaT)],
        ),
        split_id=split,
    )
    table["emotion"] = audformat.Column(scheme_id="emotion")
    table["emotion"].set(EMOTIONS * len(speakers))
    table["speaker"] = audformat.Column(scheme_id="speaker")
    table["speaker"].set([speaker for speaker in speakers for _ in EMOTIONS])
for form in ("csv", "parquet"):
    database.save(HERE / form, storage_format=form)
