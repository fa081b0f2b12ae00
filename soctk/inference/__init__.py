"""Use of trained models: a packed model on disk, and a recogniser that classifies recordings.

The modules are `bundle` (the folder of a packed model), `encoders` (the encoder that the model needs) and `recogniser`
(recordings -> posteriors).
"""
