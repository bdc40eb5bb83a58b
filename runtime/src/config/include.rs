//! `include`: the files of a configuration, found and read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::expansion::{Environment, replaced};
use super::reader::{Fault, kind};
use crate::file;

/// The files of a configuration, the one that includes the others first.
pub(super) struct Files {
    pub(super) texts: Vec<File>,
    /// What is wrong, with the file by its number and the bytes in it.
    pub(super) faults: Vec<(usize, Range<usize>, Fault)>,
    /// What was looked for: files, and paths with wildcards in their names.
    pub(super) looked_for: Vec<PathBuf>,
}

impl Files {
    /// A text that is no file.
    pub(super) fn of(name: &str, text: &str) -> Self {
        let mut files = Self { texts: Vec::new(), faults: Vec::new(), looked_for: Vec::new() };
        let found = wanted(text, &|_| Some(String::new()), &mut |span, fault| files.faults.push((0, span, fault)));
        for (_, span) in found {
            let fault = Fault::new("only a file can include others", "put it into a file, or all into one text");
            files.faults.push((0, span, fault));
        }
        files.texts.push(File { name: name.to_owned(), text: text.to_owned() });
        files
    }
}

/// A file.
pub(super) struct File {
    /// As it is told to people.
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads a file and all that it includes; fails where the file itself cannot be read.
pub(super) fn read(path: &Path, environment: Environment<'_>, told: &dyn Fn(&Path)) -> Result<Files, std::io::Error> {
    told(path);
    let bytes = file::read(path, LARGEST)?;
    let files = Files { texts: Vec::new(), faults: Vec::new(), looked_for: Vec::new() };
    let mut reading = Reading { environment, told, files, known: BTreeMap::new() };
    reading.take(path, bytes, 0);
    Ok(reading.files)
}

/// Whether a name matches a pattern, in which `*` stands for any characters and `?` for one. A name that begins with a
/// dot, as drafts of editors have it, is matched by a pattern that does, too.
pub fn matches_name(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on when what comes does not match: behind the last star, one character later.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(character) = name.get(in_name) {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                retry = Some((at, in_name));
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((behind, from)) = retry else { return false };
                (at, in_name) = (behind, from + 1);
                retry = Some((behind, from + 1));
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|left| *left == '*')
}

struct Reading<'e> {
    environment: Environment<'e>,
    /// Hears of what is about to be read.
    told: &'e dyn Fn(&Path),
    files: Files,
    /// By their paths without links: the names of the files that were read.
    known: BTreeMap<PathBuf, String>,
}

