# How the long stages are launched: `env` runs them here; on a cluster, for example,
#     extract_cmd=(srun --gres=gpu:1)
#     train_cmd=(srun --cpus-per-task=8)
# shellcheck shell=bash disable=SC2034
extract_cmd=(env)
train_cmd=(env)
