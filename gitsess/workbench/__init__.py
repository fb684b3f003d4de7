"""What is done in a worktree: its files looked at and changed, its tests run, and what came of it.

paths    which paths a model may name at all
settings files there that say what models are asked and agents run
files    reading and writing them, inside the worktree and nowhere else
toolbox  the tools, as a provider offers them
testing  the project's own tests
changes  what a turn changed, whoever changed it
"""
