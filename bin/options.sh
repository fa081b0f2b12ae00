# The options that every recipe has; sourced by its run.sh, which adds its own and may set other defaults.
# An option is an assignment followed by what it is: `name=default   # what`.
# shellcheck shell=bash disable=SC2034

stage=0           # first stage to run: 0 data, 1 features, 2 train, 3 score
stop_stage=3      # last stage to run
upstream=fbank    # NAME in conf/upstream or s3prl, or DIR or hub id of Hugging Face
layer=last        # hidden states of the upstream to extract: last, all, or numbers from 0, such as "3 4"
speed_perturb=""  # speeds of copies of each recording, to train and to test with too, such as "0.9 1.1"
use_layer=all     # those of them to train on: all, or numbers
combine=""        # several layers: sum (by learned weights) or concat (the descriptors of each); by default as the head
preset=default    # default: mean+soc_full under a linear head; or paper: soc as published, with its head and training
pooling=""        # mean, stats, asp, soc, soc_nolem, soc_full, or several joined by +; by default the preset's
head=""           # classifier: mlp or linear; by default the preset's, and mlp for a pooling that must be trained
folds=""          # folds to test, such as "1 2"; all of them by default
seeds="1"         # seeds, such as "1 2 3"
recentre=none     # speaker: take the mean of each speaker's descriptors away; needs unlabelled test recordings
enrol=all         # how many of a test speaker's recordings give that mean: all, or a number
protocol=soctk    # validation: soctk (speaker-disjoint) or emobox (20% at random)
extract_args=""   # more options of soctk-extract, such as "--dtype float32"
train_args=""     # more options of soctk-train, such as "--set train.lr=1e-3"
tag=""            # added to the experiment's name, to keep other settings apart
nj=2              # how many processes share the work
device=auto       # cpu, cuda or auto
expdir=exp        # DIR for experiments

# What --protocol may be, to which a recipe may add; it is no option.
protocols="soctk|emobox"
