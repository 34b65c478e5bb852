"""A translation shows what the page shows: its code, its figures, its sections and its links."""

import re

import pytest

pytest.importorskip("mkdocs")

from markdown import Markdown  # noqa: E402
from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.nav import get_navigation  # noqa: E402

from tests.docs.site import ROOT, load_hook  # noqa: E402
from tests.docs.test_pages import RUN, TRANSLATIONS  # noqa: E402

PAGES = [page.with_name(f"{page.name.split('.')[0]}.md") for page in TRANSLATIONS]
BOTH = pytest.mark.parametrize(
    ("original", "page"), list(zip(PAGES, TRANSLATIONS, strict=True)), ids=lambda page: page.name
)
EXPLORER = ROOT / "keras_transformer" / "explorer" / "page"
JAPANESE = [*TRANSLATIONS, *(ROOT / "docs").glob("phrases.ja.yml"), *EXPLORER.glob("*.ja.json")]
# What others write for エンコーダ, デコーダ and so on.
OTHER_TERMS = ["コーダー", "トークナイザー", "エクスプローラー", "サーバー", "メモリー", "順伝播層"]
OTHER_TERMS += ["位置エンコーディング", "残差結合", "アテンション", "分散表現", "罰則", "である。"]
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"<!-- (?P<name>[\w ]+) -->\n.*?<!-- end of (?P=name) -->", re.DOTALL)
IMAGE = re.compile(r"!\[(.*?)\]\(.+?\)")
LINK = re.compile(r"\]\((.+?)\)")


def text_of(page):
    """A page, with a translation's comment in place of each block that a command wrote."""
    text = page.read_text(encoding="utf-8")
    return BLOCK.sub(lambda match: f"<!-- from the original: {match['name']} -->", text)


def headings(text):
    """The level and the address of each heading."""
    settings = {"pymdownx.arithmatex": {"generic": True}}
    extensions = ["toc", "attr_list", *settings]
    markdown = Markdown(extensions=extensions, extension_configs=settings)
    markdown.convert(CODE.sub("", text))

    def flat(entries):
        for entry in entries:
            yield entry["level"], entry["id"]
            yield from flat(entry["children"])

    return list(flat(markdown.toc_tokens))


@BOTH
def test_code_output_equations_and_figures_are_those_of_the_page(original, page):
    parts = []
    for text in map(text_of, (original, page)):
        equations = re.findall(r"^\$\$.*?\$\$$", text, re.DOTALL | re.MULTILINE)
        copied = re.findall(r"<!-- from .*?-->", text, re.DOTALL)
        figures = [target for target in LINK.findall(text) if target.startswith("images/")]
        # A picture may have a version in the language of the page.
        figures = [target.replace(".ja.png", ".png") for target in figures]
        parts.append((CODE.findall(text), equations, copied, figures))
    assert parts[0] == parts[1]


def test_code_of_translated_pages_runs():
    with_code = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
    assert len(with_code) >= 5 and set(with_code) <= set(RUN)


@BOTH
def test_sections_have_the_addresses_of_the_page(original, page):
    expected, found = headings(text_of(original)), headings(text_of(page))
    assert found[: len(expected)] == expected
    # A glossary may follow.
    assert found[len(expected) :] in ([], [(2, "glossary")])


@pytest.mark.parametrize("path", JAPANESE, ids=lambda path: path.name)
def test_terms_are_spelled_as_in_the_glossary(path):
    text = path.read_text(encoding="utf-8").partition("{#glossary}")[0]
    assert not re.findall("|".join(OTHER_TERMS), text)


@BOTH
def test_links_lead_where_those_of_the_page_lead(original, page):
    wanted, targets = (set(LINK.findall(CODE.sub("", text_of(one)))) for one in (original, page))
    assert {re.sub(r"\.ja\.(md|png)", r".\1", target) for target in targets} == wanted
    names = {target.partition("#")[0] for target in targets}
    # A translation leads to translations, where there are any, and says where there are none.
    assert not names & {one.name for one in PAGES}
    text = CODE.sub("", text_of(page))
    english = re.findall(r"\]\([\w/-]+\.md[^)]*\)(.{0,4})", text)
    assert set(english) <= {"（英語）"}


def copied_texts():
    """What translations copy, in English: what is in the tables, the paragraphs, the captions."""
    blocks, tables = load_hook("translated_blocks"), load_hook("benchmark_tables")
    for original in PAGES:
        text = original.read_text(encoding="utf-8")
        names = [match["name"] for match in BLOCK.finditer(text)]
        copied = [blocks.block_of(text, name) for name in names]
        for marker in tables.MARKER.finditer(text):
            copied.append(tables.on_page_markdown(marker[0], None, None, None))
        for part in "\n\n".join(CODE.sub("", one) for one in copied).split("\n\n"):
            yield from parts_of(part.strip())


def parts_of(text):
    """The texts of a paragraph or table, and whether they must be translated."""
    if text.startswith("|"):
        rows = [line.strip("| ").split(" | ") for line in text.splitlines()]
        yield from ((cell.strip("| "), row is rows[0]) for row in rows for cell in row)
    elif image := IMAGE.fullmatch(text):
        yield image[1], True
    elif text and not text.startswith("* "):
        yield " ".join(text.split()), True


def test_words_of_what_is_copied_are_translated():
    hook = load_hook("translated_blocks")
    known = hook.phrases("ja")
    missing = {
        text
        for text, needed in copied_texts()
        if needed and re.search("[a-z]{2}", text) and hook.translation(text, known) is None
    }
    assert not missing, "docs/phrases.ja.yml has no phrase for these."


