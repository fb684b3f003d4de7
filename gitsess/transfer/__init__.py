"""Carrying sessions away and bringing them in again, to the bit.

    reading   → the commits of a repository, with their files
    writing   → JSON, JSON lines, Markdown, a bundle
    parsing   ← JSON and JSON lines, an element at a time
    checking  ← every commit held to its own name and to the format
    importing ← what was checked, and what becomes of each session
    migrating ← the folders of the shell tool

What is read, written and held at any time is one turn, however many there are. An export holds, for each commit,
the bytes of its object and the files of its tree, so that the names (oids) of an import are those of the export.
docs/migration.md shows the layout.
"""
