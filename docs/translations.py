"""Gives the site its pages in other languages: `page.ja.md` is the Japanese page of `page.md`.

A translation lies at `ja/page/` of the site. It has the theme's words, a navigation, and a previous
and next page in its language. The theme's menu of languages leads from each page to the same page
in the other language, or to the start page where there is none. `extra.words` of mkdocs.yml has the
titles of the navigation and the labels that are not the theme's.

MkDocs calls the functions named `on_...`.
"""

from __future__ import annotations

import html
import re

from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

DEFAULT = "en"
START = "index.md"
TRANSLATION = re.compile(r"(?P<name>.+)\.(?P<language>[a-z]{2})\.md")
LABEL = re.compile(r'(?P<attribute>aria-label|title|content)="(?P<text>[^"]+)"')
# For each of these links, the theme's script would request a sitemap that is not there.
ALTERNATE = re.compile(r'\s*<link rel="alternate" [^>]*hreflang=[^>]*>')
MENU_LINK = re.compile(r'hreflang="(?P<language>[a-z]{2})" class="md-select__link"')


def language_of(uri: str) -> str:
    """Returns the language of a page by its source, such as "ja" for `page.ja.md`."""
    match = TRANSLATION.fullmatch(uri)
    return match["language"] if match else DEFAULT


def original_of(uri: str) -> str:
    """Returns the source of the page that a page translates, or its own."""
    match = TRANSLATION.fullmatch(uri)
    return f"{match['name']}.md" if match else uri


def translation_of(uri: str, language: str) -> str:
    """Returns where the source of a page in a language is, if there is one."""
    original = original_of(uri)
    return original if language == DEFAULT else f"{original.removesuffix('.md')}.{language}.md"


def on_files(files: Files, config) -> Files:
    """Moves each translation into the folder of its language."""
    for file in files.documentation_pages():
        language = language_of(file.src_uri)
        if language != DEFAULT:
            original = files.get_file_from_path(original_of(file.src_uri))
            if original is None:
                raise ValueError(
                    f"`{file.src_uri}` must translate a page. "
                    f"Received: no {original_of(file.src_uri)}."
                )
            files.remove(file)
            files.append(
                File(
                    file.src_uri,
                    config.docs_dir,
                    config.site_dir,
                    config.use_directory_urls,
                    dest_uri=f"{language}/{original.dest_uri}",
                    inclusion=file.inclusion,
                )
            )
    return files


def on_nav(nav: Navigation, config, files: Files) -> Navigation:
    """Makes a navigation for each other language and keeps it with that of the site."""
    nav.translations = {
        one["lang"]: translated_navigation(nav, one["lang"], config, files)
        for one in config.extra["alternate"]
        if one["lang"] != DEFAULT
    }
    return nav


def translated_navigation(nav: Navigation, language: str, config, files: Files) -> Navigation:
    """Returns the navigation with the translated pages in the places of their originals.

    Args:
        nav: The navigation of the site. It stays as it is.
        language: A key of `extra.words`.
        config: The configuration of MkDocs.
        files: All files of the site.

    Returns:
        Navigation: Pages without a translation and their titles are those of the site.
    """
    words, pages = config.extra["words"][language], []

    def translated(item, parent):
        if item.is_section:
            section = Section(words.get(item.title, item.title), [])
            section.parent = parent
            section.children = [translated(child, section) for child in item.children]
            return section
        file = item.is_page and files.get_file_from_path(
            translation_of(item.file.src_uri, language)
        )
        if not file:
            return item
        page = Page(words.get(item.title), file, config)
        page.parent = parent
        pages.append(page)
        return page

    items = [translated(item, None) for item in nav.items]
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        page.previous_page, page.next_page = before, after
    result = Navigation(items, pages)
    result.homepage = next(page for page in pages if original_of(page.file.src_uri) == START)
    return result


def on_page_context(context, page: Page, config, nav: Navigation):
    """Sets the language of the theme and the links of its menu for a page."""
    language = language_of(page.file.src_uri)
    config.theme["language"] = language
    files = {file.src_uri: file for file in context["pages"]}
    for one in config.extra["alternate"]:
        uri = translation_of(page.file.src_uri, one["lang"])
        start = translation_of(START, one["lang"])
        one["link"] = files.get(uri, files[start]).url
    if language != DEFAULT:
        context["nav"] = nav.translations[language]
    return context


def on_post_page(output: str, page: Page, config) -> str:
    """Translates the labels that are not the theme's own, and completes the menu of languages."""
    words = config.extra["words"].get(language_of(page.file.src_uri), {})

    def label(match):
        text = words.get(html.unescape(match["text"]))
        return f'{match["attribute"]}="{html.escape(text)}"' if text else match[0]

    return _with_menu(LABEL.sub(label, output) if words else output)


def on_post_template(output: str, template_name: str, config) -> str:
    """Completes the menu of languages of the page for addresses that do not exist."""
    return _with_menu(output) if template_name == "404.html" else output


def _with_menu(output):
    """Says which language each link of the menu is in."""
    return MENU_LINK.sub(r'lang="\g<language>" \g<0>', ALTERNATE.sub("", output))
