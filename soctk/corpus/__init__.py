"""Corpora: recordings and labels come in; a checked Kaldi data directory and its splits go out.

`importing` makes a data directory from tables, metadata or file names, and `datadir` reads and writes it. `doctor`
finds faults that would change a result. `folds` and `splits` say which utterances train, validate and test.
"""
