"""Training: a data directory and a feature store come in, models and predictions of folds and seeds go out.

`experiment` runs all folds and seeds of one configuration; `loop` trains the head mlp, `linear` fits the head linear;
`sweep` compares many configurations on validation utterances, `cross` trains on one corpus and tests on another.
"""
