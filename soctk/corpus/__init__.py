"""A corpus: recordings and their labels come in, a checked Kaldi data directory and its splits go out.

`importing` makes a data directory from tables, metadata and file names, `datadir` reads and writes it, `doctor` looks
for what would change a result, `folds` and `splits` say which utterances train, validate and test.
"""
