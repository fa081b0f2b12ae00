"""Training: a data directory and a feature store come in; models and predictions of folds and seeds go out.

`experiment` runs all folds and seeds of one configuration with the trainers of the heads mlp (`loop`) and linear
(`linear`); `sweep` compares many configurations on validation utterances; `cross` tests on another corpus. `trivial`
trains classifiers that see no voice.
"""
