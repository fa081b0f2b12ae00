# The words before the commands of stage 1, and of stages 2, 4 and 5. `env` runs them on this machine. For example, on a Slurm cluster:
#     extract_cmd=(srun --gres=gpu:1 --cpus-per-task=4)
#     train_cmd=(srun --cpus-per-task=8)
# shellcheck shell=bash disable=SC2034
extract_cmd=(env)
train_cmd=(env)
