"""Scoring: the predictions of experiments come in, scores with confidence intervals and significance tests go out.

`runs` knows the layout of experiments, `predictions` and `recorded` read and check them, `metrics` defines the scores,
`resampling` computes intervals and tests over speakers, and `score`, `subgroups`, `compare` and `published` combine
them. This package needs no features, no models and no torch.
"""
