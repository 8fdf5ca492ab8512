"""The checks, checked: each rule is broken once on purpose and has to notice.

    python3 -B -m unittest discover -s .ci -t .ci -p tests.py
"""

import tempfile
import unittest
from pathlib import Path

from house import documents, packages, rust, sources


class Planted(unittest.TestCase):
    def faults(self, check, **files):
        """What `check` says of a tree with these files; `__` in a name stands for a slash."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in {".ci__check-house": "", **files}.items():
                path = root / name.replace("__", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check(root)[1]

    def source(self, check, **files):
        return self.faults(check, **{f"crates__one__src__{name}": text for name, text in files.items()})


class Circles(Planted):
    def circles(self, **files):
        rooms = {f"{name.replace('__', '/')}.rs".replace("/", "__"): text for name, text in files.items()}
        return self.source(sources.circles, **{"lib.rs": "mod a; mod b; mod c;", **rooms})

    def test_a_ladder_is_no_circle(self):
        self.assertEqual([], self.circles(a="use crate::b::B;", b="use crate::c::C;", c="pub struct C;"))

    def test_a_circle_over_three_rooms_is_named_with_its_lines(self):
        (fault,) = self.circles(a="use crate::b::B;", b="\nuse super::c::C;", c="fn f(_: crate::a::A) {}")
        self.assertIn("circle in crate: a → b (crates/one/src/a.rs:1), b → c (crates/one/src/b.rs:2), c → a", fault)

    def test_groups_globs_and_aliases_are_imports(self):
        self.assertEqual(1, len(self.circles(a="use crate::{c::C, b::{self as bee, *}};", b="use crate::a as ay;", c="")))

    def test_a_circle_between_siblings_one_floor_down_is_found(self):
        (fault,) = self.circles(a="mod x; mod y;", a__x="use super::y::Y;", a__y="use crate::a::x::X;", b="", c="")
        self.assertIn("circle in crate::a: x → y", fault)

    def test_a_room_and_the_rooms_inside_it_are_one(self):
        self.assertEqual([], self.circles(a="mod x; use self::x::X;", a__x="use super::A;", b="", c=""))

    def test_tests_comments_and_literals_import_nothing(self):
        self.assertEqual(
            [],
            self.circles(
                a="use crate::b::B;",
                b="""// use crate::a::A;
                /* use /* crate::a::A */ crate::a::A; */
                const S: &str = "crate::a::A \\" crate::a"; const R: &str = r#"" crate::a"#; const C: char = '"';
                pub(in crate::a) fn f<'a>(_: &'a u8) {}
                #[cfg(test)] mod tests { use crate::a::A; }
                #[cfg(all(test, not_loom))] use crate::a::A;""",
                c="",
            ),
        )

    def test_an_inline_module_counts_as_its_own_floor(self):
        self.assertEqual([], self.circles(a="use crate::b::B;", b="mod inner { use super::B; } use self::inner::X;", c=""))

    def test_the_crate_root_is_no_room(self):
        for text in ["use crate::Sample;", "use super::Sample;", "use crate::*;", "fn f(_: crate::Sample) {}"]:
            with self.subTest(text):
                (fault,) = self.circles(a=text, b="", c="")
                self.assertIn("from the crate root", fault)

    def test_a_macro_of_the_crate_is_no_import(self):
        self.assertEqual([], self.circles(a="fn f() { crate::say!(1); $crate::b::g(); }", b="", c=""))


