"""Scoring: the predictions of experiments come in, scores with confidence intervals and significance tests go out.

`runs` knows the layout of experiments, `predictions` and `recorded` read and check them, `metrics` defines the scores,
`statistics` expresses them as sums over speakers, `intervals` and `significance` compute intervals and tests over
speakers, `leaks` looks for recordings in training and test data, and `score`, `subgroups`, `compare` and `published`
combine them. `suspects` ranks likely wrong labels, `cues` keeps the scores of trivial classifiers, and `robustness`
scores predictions for disturbed recordings. This package needs no models and no torch.
"""
