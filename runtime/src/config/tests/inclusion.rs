//! Configurations of several files.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{LEAST, STANDARD};
use crate::config::{Config, Examined, examine};

/// Files in a folder of their own.
struct Folder(TempDir);

impl Folder {
    fn of(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn examine(&self) -> Examined {
        examine(&self.0.path().join("tidegate.toml"), STANDARD, &|_| ())
    }

    fn accept(&self) -> Config {
        self.examine().into_config().unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// What is wrong, with paths relative to the folder.
    fn refuse(&self) -> Vec<String> {
        let problems = self.examine().into_config().expect_err("nothing is wrong");
        let folder = format!("{}/", self.0.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn looked_for(&self) -> Vec<PathBuf> {
        let inputs = self.examine().inputs.0;
        inputs.iter().map(|path| path.strip_prefix(self.0.path()).unwrap_or(path).to_owned()).collect()
    }
}

fn including(what: &str) -> String {
    format!("include = [{what}]\n{LEAST}")
}

fn chat(name: &str) -> String {
    format!("[[routes]]\nname = '{name}'\npath = '/{name}'\nupstream = 'chat'\n")
}

#[test]
fn routes_upstreams_listeners_and_components_of_all_files_add_up_in_the_order_of_their_names() {
    let b = format!("{}[upstreams.b]\nendpoints = [{{ url = 'b' }}]\n", chat("b"));
    let a = format!("[[listeners]]\nlisten = '0.0.0.0:8081'\n{}[components.shout]\npath = 'shout.wasm'\n", chat("a"));
    let main = including("'conf.d/*.toml'");
    let folder =
        Folder::of(&[("tidegate.toml", &main), ("conf.d/b.toml", &b), ("conf.d/a.toml", &a), ("conf.d/c.txt", "[")]);
    let config = folder.accept();
    let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["chat", "a", "b"]);
    assert_eq!(config.listeners.len(), 2);
    assert!(config.upstreams.contains_key("b") && config.components.contains_key("shout"));
    let expected = ["conf.d/*.toml", "conf.d/a.toml", "conf.d/b.toml"].map(PathBuf::from);
    assert_eq!(folder.looked_for(), expected);
}

#[test]
fn files_include_others_relative_to_themselves() {
    let folder = Folder::of(&[
        ("tidegate.toml", &including("'deep/one.toml'")),
        ("deep/one.toml", "include = ['more/t?o.toml']\ndrain_time = '1s'"),
        ("deep/more/two.toml", &chat("two")),
    ]);
    let config = folder.accept();
    assert_eq!((config.routes.len(), config.drain_time.as_secs()), (2, 1));
}

#[test]
fn a_problem_names_its_file_and_a_key_that_stands_in_two_names_both() {
    let folder = Folder::of(&[
        ("tidegate.toml", &including("'a.toml', 'b.toml'")),
        ("a.toml", "watch = true\n[upstreams.chat]\nendpoints = [{ url = 'a' }]\n[admin]\n"),
        ("b.toml", "\nwatch = false\n[[routes]]\nname = 'chat'\npath = '/b'\nupstream = 'none'\n[admin]\n"),
    ]);
    assert_eq!(
        folder.refuse(),
        [
            "a.toml:2:12: upstreams.chat: this stands in line 5 of tidegate.toml already; remove one of the two",
            "b.toml:2:1: watch: this stands in line 1 of a.toml already; remove one of the two",
            "b.toml:4:8: routes[1].name: \"chat\" is the name of the route of line 7 of tidegate.toml already; choose another name",
            "b.toml:6:12: routes[1].upstream: there is no upstream \"none\"; there is `chat`",
            "b.toml:7:2: admin: this stands in line 4 of a.toml already; remove one of the two",
        ],
    );
}

#[test]
fn syntax_errors_and_bytes_that_are_no_text_name_their_file() {
    let folder = Folder::of(&[("tidegate.toml", &including("'*.conf'")), ("a.conf", "x = 1\ny = ")]);
    std::fs::write(folder.0.path().join("b.conf"), b"# caf\xe9").unwrap();
    let told = folder.refuse();
    assert!(told.iter().any(|line| line.starts_with("a.conf:2:5: this is no TOML")), "{told:?}");
    assert!(told.contains(&"b.conf:1:6: the file is not UTF-8; save it as UTF-8".to_owned()), "{told:?}");
}

#[test]
fn what_cannot_be_included_is_told_where_it_is_asked_for() {
    for (asked, expected) in [
        ("'none.toml'", "include: none.toml cannot be read: No such file"),
        ("'tidegate.toml'", "include: tidegate.toml is a part of the configuration already"),
        ("'a.toml', './a.toml'", "include: ./a.toml is a part of the configuration already"),
        ("'circle.toml'", "include: circle.toml is a part of the configuration already"),
        ("'*/a.toml'", "include: only the name of a file may have wildcards"),
        ("'folder'", "include: folder cannot be read: it is a directory, and not a regular file"),
        ("7", "include: expected the path of a file, found a whole number"),
        ("''", "include: the path is empty"),
        ("'${NO_SUCH_VARIABLE}'", "include: the environment has no variable `NO_SUCH_VARIABLE`"),
    ] {
        let folder = Folder::of(&[
            ("tidegate.toml", &including(asked)),
            ("a.toml", ""),
            ("circle.toml", "include = ['circle.toml']"),
            ("folder/b.toml", ""),
        ]);
        let told = folder.refuse();
        assert!(told.iter().any(|line| line.contains(expected)), "{asked}: {told:?}");
    }
    let text = including("'a.toml'").replace("['a.toml']", "'a.toml'");
    let told = Folder::of(&[("tidegate.toml", &text)]).refuse();
    assert!(told[0].starts_with("tidegate.toml:1:11: include: expected a list of files, found text"), "{told:?}");
}

#[test]
fn a_wildcard_may_match_nothing_and_is_looked_for_all_the_same() {
    let folder = Folder::of(&[("tidegate.toml", &including("'conf.d/*.toml'"))]);
    assert_eq!(folder.accept().routes.len(), 1);
    assert_eq!(folder.looked_for(), [Path::new("conf.d/*.toml")]);
    // Also where something is wrong, so that its mending is noticed.
    folder.write("conf.d/a.toml", "[");
    assert_eq!(folder.looked_for(), [Path::new("conf.d/*.toml"), Path::new("conf.d/a.toml")]);
}

#[test]
fn inclusion_ends_somewhere() {
    let chain: Vec<(String, String)> =
        (0..12).map(|n| (format!("{n}.toml"), format!("include = ['{}.toml']", n + 1))).collect();
    let mut files: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let main = including("'0.toml'");
    files.push(("tidegate.toml", &main));
    let told = Folder::of(&files).refuse();
    assert!(told.iter().any(|line| line.contains("files are included 9 deep")), "{told:?}");
}

#[test]
fn only_strings_of_our_own_keys_are_expanded() {
    let main = "[[listeners]]\nlisten = '0.0.0.0:8080'\n[upstreams.chat]\nendpoints = [{ url = '${NO_SUCH_VARIABLE}' }]\n\
                [[routes]]\nname = 'chat'\nupstream = 'chat'\n\
                filters = [{ component = 'rewrite', config = { a = '${name}', config = ['${NO_SUCH_VARIABLE}'] } }]\n";
    let told = Folder::of(&[("tidegate.toml", main)]).refuse();
    let expected = "tidegate.toml:4:22: upstreams.chat.endpoints[0].url: the environment has no variable `NO_SUCH_VARIABLE`, \
                    or it is no text; set `NO_SUCH_VARIABLE`, or write `$${` for the text `${`";
    assert_eq!(told, [expected]);
    let config =
        Folder::of(&[("tidegate.toml", &main.replace("url = '${NO_SUCH_VARIABLE}'", "url = 'ws://a/$${x}'"))]).accept();
    assert_eq!(config.upstreams["chat"].endpoints[0].address.url(), "ws://a/$%7Bx%7D");
    assert_eq!(config.routes[0].filters[0].config.reveal(), r#"{"a":"${name}","config":["${NO_SUCH_VARIABLE}"]}"#);
}

#[test]
fn secrets_of_components_come_from_files_that_are_looked_for() {
    let filter = "filters = [{ component = 'access', config = { tokens = [{ token = { secret = { file = 'token' } }, \
                  user = 'a' }] } }]";
    let folder = Folder::of(&[("tidegate.toml", &format!("{LEAST}{filter}\n")), ("token", "hush\n")]);
    let config = folder.accept();
    assert_eq!(config.routes[0].filters[0].config.reveal(), r#"{"tokens":[{"token":"hush","user":"a"}]}"#);
    assert_eq!(folder.looked_for(), [Path::new("token")]);
    assert!(!format!("{config:?}").contains("hush"));
    folder.write("token", "shh\n");
    assert_ne!(folder.accept(), config, "another secret is another configuration");
    std::fs::remove_file(folder.0.path().join("token")).unwrap();
    let told = folder.refuse();
    let expected = "tidegate.toml:9:67: routes[0].filters[0].config.tokens[0].token: the file ";
    assert!(told[0].starts_with(expected) && told[0].contains("cannot be read"), "{told:?}");
    assert_eq!(folder.looked_for(), [Path::new("token")]);
}
