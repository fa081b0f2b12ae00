"""Corpora: recordings and labels come in; a checked Kaldi data directory and its splits go out.

`importing` makes a data directory from tables, metadata or file names, and `datadir` reads and writes it: `content` is
what it holds, `consistency` checks it. `segments` are parts of recordings, which `cutting` decodes and `audio` serves.
`doctor` finds faults that would change a result, and `conditions` measures level, noise and silence.
`degradations` and `disturbance` add noise and other disturbances. `folds` and
`splits` say which utterances train, validate and test, and `independence` whether test speakers may be in the training
data.
"""
