"""Reporting: scores come in; tables, figures and an HTML page go out.

`report` collects the contents, `wording` has their sentences, and `tables` and `formats` print them. `corpora`
summarises the corpora. `figures` lists all pictures: `charts` draws scores, `embedding` the logits of test utterances,
and `log_covariances` their second-order descriptors, which `descriptors` computes again; `drawing` has the look that
they share. `trivial` shows scores of trivial classifiers, and `listening` likely wrong labels. `page` makes the HTML
page. `cross_table` writes the matrix over corpora, and `robustness` the scores on disturbed recordings.
"""
