"""The documents keep their word: what they name exists."""

import re

from house import sources

# A test's name is a sentence: at least three words.
_TEST = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`")
_PATH = re.compile(r"`((?:\.ci|benches|crates|docs|examples|fuzz|tests)/[\w./-]+)`")
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
_PART = re.compile(r"`\.ci/check-house (\w+)`")


def promises(root):
    functions, parts = _functions(root), _parts(root)
    faults, named = [], 0
    for document in sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")]):
        text = re.sub(r"<!--.*?-->", "", document.read_text(), flags=re.DOTALL)
        wrong = [f"no test, function or metric `{name}`" for name in _TEST.findall(text) if name not in functions]
        wrong += [f"no file {path}" for path in _PATH.findall(text) if not (root / path).exists()]
        wrong += [f"no file {path}" for path in _LINK.findall(text) if not (document.parent / path).exists()]
        wrong += [f"check-house has no part {part}" for part in _PART.findall(text) if part not in parts]
        named += sum(len(pattern.findall(text)) for pattern in (_TEST, _PATH, _LINK, _PART))
        faults += [f"{document.relative_to(root)}: {fault}" for fault in wrong]
    return [f"{named} names"], faults


def _functions(root):
    found = set()
    for path in sources.every_file(root):
        # A function, or the name of a metric.
        found |= set(re.findall(r'\bfn (\w+)|"(\w+)"', path.read_text()))
    found = {name for pair in found for name in pair}
    return found


def _parts(root):
    return set(re.findall(r'^    "(\w+)": \(', (root / ".ci/check-house").read_text(), re.MULTILINE))
