"""The commands: thin click wrappers, one a file.

A command imports the rest of soctk in its body, so that --help and usage errors answer at once, without torch.
"""
