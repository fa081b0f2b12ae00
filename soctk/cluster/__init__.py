"""Jobs on a cluster: the option --cluster, the workers that Dask starts, and the executor that gives them jobs.

`option.open_cluster` is the entry. Dask is imported only if the option is given. The commands pass the executor to the
functions that have jobs to run (soctk.parallel.Executor).
"""
