"""What a model may do in a worktree: look at its files, change them, run its tests.

paths    which paths it may name at all
files    reading and writing them, inside the worktree and nowhere else
toolbox  the tools, as a provider offers them
"""
