"""Leave out of the code of a folded cell the line that the fold already shows.

A figure and a check begin with `# @title Figure: ...`; JupyterLab and Colab show this line, and
on the page it is the summary of the fold.
"""

import re

from docutils import nodes

TITLE = re.compile(r"# @title [^\n]*\n+")


def drop_titles(app, doctree):
    """Drop the title from the code of each cell."""
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") != "cell_code_source":
            continue
        for code in cell.findall(nodes.literal_block):
            source = TITLE.sub("", code.astext(), count=1)
            if TITLE.match(code.astext()) and source:
                code.rawsource = source
                code.children[:] = []
                code += nodes.Text(source)


def setup(app):
    """Connect the extension to Sphinx."""
    app.connect("doctree-read", drop_titles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
