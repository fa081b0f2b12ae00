"""A corpus from other people's files: tables of labels, EmoBox's or audformat's metadata, file names.

Sources come in and are read as rows (column -> text, `rows.Row`); a `DataDir` goes out. The way is
`read` (sources -> rows), `relabel` (labels -> classes) and `build_corpus` (rows -> DataDir).

To add a source, write a module with a function that reads it, and add an entry to `sources.SOURCES`.
"""

from soctk.corpus.importing.assemble import build_corpus
from soctk.corpus.importing.rows import relabel
from soctk.corpus.importing.sources import audio_root, read

__all__ = ["audio_root", "build_corpus", "read", "relabel"]
