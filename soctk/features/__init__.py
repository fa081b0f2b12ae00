"""Features: a data directory comes in, a store of frames `(T, D)` from a frozen speech encoder goes out.

`upstream` gives all encoders one interface, `extract` runs an encoder over the `utterances` of a corpus, and `store`
keeps the frames on disk, in the files of `shards`, `index` and `settings`. `imported` makes a store of another
program's features, which `array_files` reads. `copies` names utterances at other speeds and with noise; `joined`
reads several stores as one.
"""
