"""Reporting: scores come in; tables, figures and an HTML page go out.

`report` collects the contents, `wording` has their sentences, and `tables` and `formats` print them. `figures` draws
pictures from scores and `descriptors`, and `page` makes the HTML page. `cross_table` writes the matrix over corpora.
"""