impl Reading<'_> {
    fn take(&mut self, path: &Path, bytes: Vec<u8>, depth: usize) {
        let name = path.display().to_string();
        self.known.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()), name.clone());
        let index = self.files.texts.len();
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            let valid = error.utf8_error().valid_up_to();
            self.files.faults.push((index, valid..valid + 1, Fault::new(NOT_UTF8, "save it as UTF-8")));
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        let wanted = wanted(&text, self.environment, &mut |span, fault| self.files.faults.push((index, span, fault)));
        self.files.texts.push(File { name, text });
        let folder = path.parent().unwrap_or(Path::new(""));
        for (pattern, span) in wanted {
            if let Err(fault) = self.include(&folder.join(pattern), depth + 1, index, &span) {
                self.files.faults.push((index, span, fault));
            }
        }
    }

    /// Reads all files that match.
    fn include(&mut self, pattern: &Path, depth: usize, by: usize, span: &Range<usize>) -> Result<(), Fault> {
        if depth > DEEPEST {
            let what = format!("files are included {depth} deep");
            return Err(Fault::new(what, format!("include at most {DEEPEST} deep")));
        }
        for path in self.matching(pattern)? {
            if self.files.texts.len() >= MOST {
                let what = format!("the configuration has more than {MOST} files");
                return Err(Fault::new(what, "put some of them into one"));
            }
            let shown = path.display();
            (self.told)(&path);
            let unread = |error| Fault::new(format!("{shown} cannot be read: {error}"), "name a file that is readable");
            let own = path.canonicalize().map_err(unread)?;
            if self.known.contains_key(&own) {
                let what = format!("{shown} is a part of the configuration already");
                self.files.faults.push((by, span.clone(), Fault::new(what, "include each file once")));
                continue;
            }
            match file::read(&path, LARGEST) {
                Ok(bytes) => self.take(&path, bytes, depth),
                Err(error) => self.files.faults.push((by, span.clone(), unread(error))),
            }
        }
        Ok(())
    }

    /// The files that match, sorted by their names.
    fn matching(&mut self, pattern: &Path) -> Result<Vec<PathBuf>, Fault> {
        self.files.looked_for.push(pattern.to_owned());
        let has_wildcard = |part: &std::ffi::OsStr| part.to_string_lossy().contains(['*', '?']);
        let folder = pattern.parent().unwrap_or(Path::new(""));
        if folder.iter().any(has_wildcard) {
            let what = "only the name of a file may have wildcards, not that of its folder";
            return Err(Fault::new(what, "name each folder, as in [\"conf.d/*.toml\"]"));
        }
        let Some(name) = pattern.file_name().filter(|name| has_wildcard(name)) else {
            return Ok(vec![pattern.to_owned()]);
        };
        let name = name.to_string_lossy();
        (self.told)(folder);
        let listed = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let listed = match listed {
            Ok(listed) => listed,
            // Nothing is there that could match.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let what = format!("the folder {} cannot be read: {error}", folder.display());
                return Err(Fault::new(what, "name a folder that is readable"));
            }
        };
        let names = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut paths: Vec<PathBuf> =
            names.filter(|file| matches_name(&name, file)).map(|file| folder.join(file)).collect();
        paths.retain(|path| !path.is_dir());
        paths.sort();
        Ok(paths)
    }
}

/// What a text includes, with the places.
fn wanted(
    text: &str,
    environment: Environment<'_>,
    refuse: &mut dyn FnMut(Range<usize>, Fault),
) -> Vec<(String, Range<usize>)> {
    const ADVICE: &str = "write a list of files such as [\"conf.d/*.toml\"]";
    // Most files include nothing, and need not be read twice.
    if !text.contains("include") {
        return Vec::new();
    }
    let (document, _) = DeTable::parse_recoverable(text);
    let Some(value) = document.get_ref().get("include") else { return Vec::new() };
    let mistyped =
        |expected: &str, node: &DeValue<'_>| Fault::new(format!("expected {expected}, found {}", kind(node)), ADVICE);
    let DeValue::Array(list) = value.get_ref() else {
        refuse(value.span(), mistyped("a list of files", value.get_ref()));
        return Vec::new();
    };
    let mut found = Vec::new();
    for element in list {
        match element.get_ref().as_str() {
            None => refuse(element.span(), mistyped("the path of a file", element.get_ref())),
            Some("") => refuse(element.span(), Fault::new("the path is empty", ADVICE)),
            Some(text) => match replaced(text, environment) {
                Ok(other) => found.push((other.unwrap_or_else(|| text.to_owned()), element.span())),
                Err(fault) => refuse(element.span(), fault),
            },
        }
    }
    found
}

/// What is wrong with a file that is no text.
pub(super) const NOT_UTF8: &str = "the file is not UTF-8";
/// Deeper than anybody means, and a bound for links in a circle.
const DEEPEST: usize = 8;
/// Of each file, in bytes: a hundred thousand endpoints are a tenth of it.
const LARGEST: u64 = 64 << 20;
/// A bound for what a wildcard may find by accident.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters_and_question_marks_for_one() {
        for (pattern, name) in [
            ("*.toml", "a.toml"),
            ("*", "a"),
            ("a*b*c", "abbc"),
            ("?.toml", "é.toml"),
            ("a", "a"),
            (".*", ".a"),
            ("**", "a"),
        ] {
            assert!(matches_name(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.toml", "a.toml~"), ("*.toml", ".a.toml"), ("?", ""), ("?", "ab"), ("a*b", "abc"), ("", "a"), ("a", "")]
        {
            assert!(!matches_name(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_more_than_the_product_of_both_lengths() {
        assert!(!matches_name(&"*a".repeat(100), &"a".repeat(99).replace("aa", "ab")));
    }
}
