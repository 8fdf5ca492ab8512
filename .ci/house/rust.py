"""Reads just enough Rust for the house's rules: tokens, test code, paths. Not a parser."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<comment>//[^\n]*)
    | (?P<block>/\*)
    | (?P<string>[bc]?r(?P<hashes>\#*)".*?"(?P=hashes) | [bc]?"(?:\\.|[^"\\])*" | b?'(?:\\.[^']*|[^\\'])')
    | (?P<lifetime>'\w+)
    | (?P<ident>(?:r\#)?[A-Za-z_]\w*)
    | (?P<punct>::|[^\s\w])
    | (?P<other>\w+|\s+)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    text: str
    line: int


def tokens(source):
    """Identifiers and punctuation with their lines; comments, literals and lifetimes left out."""
    found, at, line = [], 0, 1
    while at < len(source):
        match = _TOKEN.match(source, at)
        end = _block_end(source, at) if match["block"] else match.end()
        if match["ident"] or match["punct"]:
            found.append(Token(match[0], line))
        line += source.count("\n", at, end)
        at = end
    return found


def _block_end(source, at):
    depth = 0
    for mark in re.finditer(r"/\*|\*/", source[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return at + mark.end()
    return len(source)


def without_tests(stream):
    """The same tokens without items under `#[cfg(test)]`."""
    kept, at = [], 0
    while at < len(stream):
        end = _attribute_end(stream, at)
        if end and _is_test_gate(stream[at:end]):
            at = _item_end(stream, end)
        else:
            kept.append(stream[at])
            at += 1
    return kept


def first_test_line(source):
    """Where the test module at the end begins; past the end when there is none."""
    stream = tokens(source)
    for at in range(len(stream)):
        end = _attribute_end(stream, at)
        if end and _is_test_gate(stream[at:end]) and stream[end].text == "mod":
            return stream[at].line
    return source.count("\n") + 1


def functions(source):
    """(name, line, length) of every function with a body, from `fn` to its closing brace."""
    stream = tokens(source)
    for at, token in enumerate(stream[:-1]):
        if token.text == "fn" and stream[at + 1].text != "(":
            body = _body(stream, at)
            if body:
                yield stream[at + 1].text, token.line, stream[_closing(stream, body, "{", "}")].line - token.line + 1


def _body(stream, at):
    nested = 0
    for here in range(at, len(stream)):
        nested += (stream[here].text in "([") - (stream[here].text in ")]")
        if nested == 0 and stream[here].text in "{;":
            return here if stream[here].text == "{" else None
    return None


def _attribute_end(stream, at):
    if [token.text for token in stream[at : at + 2]] != ["#", "["]:
        return None
    return _closing(stream, at + 1, "[", "]") + 1


def _is_test_gate(attribute):
    words = [token.text for token in attribute]
    return "cfg" in words and "test" in words and "not" not in words


def _item_end(stream, at):
    while at < len(stream):
        if stream[at].text == ";":
            return at + 1
        if stream[at].text == "{":
            return _closing(stream, at, "{", "}") + 1
        at += 1
    return at


def _closing(stream, at, opening, closing):
    depth = 0
    for here in range(at, len(stream)):
        depth += (stream[here].text == opening) - (stream[here].text == closing)
        if depth == 0:
            return here
    return len(stream) - 1


def paths(stream, module):
    """Every path written from `crate`, `super` or `self`, as (absolute segments, line).

    `module` is where the file stands, as a tuple of names. A glob ends in "*".
    """
    found = []
    for at, inline in _floors(stream):
        before = stream[at - 1].text if at else ""
        if stream[at].text in ("crate", "super", "self") and before not in ("::", "$", "in"):
            found += [(_absolute(path, module + inline), stream[at].line) for path in _tree(stream, at)]
    return [(path, line) for path, line in found if path is not None]


def declared(stream):
    """Every `mod name;`, as the names of the inline modules it stands in and its own."""
    for at, inline in _floors(stream):
        word, name, end = (stream[at + n].text if at + n < len(stream) else "" for n in range(3))
        if word == "mod" and end == ";":
            yield (*inline, name)


def _floors(stream):
    """Where each token is, and the names of the inline modules it stands in."""
    inline, depth = [], 0
    for at, token in enumerate(stream):
        if token.text == "{":
            depth += 1
            if at > 1 and stream[at - 2].text == "mod":
                inline.append((stream[at - 1].text, depth))
        elif token.text == "}":
            if inline and inline[-1][1] == depth:
                inline.pop()
            depth -= 1
        yield at, tuple(name for name, _ in inline)


def _tree(stream, at):
    return _branch(stream, at, ())[0]


def _branch(stream, at, prefix):
    """Paths of the use tree at `at`, and where it ends. A macro's path is no import."""
    prefix += (stream[at].text,)
    at += 1
    while at + 1 < len(stream) and stream[at].text == "::":
        at += 1
        if stream[at].text == "{":
            return _group(stream, at + 1, prefix)
        if not re.match(r"[\w*]", stream[at].text):
            break
        prefix += (stream[at].text,)
        at += 1
    if at < len(stream) and stream[at].text == "!":
        return [], at
    return [prefix], at


def _group(stream, at, prefix):
    found = []
    while at < len(stream) and stream[at].text != "}":
        if re.match(r"[\w*]", stream[at].text):
            paths_below, at = _branch(stream, at, prefix)
            found += paths_below
            if at < len(stream) and stream[at].text == "as":
                at += 2
        else:
            at += 1
    return found, at + 1


def _absolute(path, here):
    """`path` seen from the crate root; None when it is no path (a lone `self` or `crate`)."""
    if len(path) == 1:
        return None
    if path[0] == "crate":
        here = ()
    rest = list(path[1:])
    if path[0] == "super":
        here = here[:-1]
        while rest and rest[0] == "super":
            here, rest = here[:-1], rest[1:]
    if rest and rest[-1] == "self":
        rest.pop()
    return tuple(here) + tuple(rest)
