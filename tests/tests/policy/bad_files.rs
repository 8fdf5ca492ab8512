//! What is wrong with a file, and where: a corpus of files with the message expected for each.

use std::path::{Path, PathBuf};

use backpressure_tests::seed::seeded_rng;
use tower_backpressure::policy::{PolicyError, PolicySet};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy/bad")
}

/// The message, with the name of the file alone.
fn message(path: &Path, error: &PolicyError) -> String {
    let folder = path.parent().expect("a folder").display().to_string();
    format!("{}\n", error.to_string().replace(&format!("{folder}/"), ""))
}

/// Writes the messages when `POLICY_BLESS` is set.
#[test]
fn each_bad_file_is_refused_with_the_message_that_is_beside_it() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(corpus())
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "{}", files.len());
    for file in files {
        let error = PolicySet::load(&file).expect_err(&file.display().to_string());
        let (found, beside) = (message(&file, &error), file.with_extension("txt"));
        if std::env::var_os("POLICY_BLESS").is_some() {
            std::fs::write(&beside, &found).expect("a message");
        }
        let expected = std::fs::read_to_string(&beside).expect("a message beside each file");
        assert_eq!(found, expected, "{}", file.display());
    }
}

#[test]
fn a_file_of_any_size_is_refused_without_being_read_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large.toml");
    let zeros = std::fs::File::create(&file).expect("a file");
    zeros.set_len(1 << 40).expect("a sparse file of a terabyte");
    let error = PolicySet::load(&file).expect_err("too large");
    assert!(error.to_string().ends_with("the file is larger than 1048576 bytes"), "{error}");
    std::fs::write(&file, "# comment\n".repeat(1 << 20)).expect("10 MB");
    let error = PolicySet::load(&file).expect_err("too large");
    assert!(error.to_string().ends_with("the file is larger than 1048576 bytes"), "{error}");
}

#[test]
fn a_file_full_of_policies_is_refused_without_comparing_them_all() {
    let policy = |n| {
        format!("[[policy]]\nname = \"p{n}\"\nadmission = \"a\"\nmatch = {{ path = \"/p{n}\" }}\n")
    };
    let text = format!("[admission.a]\n{}", (0..14_000).map(policy).collect::<String>());
    let error = PolicySet::parse(&text).expect_err("too many");
    assert!(error.to_string().contains("there are more than"), "{error}");
    assert_eq!(error.problems().len(), 1);
    let layers: String = (0..9_000).map(|n| format!("[admission.a{n}]\n")).collect();
    let error = PolicySet::parse(&format!("{layers}[default]\nadmission = \"b\"\n"));
    let error = error.expect_err("no such admission").to_string();
    assert!(error.contains("unknown admission") && error.len() < 1_000, "{error}");
}

#[test]
fn deep_nesting_is_refused_and_overflows_no_stack() {
    for (open, close) in [("[", "]"), ("{ a = ", " }")] {
        let deep = 100_000;
        let text = format!("canary = {}1{}\n[default]\n", open.repeat(deep), close.repeat(deep));
        let error = PolicySet::parse(&text).expect_err("nested");
        assert!(!error.problems().is_empty(), "{error}");
    }
    let dotted = format!("{} = 1\n[default]\n", vec!["a"; 100_000].join("."));
    assert!(PolicySet::parse(&dotted).is_err());
    let error = PolicySet::parse(&"[default]\n".repeat(10_000)).expect_err("repeated");
    assert!(error.problems().len() <= 20);
}

#[test]
fn a_path_that_is_no_regular_file_is_not_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let loop_path = folder.path().join("loop.toml");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&loop_path, &loop_path).expect("a link to itself");
        assert!(PolicySet::load(&loop_path).is_err());
        assert!(PolicySet::load("/dev/zero").is_err());
    }
    assert!(PolicySet::load(folder.path()).is_err());
    assert!(PolicySet::load(folder.path().join("none.toml")).is_err());
    assert!(PolicySet::load("nul\0byte.toml").is_err());
}

/// Replaces, removes, inserts or cuts at a random byte.
fn change(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    let at = rng.usize(..=bytes.len());
    match rng.u8(..4) {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u8(..)),
        1 => drop(bytes.drain(at..(at + rng.usize(..20)).min(bytes.len()))),
        2 => bytes.insert(at, *rng.choice(b"0123456789-.[]{}\"'%\n").expect("not empty")),
        _ => bytes.truncate(at),
    }
}

#[test]
fn no_random_change_of_a_good_file_causes_a_panic() {
    let good = include_str!("good.toml");
    PolicySet::parse(good).expect("it is good");
    let (seed, mut rng) = seeded_rng();
    for _ in 0..2_000 {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..rng.usize(1..4) {
            change(&mut bytes, &mut rng);
        }
        let text = String::from_utf8_lossy(&bytes);
        let parsed = std::panic::catch_unwind(|| PolicySet::parse(&text).map(drop));
        assert!(parsed.is_ok(), "seed {seed}: {text}");
    }
}

#[test]
fn a_field_that_does_not_exist_is_refused_in_each_table_of_a_good_file() {
    let good = include_str!("good.toml");
    let lines: Vec<&str> = good.lines().collect();
    let mut tables = 0;
    for (number, line) in lines.iter().enumerate() {
        let mut changed: Vec<(usize, String)> = Vec::new();
        if line.starts_with('[') {
            changed.push((number + 2, format!("{line}\nunknowable = 1")));
        }
        // Each table within the line, but for the one that names tenants and has any keys.
        for (at, _) in line.match_indices("{ ").filter(|_| !line.starts_with("tenants")) {
            let (before, after) = line.split_at(at + 2);
            changed.push((number + 1, format!("{before}unknowable = 1, {after}")));
        }
        for (wrong, text) in changed {
            tables += 1;
            let file = [&lines[..number], &[text.as_str()], &lines[number + 1..]].concat();
            let error = PolicySet::parse(&file.join("\n")).expect_err(&text);
            assert!(error.to_string().contains("unknowable"), "{text}: {error}");
            assert_eq!(error.problems()[0].line, wrong, "{text}: {error}");
        }
    }
    assert!(tables >= 35, "{tables}");
}
