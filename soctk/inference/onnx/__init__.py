"""Packed models without torch: an ONNX form of the encoder, and numpy for what surrounds it.

The modules are `export` (an encoder -> its ONNX form; needs torch), `form` (the folder of this form), `runtime` (the
form and a packed model -> hidden states, descriptors and logits), `front_ends` (waveforms -> input of the encoder) and
`classifier` with `poolings` (hidden states -> logits). All but `export` import neither torch nor transformers.
"""
