//! The shape of the code, as a test: a module uses only what stands below it in `lib.rs`, a file stays readable, and
//! no file is named for what it is not.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects, also in its functions")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_module_uses_only_what_stands_below_it() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = modules(&read(&runtime.join("lib.rs")));
    assert!(order.len() > 10, "the order was not found in lib.rs: {order:?}");

    let mut upward = String::new();
    for file in rust_files(&runtime) {
        let path: Vec<_> = file.strip_prefix(&runtime).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        let own = path[0].trim_end_matches(".rs");
        if path.len() == 1 && matches!(own, "lib" | "main") {
            continue;
        }
        let own_rank = order.iter().position(|module| module == own);
        let own_rank = own_rank.unwrap_or_else(|| panic!("{} belongs to no module of lib.rs", file.display()));
        for (line, used) in paths_from_the_root(&read(&file), path.len()) {
            let is_allowed = order.iter().position(|module| *module == used).is_some_and(|rank| rank >= own_rank);
            if !is_allowed {
                writeln!(upward, "{}:{line}: `{own}` must not use `{used}`", file.display()).unwrap();
            }
        }
    }
    assert!(upward.is_empty(), "lib.rs lists modules from top to bottom:\n{upward}");
}

#[test]
fn a_file_has_at_most_500_lines() {
    let long: Vec<_> = workspace_files().into_iter().filter(|file| read(file).lines().count() > 500).collect();
    assert!(long.is_empty(), "these are two files each: {long:?}");
}

#[test]
fn a_file_is_named_for_what_it_holds() {
    const SAYS_NOTHING: [&str; 9] = ["util", "utils", "common", "manager", "helper", "helpers", "misc", "data", "mod"];
    let vague: Vec<_> = workspace_files()
        .into_iter()
        .filter(|file| SAYS_NOTHING.contains(&file.file_stem().unwrap().to_str().unwrap()))
        .collect();
    assert!(vague.is_empty(), "{vague:?}");
}

#[test]
fn the_reader_of_paths_sees_every_way_to_write_one() {
    let source = "\
use crate::metrics::Side;
use crate::{config, route::{Matcher, crate_like}, ws::*};
// use crate::comment::Ignored;
/// [`crate::doc::Ignored`]
fn f() -> crate::balance::Lease { super::super::pipe::f(super::sibling()) }
use super::{super::session, x};
mod tests {
    use super::super::super::handshake;
    use super::super::neighbour;
}
";
    let used = paths_from_the_root(source, 2);

    let expected = [
        (1, "metrics"),
        (2, "config"),
        (2, "route"),
        (2, "ws"),
        (5, "balance"),
        (5, "pipe"),
        (6, "super"),
        (8, "handshake"),
    ];
    assert_eq!(used, expected.map(|(line, module)| (line, module.to_owned())));
}

/// The modules of `lib.rs`, from top to bottom.
fn modules(lib: &str) -> Vec<String> {
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

/// Every top-level module that a file names, with the line: by `crate::` or by enough `super::`. `depth` is 1 for a
/// file beside `lib.rs`. A path that steps to `super` inside braces is reported as `super`, which no module is called.
fn paths_from_the_root(source: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside_inline_module = 0;
    let mut offset = 0;
    for (index, line) in source.split_inclusive('\n').enumerate() {
        let code = line.split("//").next().unwrap();
        if code.trim_start().starts_with("mod ") && code.trim_end().ends_with('{') {
            inside_inline_module = 1;
        }
        let mut rest = code;
        while let Some((steps, after)) = next_root(rest) {
            let reaches_root = steps == 0 || steps >= depth + inside_inline_module;
            let start = offset + code.len() - after.len();
            if reaches_root {
                found.extend(first_segments(&source[start..]).into_iter().map(|module| (index + 1, module)));
            } else if source[start..].starts_with('{') {
                let inner = first_segments(&source[start..]);
                found.extend(inner.into_iter().filter(|module| module == "super").map(|module| (index + 1, module)));
            }
            rest = after;
        }
        offset += line.len();
    }
    found
}

/// The first `crate::` (no steps) or run of `super::` (as many steps) in a line, and what follows it.
fn next_root(code: &str) -> Option<(usize, &str)> {
    let starts_word = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
    let at = code
        .match_indices("crate::")
        .chain(code.match_indices("super::"))
        .map(|(at, _)| at)
        .filter(|at| starts_word(*at))
        .min()?;
    let mut after = &code[at..];
    if let Some(path) = after.strip_prefix("crate::") {
        return Some((0, path));
    }
    let mut steps = 0;
    while let Some(path) = after.strip_prefix("super::") {
        steps += 1;
        after = path;
    }
    Some((steps, after))
}

/// The first segment of a path, or of each path in its braces.
fn first_segments(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return segment(path).into_iter().collect();
    };
    let mut segments: Vec<_> = segment(group.trim_start()).into_iter().collect();
    let mut nested = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => nested += 1,
            '}' if nested == 0 => break,
            '}' => nested -= 1,
            ',' if nested == 0 => segments.extend(segment(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    segments
}

fn segment(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

fn workspace_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    ["runtime", "filters", "guest-sdk", "tests"].iter().flat_map(|member| rust_files(&root.join(member))).collect()
}

/// All Rust files below a directory, but not what was built there.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
