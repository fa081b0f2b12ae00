"""Features: a data directory comes in, a store of frames `(T, D)` from a frozen speech encoder goes out.

`upstream` has the encoders behind one interface, `extract` runs one over a corpus, `store` keeps the frames on disk.
"""
