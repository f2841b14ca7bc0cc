# The site's settings; docs/build.py runs Sphinx with them.
import logging
import re

project = "mollify"
author = "the authors of mollify"
copyright = "the authors of mollify"
extensions = ["myst_parser", "breathe"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
breathe_default_project = "mollify"
html_theme = "furo"
html_title = "mollify"
html_static_path = []
highlight_language = "cpp"
# Types of the standard library and of C++ itself have no page here.
nitpick_ignore_regex = [("cpp:identifier", ".*")]


class Namespaces(logging.Filter):
    """Each header's page opens the namespaces again, which is no duplicate."""

    def filter(self, record):
        text = record.getMessage()
        return not (text.startswith("Duplicate C++ declaration") and re.search(r"cpp:type:: [a-z]+'", text))


logging.getLogger("sphinx.sphinx.domains.cpp").addFilter(Namespaces())
