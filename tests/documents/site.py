"""A hook of MkDocs: what a page links to in the repository, outside of `docs/`, is no part of the site. The words of such
a link stay. A link to what is not there stays, too, so that the strict build finds it."""

import pathlib
import re

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)\)")


def on_page_markdown(markdown, page, config, files):
    docs = pathlib.Path(config.docs_dir).resolve()
    base = (docs / page.file.src_uri).parent

    def words(link):
        target = (base / link[2]).resolve()
        outside = docs not in target.parents and docs.parent in target.parents
        return link[1] if outside and target.exists() else link[0]

    return LINK.sub(words, markdown)
