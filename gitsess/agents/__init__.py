"""What other programs left behind: one module for each, which reads it and knows nothing of git.

Whatever is read was written by somebody else, and is taken as such: no link is followed, nothing is executed, and
what cannot be read is passed over with a reason.
"""
