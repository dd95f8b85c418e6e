//! The layering, checked. `ALLOWED` is the architecture in one table: what each module of `src/` may use.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Module, and what it may use besides itself, std and crates.
const ALLOWED: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("kinds", &["api"]),
    ("store", &[]),
    ("pki", &["task"]),
    ("config", &[]),
    ("task", &[]),
    (
        "apiserver",
        &["api", "kinds", "store", "pki", "config", "task"],
    ),
    ("client", &["api", "kinds", "task"]),
    ("controllers", &["api", "kinds", "client", "task", "pki"]),
    ("scheduler", &["api", "client", "task"]),
    ("runtime", &["config", "task"]),
    ("net", &["config", "task"]),
    ("distribution", &["runtime", "task"]),
    (
        "node",
        &["api", "client", "runtime", "net", "pki", "config", "task"],
    ),
    ("proxy", &["api", "client", "net", "task"]),
    ("dns", &["api", "client", "config", "task"]),
    (
        "ingress",
        &["api", "client", "net", "pki", "config", "task"],
    ),
    ("dashboard", &["api", "apiserver", "task"]),
    (
        "daemon",
        &[
            "api",
            "kinds",
            "store",
            "pki",
            "config",
            "task",
            "apiserver",
            "client",
            "controllers",
            "scheduler",
            "runtime",
            "net",
            "distribution",
            "node",
            "proxy",
            "dns",
            "ingress",
            "dashboard",
        ],
    ),
    (
        "cli",
        &[
            "api", "kinds", "client", "config", "daemon", "runtime", "task",
        ],
    ),
    ("lib", &["api", "client"]),
    ("main", &[]),
];

/// Words that mean "talks to the kernel", and the folders that may.
const KERNEL_WORDS: &[&str] = &["libc::", "rtnetlink::", "unsafe {", "libcontainer::"];
const KERNEL_FOLDERS: &[&str] = &["runtime", "net"];

/// Only this file names the storage engine.
const SLED_HOME: &str = "store/kv.rs";

const LINES_MAX: usize = 500;

/// Files above the ceiling, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn modules_use_only_what_lies_below_them() {
    for file in sources() {
        let module = top_module(&file);
        let allowed = ALLOWED
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("`{module}` is missing from ALLOWED"))
            .1;
        for used in used_modules(&fs::read_to_string(&file).unwrap()) {
            assert!(
                used == module || allowed.contains(&used.as_str()),
                "{}: `{module}` may not use `{used}`",
                file.display()
            );
        }
    }
}

#[test]
fn only_runtime_and_net_talk_to_the_kernel() {
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let word = KERNEL_WORDS
            .iter()
            .find(|word| code(&text).any(|line| line.contains(*word)));
        if let Some(word) = word {
            assert!(
                KERNEL_FOLDERS.contains(&top_module(&file).as_str()),
                "{}: uses `{word}`",
                file.display()
            );
        }
    }
}

#[test]
fn only_the_key_value_file_names_sled() {
    for file in sources().iter().filter(|file| !file.ends_with(SLED_HOME)) {
        let text = fs::read_to_string(file).unwrap();
        assert!(
            !code(&text).any(|line| line.contains("sled::")),
            "{}: names sled",
            file.display()
        );
    }
}

#[test]
fn files_are_short_and_introduce_themselves() {
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .take_while(|line| !line.contains("#[cfg(test)]"))
            .count();
        let name = file
            .strip_prefix(src())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let excused = LONG_FILES.iter().any(|(long, _)| *long == name);
        let is_test = name.ends_with("tests.rs");
        assert!(
            lines <= LINES_MAX || excused || is_test,
            "{name}: {lines} lines"
        );
        assert!(text.starts_with("//!"), "{name}: should start with `//!`");
    }
}

/// Top-level modules named in `crate::a` and `crate::{a, b::c}` paths.
fn used_modules(text: &str) -> BTreeSet<String> {
    let code: String = code(text).collect::<Vec<_>>().join("\n");
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => used.extend(first_word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && c.is_alphanumeric() => {
                            used.extend(first_word(&group[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    used
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

fn top_module(file: &Path) -> String {
    let inside = file.strip_prefix(src()).unwrap();
    let first = inside.components().next().unwrap().as_os_str();
    first.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}
