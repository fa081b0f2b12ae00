"""The commands: thin click wrappers, one in each file. They read arguments and call the packages above.

A command imports the rest of soctk in its body, so that --help and usage errors answer at once, without torch.
"""
