"""Training: a data directory and a feature store come in; models and predictions of folds and seeds go out.

An `experiment` has all folds and seeds of one configuration; they are `local_runs` on this machine, or
`distributed_runs` of a cluster. `loop` trains models of the head mlp, many at once: their parameters are a `stack`,
their `batches` have rows in common, and their forward pass is done `together`. `linear` fits the head linear. `sweep`
compares many configurations on validation utterances; `cross` tests on another corpus. `trivial` trains classifiers
that see no voice.
"""