class Sources(Planted):
    def test_unsafe_has_to_be_argued_for_in_the_module_and_on_the_spot(self):
        block = "fn f() {\n    // SAFETY: nobody else has it.\n    let x =\n        unsafe { g() };\n}\n"
        self.assertEqual([], self.source(sources.unsafe, **{"a.rs": f"//! # Safety\n//! Why.\n{block}"}))
        self.assertEqual(1, len(self.source(sources.unsafe, **{"a.rs": block})))
        self.assertEqual(1, len(self.source(sources.unsafe, **{"a.rs": "//! # Safety\nfn f() {\n    unsafe { g() }\n}"})))

    def test_unsafe_outside_the_crates_counts_and_its_type_does_not(self):
        self.assertEqual(2, len(self.faults(sources.unsafe, tests__src__a="", **{"tests__a.rs": "unsafe impl Send for A {}"})))
        self.assertEqual([], self.source(sources.unsafe, **{"a.rs": "type F = unsafe fn(u8); // unsafe {}"}))

    def test_a_long_file_is_long_before_its_tests(self):
        self.assertEqual(1, len(self.source(sources.sizes, **{"a.rs": "const A: u8 = 1;\n" * 351})))
        tests = "#[cfg(test)]\nmod tests {\n" + "const A: u8 = 1;\n" * 351 + "}\n"
        self.assertEqual([], self.source(sources.sizes, **{"a.rs": "const A: u8 = 1;\n" * 350 + tests}))

    def test_a_long_function_is_measured_from_fn_to_brace(self):
        def function(lines, head="fn f<T>(x: [u8; 2]) -> T\nwhere\n    T: A,\n{\n"):
            return head + "    g();\n" * (lines - head.count("\n") - 1) + "}\n"

        self.assertEqual([], self.source(sources.sizes, **{"a.rs": function(60)}))
        (fault,) = self.source(sources.sizes, **{"a.rs": "trait A {\n    fn g() -> u8;\n}\n" + function(61)})
        self.assertIn("a.rs:4: `f` has 61 lines", fault)

    def test_a_drawer_for_everything_has_no_name_here(self):
        self.assertEqual(2, len(self.source(sources.names, **{"util.rs": "", "a__mod.rs": "", "a.rs": ""})))

    def orphans(self, **files):
        return self.faults(sources.orphans, **{"crates__one__Cargo.toml": "", **files})

    def test_a_file_that_no_mod_declares_is_found(self):
        declared = {"crates__one__src__lib.rs": "mod a; mod f { pub(crate) mod g; }", "crates__one__src__f__g.rs": ""}
        below = {"crates__one__src__a.rs": "#[cfg(test)] mod b;\n// mod c;\nmod d { fn mod_e() {} }", "crates__one__src__a__b.rs": ""}
        self.assertEqual([], self.orphans(**declared, **below))
        for orphan in ["a__c", "a__d", "b", "f"]:
            with self.subTest(orphan):
                (fault,) = self.orphans(**declared, **below, **{f"crates__one__src__{orphan}.rs": ""})
                self.assertIn(f"{orphan.replace('__', '/')}.rs: no `mod` declares it", fault)

    def test_what_cargo_finds_or_is_told_needs_no_mod(self):
        for kept in ["build", "src__main", "src__bin__b", "tests__t", "tests__t__main", "benches__b", "examples__e"]:
            with self.subTest(kept):
                self.assertEqual([], self.orphans(**{f"crates__one__{kept}.rs": ""}))
        for manifest in ["[lib]\npath = 'odd/x.rs'", "[[bin]]\nname = 'x'\npath = 'odd/x.rs'"]:
            with self.subTest(manifest):
                self.assertEqual([], self.faults(sources.orphans, **{"fuzz__Cargo.toml": manifest, "fuzz__odd__x.rs": ""}))
        self.assertEqual(2, len(self.orphans(**{"crates__one__tests__t__x.rs": "", "crates__one__odd__x.rs": ""})))

    def test_a_module_may_have_a_path_of_its_own(self):
        crate = {"crates__one__src__lib.rs": '#[cfg_attr(feature = "x", path = "b/c.rs")]\nmod a;', "crates__one__src__a.rs": ""}
        self.assertEqual([], self.orphans(**crate, **{"crates__one__src__b__c.rs": ""}))
        self.assertEqual(1, len(self.orphans(**crate, **{"crates__one__src__b__d.rs": ""})))

    def test_a_tests_own_modules_lie_beside_it(self):
        self.assertEqual([], self.orphans(**{"crates__one__tests__t__main.rs": "mod x;", "crates__one__tests__t__x.rs": ""}))


class Documents(Planted):
    def promises(self, text, **files):
        return self.faults(documents.promises, **{"A.md": text, **files})

    def test_a_promise_names_a_test_that_exists(self):
        test = {"tests__a.rs": "fn nobody_is_left_behind() {}"}
        self.assertEqual([], self.promises("kept by `nobody_is_left_behind`", **test))
        self.assertEqual(1, len(self.promises("kept by `somebody_is_left_behind`", **test)))

    def test_paths_links_and_parts_exist(self):
        self.assertEqual(1, len(self.promises("see `crates/one/src/a.rs`")))
        self.assertEqual(1, len(self.promises("see [there](docs/guide.md#top)")))
        self.assertEqual(1, len(self.promises("run `.ci/check-house nonsense`")))
        self.assertEqual([], self.promises("[out](https://example.org) [down](#here) [me](A.md) <!-- `crates/x` -->"))


class Packages(unittest.TestCase):
    def test_a_licence_is_met_by_one_way_through_it(self):
        allowed = {"MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"}
        for met in ["MIT", "MIT/GPL-3.0", "(MIT OR GPL-3.0) AND Unicode-3.0", "GPL-3.0 OR Apache-2.0 WITH LLVM-exception"]:
            self.assertTrue(packages.licence_allowed(met, allowed), met)
        for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH Some-exception", "(MIT", "MIT MIT"]:
            self.assertFalse(packages.licence_allowed(unmet, allowed), unmet)

    def test_a_crate_depends_downward_and_has_a_floor(self):
        def steps(name, *dependencies, home="crates"):
            package = {"manifest_path": f"/{home}/x/Cargo.toml", "dependencies": [{"name": n} for n in dependencies]}
            return list(packages._steps_up(name, package, [*packages.BELOW, "newcomer", "backpressure-tests"]))

        self.assertEqual([], steps(packages.HTTP, packages.GATE, packages.CORE, "bytes"))
        self.assertEqual([], steps("backpressure-tests", packages.HTTP, home="tests"))
        self.assertEqual(1, len(steps(packages.GATE, packages.HTTP)))
        self.assertEqual(1, len(steps("backpressure-tests", packages.LAB, home="tests")))
        self.assertEqual(1, len(steps("newcomer")))

    def test_a_release_is_compared_by_number(self):
        self.assertEqual(packages._release("1.85"), packages._release("1.85.0"))
        self.assertLess(packages._release("1.9.2"), packages._release("1.85"))


class Rust(unittest.TestCase):
    def test_a_lifetime_is_no_open_quote(self):
        self.assertEqual(["fn", "f", "<", ">", "(", ")"], [t.text for t in rust.tokens("fn f<'a>('\\'')")])


if __name__ == "__main__":
    unittest.main()
