"""Import of a corpus from its sources: tables of labels, metadata of EmoBox, audformat or Kaldi, or file names.

The three steps are `read` (sources -> rows; a row is a dict column -> text, `rows.Row`), `relabel` (labels -> classes)
and `build_corpus` (rows -> `DataDir`). An `Account` counts the rows on this way, and collects notes for the user.

`tables` joins and completes tables, `locate` finds recordings, `speakers` reads sexes, `times` start and end, and
`division` folds and partitions; `ids` names utterances. To add a source, write a module with a function that reads it,
and add an entry to `sources.SOURCES`.
"""

from soctk.corpus.importing.account import Account
from soctk.corpus.importing.annotations import count_votes
from soctk.corpus.importing.assemble import build_corpus
from soctk.corpus.importing.rows import relabel
from soctk.corpus.importing.sources import audio_root, read

__all__ = ["Account", "audio_root", "build_corpus", "count_votes", "read", "relabel"]
