"""The commands: thin click wrappers, one in each file. They parse arguments and call the other packages.

A command imports the rest of soctk in its body, so that --help and usage errors do not wait for the import of torch.
"""
