"""The record of AI work in a repository: every session a ref, every turn a commit."""

__version__ = "0.1.0"
