"""Scoring: the predictions of experiments come in, scores with intervals and tests over speakers go out.

`predictions` reads and checks them, `metrics` defines the scores, `resampling` gives intervals and tests, and `score`,
`subgroups`, `compare` and `published` put scores together. It needs no features, no models and no torch.
"""
