"""Answering a query with one statement whose JSON goes to the client as it comes.

An operation is compiled once for each shape of its variables (:mod:`.shapes`): what it selects becomes one statement
(:mod:`.compile`) that writes the answer's JSON (:mod:`.json_text`), run on connections of its own
(:mod:`.connections`). What cannot be compiled, and whatever goes wrong, is left to the resolvers, which say so: a plan
only ever answers what has an answer. Both give the same bytes.
"""
