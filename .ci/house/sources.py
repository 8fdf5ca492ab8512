"""Rules over the source files of the crates."""

import re
import tomllib
from collections import defaultdict

from house import rust

# Above these a file or a function no longer fits in a head. rustfmt's layout is what is counted.
FILE_LINES = 350
FUNCTION_LINES = 60

# Names that say nothing, so that anything ends up in them.
NAMELESS = {"common", "helper", "helpers", "misc", "mod", "util", "utils"}


# Where Rust is written; `target` is not.
HOMES = ("benches", "crates", "examples", "fuzz", "tests")


def every_file(root):
    return sorted(path for home in HOMES for path in (root / home).rglob("*.rs"))


def _files(root):
    return sorted(root.glob("crates/*/src/**/*.rs"))


def unsafe(root):
    """`unsafe` needs a `# Safety` section in the module's docs and `// SAFETY:` at every use."""
    notes, faults = [], []
    for path in every_file(root):
        source = path.read_text()
        lines = _unsafe_lines(rust.tokens(source))
        if not lines:
            continue
        name = path.relative_to(root)
        notes.append(f"{name}: {len(lines)} × unsafe")
        if not re.search(r"^//! # Safety\b", source, re.MULTILINE):
            faults.append(f"{name}:{lines[0]}: unsafe in a file whose module docs have no `# Safety` section")
        faults += [
            f"{name}:{line}: unsafe without a `// SAFETY:` comment right above it"
            for line in lines
            if not _argued(source.splitlines(), line)
        ]
    return notes or ["none"], faults


def _unsafe_lines(stream):
    """Where `unsafe` does something: the type `unsafe fn(…)` does not."""
    followed = zip(stream, stream[1:], stream[2:])
    return [token.line for token, *then in followed if token.text == "unsafe" and [t.text for t in then] != ["fn", "("]]


def _argued(lines, line):
    """Walks up, over comments, attributes and the statement's own beginning, to the argument."""
    for above in reversed(lines[: line - 1]):
        text = above.strip()
        if re.match(r"// SAFETY:|/// # Safety", text):
            return True
        if not text.startswith(("//", "#[")) and (not text or text.endswith((";", "{", "}"))):
            return False
    return False


def sizes(root):
    faults, longest = [], (0, "")
    for path in _files(root):
        source = path.read_text()
        end = rust.first_test_line(source)
        name = path.relative_to(root)
        longest = max(longest, (end - 1, str(name)))
        if end - 1 > FILE_LINES:
            faults.append(f"{name}: {end - 1} lines before its tests, more than {FILE_LINES}")
        faults += [
            f"{name}:{line}: `{function}` has {length} lines, more than {FUNCTION_LINES}"
            for function, line, length in rust.functions(source)
            if line < end and length > FUNCTION_LINES
        ]
    return [f"longest: {longest[1]}, {longest[0]} lines"], faults


def names(root):
    faults = [
        f"{path.relative_to(root)}: `{path.stem}` says nothing; name the file for what lives in it"
        for path in _files(root)
        if path.stem in NAMELESS
    ]
    return [], faults


# What cargo compiles unasked, from a package's folder; anything else its manifest names.
ROOTS = ("build.rs", "src/lib.rs", "src/main.rs") + tuple(
    f"{home}/{root}" for home in ("src/bin", "tests", "benches", "examples") for root in ("*.rs", "*/main.rs")
)


def orphans(root):
    """Files that no `mod` declares are compiled by nobody, and nobody notices."""
    written = set(every_file(root))
    compiled = set()
    for manifest in (manifest for home in HOMES for manifest in (root / home).rglob("Cargo.toml")):
        for start in _crate_roots(manifest):
            compiled |= _reached(start, start.parent)
    faults = [f"{path.relative_to(root)}: no `mod` declares it" for path in sorted(written - compiled)]
    return [f"{len(written)} files"], faults


def _crate_roots(manifest):
    says = tomllib.loads(manifest.read_text())
    targets = [says.get("lib", {}), *(target for kind in ("bin", "test", "bench", "example") for target in says.get(kind, []))]
    named = [manifest.parent / target["path"] for target in targets if "path" in target]
    return named + [path for pattern in ROOTS for path in manifest.parent.glob(pattern)]


def _reached(path, folder):
    """The file and all that its `mod`s declare; `folder` is where those lie that have no path of their own."""
    source = path.read_text()
    below = [(path.parent / name, path.parent) for name in re.findall(r'\bpath = "([^"]+\.rs)"', source)]
    for *inline, name in rust.declared(rust.tokens(source)):
        home = folder.joinpath(*inline)
        below += [(home / f"{name}.rs", home / name), (home / name / "mod.rs", home / name)]
    return {path}.union(*(_reached(file, home) for file, home in below if file.exists()))


def circles(root):
    faults, rooms = [], 0
    for crate in sorted(path.parent for path in root.glob("crates/*/src")):
        files = {_module(path, crate / "src"): path for path in sorted((crate / "src").rglob("*.rs"))}
        rooms += len(files)
        imports = _imports(root, files)
        faults += _root_imports(files, imports)
        faults += [f"{crate.name}: {circle}" for circle in _circles(files, imports)]
    return [f"{rooms} rooms"], faults


def _module(path, src):
    names = path.relative_to(src).with_suffix("").parts
    if names[0] == "bin" or names in (("lib",), ("main",)):
        return ()
    return names[:-1] if names[-1] == "mod" else names


def _imports(root, files):
    """(importing module, imported path, where) for every path within the crate, tests left out."""
    found = []
    for module, path in files.items():
        if module:
            stream = rust.without_tests(rust.tokens(path.read_text()))
            name = path.relative_to(root)
            found += [(module, to, f"{name}:{line}") for to, line in rust.paths(stream, module)]
    return found


def _root_imports(files, imports):
    rooms = {module[0] for module in files if module}
    for module, to, where in imports:
        if not to or to[0] not in rooms:
            yield f"{where}: imports `{'::'.join(('crate', *to))}` from the crate root; name the room it lives in"


def _circles(files, imports):
    """Circles between siblings, at every floor. A room and the rooms inside it are one."""
    floors = defaultdict(lambda: defaultdict(dict))
    for module, to, where in imports:
        target = max((to[:n] for n in range(len(to) + 1) if to[:n] in files), key=len, default=())
        shared = 0
        while shared < min(len(module), len(target)) and module[shared] == target[shared]:
            shared += 1
        if shared < min(len(module), len(target)):
            floors[module[:shared]][module[shared]].setdefault(target[shared], where)
    for floor, edges in sorted(floors.items()):
        circle = _circle(edges)
        if circle:
            steps = [f"{a} → {b} ({edges[a][b]})" for a, b in zip(circle, circle[1:])]
            yield f"circle in {'::'.join(('crate', *floor))}: {', '.join(steps)}"


def _circle(edges):
    """One circle as [a, b, …, a], or None."""
    done = set()

    def walk(room, trail):
        if room in trail:
            return trail[trail.index(room) :] + [room]
        if room in done:
            return None
        done.add(room)
        found = (walk(below, trail + [room]) for below in sorted(edges.get(room, ())))
        return next((circle for circle in found if circle), None)

    return next((circle for circle in (walk(room, []) for room in sorted(edges)) if circle), None)
