"""Taking in the users of another system: the rows of a file become accounts.

`files` reads the rows, `accounts` says what is wrong with one, and `batches` writes those that are right.
"""
