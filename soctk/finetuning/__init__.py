"""Fine-tuning: the encoder is trained from the waveforms, together with the pooling and the head.

`encoder` the parameters that are trained · `recordings` waveforms and their settings, with the interface of a feature
store · `augmentation` changes of training utterances · `inputs` inputs of the transformer layers · `start` heads fitted
to frozen descriptors · `model` encoder, pooling and heads · `trainer` the training loop · `checkpoint` what an
interrupted run continues from · `checks` of the settings · `experiment` all folds and seeds · `tuned` the trained
encoder of a finished run
"""
