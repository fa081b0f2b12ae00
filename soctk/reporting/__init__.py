"""Reporting: scores come in; tables, figures and an HTML page go out.

`report` collects the contents, `tables` and `formats` print them, `figures` and `descriptors` draw pictures, and `page`
makes the HTML page. `cross_table` writes the matrix across corpora.
"""
