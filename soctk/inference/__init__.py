"""Use of trained models: a packed model on disk, and a recogniser that classifies recordings.

The modules are `pack` (an experiment -> a packed model), `bundle` (its folder), `card` (its model card), `encoders`
(the encoder that it needs), `recogniser` (recordings -> posteriors) with `waveforms` and `frames`, `runtime` (what
computes: `torch_runtime`, or `onnx` without torch), `windows`, `speech` and `streaming` (emotions over time),
`sources`, `pipes` and `enrolment` (inputs of soctk-predict), `answers` and `outputs` (predictions and their formats),
`labelled` (predictions for soctk-score), `robustness` and `fold_test` (predictions for disturbed
recordings), `hub` (models on the Hugging Face hub) and `demo` (the page of soctk-demo).
"""
