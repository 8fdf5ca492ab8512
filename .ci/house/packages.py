"""Rules over what depends on what, asked of cargo."""

import json
import re
import subprocess
import tomllib
from functools import cache

CORE, GATE, HTTP, STORM = "backpressure-core", "backpressure-gate", "tower-backpressure", "backpressure-storm"

# Which crates of ours each crate may depend on, in any way. A new crate takes its floor here.
BELOW = {
    CORE: set(),
    GATE: {CORE},
    HTTP: {CORE, GATE},
    STORM: {HTTP},
}
LIBRARIES = [CORE, GATE, HTTP]

# What speaks a protocol, or belongs to somebody who does.
SERVERS = {"axum", "axum-core", "h2", "hyper", "hyper-util", "reqwest", "tonic", "tower", "tower-http"}
PROTOCOL = SERVERS | {"http", "http-body", "http-body-util", "tower-layer", "tower-service"}

# `reqwest` brings a client and all it stands on: the one feature that may.
MAY_BRING_SERVERS = {"reqwest"}


def purity(root):
    tree = _tree(root, CORE, "--all-features")
    faults = [f"{CORE} depends on {name} {version}" for name, version in sorted(tree) if name != CORE]
    return [], faults


def walls(root):
    members = {package["name"]: package for package in _members(root)}
    faults = []
    for name, package in sorted(members.items()):
        faults += _steps_up(name, package, members)
    faults += _found(_tree(root, GATE, "--all-features"), PROTOCOL, f"{GATE} speaks no protocol, but depends on")
    if any(dependency["name"] == "tower" for dependency in _normal(members[HTTP])):
        faults.append(f"{HTTP} depends on tower itself; tower-layer and tower-service are all a layer needs")
    for feature in [None, *sorted(set(members[HTTP]["features"]) - MAY_BRING_SERVERS - {"default"})]:
        flags = ["--no-default-features", "--features", feature] if feature else []
        said = f"{HTTP} with feature {feature}" if feature else f"{HTTP} by default"
        faults += _found(_tree(root, HTTP, *flags), SERVERS, f"{said} brings no server or client, but depends on")
    return [], faults


def _steps_up(name, package, members):
    ours = {dependency["name"] for dependency in package["dependencies"]} & set(members)
    if STORM in ours:
        yield f"{name} depends on {STORM}, which is seen by none"
    if "/crates/" in package["manifest_path"]:
        if name not in BELOW:
            yield f"{name} has no floor: say in .ci/house/packages.py what it may depend on"
        for other in sorted(ours - BELOW.get(name, ours) - {STORM, name}):
            yield f"{name} depends upward on {other}"


def _found(tree, unwanted, sentence):
    return [f"{sentence} {name}" for name in sorted({name for name, _ in tree} & unwanted)]


def msrv(root):
    packages = {(package["name"], package["version"]): package for package in _metadata(root)["packages"]}
    promised = {package["name"]: package["rust_version"] for package in _members(root)}
    faults, counted = [], set()
    for library in LIBRARIES:
        if not promised[library]:
            faults.append(f"{library} declares no rust-version")
            continue
        tree = _tree(root, library, "--all-features", "--target", "all", edges="normal,build")
        counted |= tree
        for name, version in sorted(tree):
            asked = packages[name, version]["rust_version"]
            if asked and _release(asked) > _release(promised[library]):
                faults.append(f"{library} promises Rust {promised[library]}; {name} {version} asks for {asked}")
    return [f"{len(counted)} packages"], faults


def _release(version):
    """1.85 and 1.85.0 are one release."""
    numbers = [int(part) for part in version.split("-")[0].split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def licences(root):
    """The part of `cargo deny check licenses bans sources` that deny.toml uses."""
    rules = tomllib.loads((root / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    banned = {entry["crate"]: entry["reason"] for entry in rules["bans"]["deny"]}
    registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    packages = _metadata(root)["packages"]
    faults = []
    for package in packages:
        said = f"{package['name']} {package['version']}"
        if not licence_allowed(package["license"] or "", allowed):
            faults.append(f"{said}: licence `{package['license']}` is not allowed")
        if package["name"] in banned:
            faults.append(f"{said}: banned: {banned[package['name']]}")
        if package["source"] and package["source"] not in registries:
            faults.append(f"{said}: comes from {package['source']}")
    for package in _members(root):
        faults += [
            f"{package['name']}: any version of {dependency['name']} would do; say which"
            for dependency in package["dependencies"]
            if dependency["req"] == "*" and "path" not in dependency
        ]
    return [f"{len(packages)} packages"], faults


def licence_allowed(expression, allowed):
    """Whether an SPDX expression can be met with `allowed`; the old `A/B` reads as `A OR B`."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    return bool(words) and _any_of(words, allowed) and not words


def _any_of(words, allowed):
    met = _all_of(words, allowed)
    while words and words[0] == "OR":
        words.pop(0)
        met = _all_of(words, allowed) or met
    return met


def _all_of(words, allowed):
    met = _one(words, allowed)
    while words and words[0] == "AND":
        words.pop(0)
        met = _one(words, allowed) and met
    return met


def _one(words, allowed):
    if not words:
        return False
    word = words.pop(0)
    if word == "(":
        met = _any_of(words, allowed)
        return bool(words) and words.pop(0) == ")" and met
    if words[:1] == ["WITH"]:
        word = f"{word} WITH {words[1]}" if len(words) > 1 else word
        del words[:2]
    return word in allowed


def _normal(package):
    return [dependency for dependency in package["dependencies"] if dependency["kind"] is None]


def _members(root):
    metadata = _metadata(root)
    members = set(metadata["workspace_members"])
    return [package for package in metadata["packages"] if package["id"] in members]


@cache
def _metadata(root):
    return json.loads(_cargo(root, "metadata", "--format-version", "1", "--all-features"))


def _tree(root, package, *flags, edges="normal"):
    """{(name, version)} of the package and all it stands on, features resolved for it alone."""
    lines = _cargo(root, "tree", "-p", package, "-e", edges, "--prefix", "none", "-f", "{p}", *flags)
    heads = (line.split() for line in lines.splitlines() if line)
    return {(words[0], words[1].removeprefix("v")) for words in heads}


def _cargo(root, *words):
    done = subprocess.run(["cargo", *words, "--locked"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cargo {' '.join(words)} --locked:\n{done.stderr}")
    return done.stdout
