"""Turns that people had with their agents, into sessions.

past    the history on disk, of every agent and repository
bulk    many turns into one repository: objects into packs, then all refs together
place   which session a turn belongs to
"""