def test_every_phrase_is_used_and_keeps_what_is_measured():
    hook = load_hook("translated_blocks")
    texts = {text for text, _ in copied_texts()}
    for phrase, other in hook.phrases("ja"):
        assert any(phrase.fullmatch(text) for text in texts), phrase.pattern
        # The numbers of a phrase are placeholders, and its translation has them all.
        assert set(re.findall(r"\{(\w+)\}", other)) == set(phrase.groupindex), other
        assert not re.search(r"(?<![\w-])\d", phrase.pattern), phrase.pattern


@pytest.fixture
def small_docs(tmp_path, monkeypatch):
    """A hook that finds a page, its translation and a phrase in a folder."""
    hook = load_hook("translated_blocks")
    monkeypatch.setattr(hook, "DOCS", tmp_path)
    (tmp_path / "phrases.ja.yml").write_text(PHRASES, encoding="utf-8")
    return hook


PHRASES = """
"{n} loaves": "{n} 個"
"{n} loaves of {bread...}": "{bread} {n} 個"
rye loaves: ライ麦パン
"""
PAGE = """# Bread

<!-- oven -->

```bash
bake --loaves 3  # 3 loaves
```

Measured: nothing.

3 loaves of
white bread

| oven | 3 loaves | rye loaves |
|---|---|---|
| stone | 17 | 3 loaves |

![3 loaves](images/loaves.png)

<!-- end of oven -->
"""


def shown(hook, markdown, name="bread.ja.md"):
    file = File(name, None, "site", True)
    page = type("Page", (), {"file": file})()
    return hook.on_page_markdown(markdown, page=page, config=None, files=None)


def test_block_is_copied_with_its_words_translated(small_docs, tmp_path):
    (tmp_path / "bread.md").write_text(PAGE, encoding="utf-8")
    marker = "# パン\n\n<!-- from the original: oven -->\n\n終わり\n"
    assert shown(small_docs, marker) == (
        "# パン\n\n```bash\nbake --loaves 3  # 3 loaves\n```\n\nMeasured: nothing.\n\n"
        "white bread 3 個\n\n| oven | 3 個 | ライ麦パン |\n|---|---|---|\n| stone | 17 | 3 個 |\n\n"
        "![3 個](images/loaves.png)\n\n終わり\n"
    )
    # A new measurement shows in both pages.
    (tmp_path / "bread.md").write_text(PAGE.replace("17", "19"), encoding="utf-8")
    assert "| stone | 19 | 3 個 |" in shown(small_docs, marker)
    assert shown(small_docs, PAGE, "bread.md") == PAGE


def test_block_that_is_not_there_is_named(small_docs, tmp_path):
    (tmp_path / "bread.md").write_text(PAGE, encoding="utf-8")
    with pytest.raises(ValueError, match="`name` must be a block of the original. .*: 'stove'"):
        shown(small_docs, "<!-- from the original: stove -->")


def small_site(*names):
    """A configuration with a navigation, and the files of these names."""
    config = MkDocsConfig()
    extra = {
        "alternate": [{"name": "English", "lang": "en"}, {"name": "日本語", "lang": "ja"}],
        "words": {"ja": {"Home": "ホーム", "Guides": "ガイド", "Bread": "パン"}},
    }
    guides = [{"Bread": "bread.md"}, "cake.md", "tea.md"]
    nav = [{"Home": "index.md"}, {"Guides": guides}]
    config.load_dict({"site_name": "Kitchen", "extra": extra, "nav": nav, "not_in_nav": "*.ja.md"})
    config.validate()
    return config, Files([File(name, None, config.site_dir, True) for name in names])


def test_translations_have_a_navigation_in_their_language():
    hook = load_hook("translations")
    names = ("index.md", "index.ja.md", "bread.md", "bread.ja.md", "cake.md", "tea.md", "tea.ja.md")
    config, files = small_site(*names)
    files = hook.on_files(files, config)
    assert files.get_file_from_path("bread.ja.md").url == "ja/bread/"
    assert files.get_file_from_path("index.ja.md").url == "ja/"
    nav = hook.on_nav(get_navigation(files, config), config, files)
    assert [item.title for item in nav.items] == ["Home", "Guides"]

    japanese = nav.translations["ja"]
    assert [item.title for item in japanese.items] == ["ホーム", "ガイド"]
    home, guides = japanese.items
    bread, cake, tea = guides.children
    assert bread.title == "パン" and japanese.homepage is home
    assert [page.url for page in (bread, cake, tea)] == ["ja/bread/", "cake/", "ja/tea/"]
    assert cake is nav.items[1].children[1] and cake.parent is nav.items[1]
    assert home.next_page is bread and bread.next_page is tea and tea.next_page is None
    assert tea.previous_page is bread and bread.previous_page is home
    bread.active = True
    assert guides.active and not nav.items[1].active


def test_translation_of_no_page_is_refused():
    config, files = small_site("index.md", "index.ja.md", "pie.ja.md")
    with pytest.raises(ValueError, match=r"`pie.ja.md` must translate a page. .*: no pie.md."):
        load_hook("translations").on_files(files, config)


@pytest.mark.parametrize(
    ("uri", "language", "original", "japanese"),
    [
        ("bread.md", "en", "bread.md", "bread.ja.md"),
        ("bread.ja.md", "ja", "bread.md", "bread.ja.md"),
        ("api/kt.layers.md", "en", "api/kt.layers.md", "api/kt.layers.ja.md"),
    ],
)
def test_language_and_counterparts_of_a_source(uri, language, original, japanese):
    hook = load_hook("translations")
    assert hook.language_of(uri) == language
    assert hook.original_of(uri) == hook.translation_of(uri, "en") == original
    assert hook.translation_of(uri, "ja") == japanese
