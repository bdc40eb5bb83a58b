//! Who may connect to a unix socket that is listened on: keys that listeners and the admin API share.

use nix::unistd::{Group, User};
use toml::de::DeValue;

use crate::config::{
    reader::{Absent, Fault, Key, Read, Table, Value, quoted},
    value,
};
use crate::listener::{Address, Rights};

pub(super) const MODE: Key = Key {
    name: "mode",
    takes: "octal digits",
    absent: Absent::Means("`0660`, or what an inherited socket has"),
    example: "\"0666\"",
    meaning: "Who may connect to a unix socket, as the mode of its file: those who may write it.",
};

pub(super) const OWNER: Key = Key {
    name: "owner",
    takes: "name or number",
    absent: Absent::Means("the user of the process"),
    example: "\"root\"",
    meaning: "The user that the file of a unix socket belongs to. Another one takes a privilege.",
};

pub(super) const GROUP: Key = Key {
    name: "group",
    takes: "name or number",
    absent: Absent::Means("the group of the process"),
    example: "33",
    meaning: "The group that the file of a unix socket belongs to: one of the process's, without a privilege.",
};

/// Reads who may connect. Only a unix socket has a file; `None`: what it is, is told to be wrong.
pub(super) fn rights(table: &Table<'_>, listen: Option<&Address>) -> Read<Rights> {
    let of_file = |value: &Value<'_>| match listen.filter(|listen| !listen.is_unix()) {
        None => Ok(()),
        Some(listen) => Err(value.refuse(
            format!("{listen} is no unix socket, and has no file that this could be about"),
            "remove it, or write `listen = \"unix:/run/tidegate.sock\"`",
        )),
    };
    let mode = table.optional(&MODE, |value| {
        let mode = value.parsed("the mode of a file", MODE_ADVICE, mode)?;
        of_file(value).map(|()| mode)
    });
    let owner = table.optional(&OWNER, |value| {
        let owner = number(value, "user", |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))?;
        of_file(value).map(|()| owner)
    });
    let group = table.optional(&GROUP, |value| {
        let group = number(value, "group", |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))?;
        of_file(value).map(|()| group)
    });
    Ok(Rights { mode: mode?, owner: owner?, group: group? })
}

fn mode(text: &str) -> Result<u32, Fault> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    mode.ok_or_else(|| Fault::new(format!("{} is no mode of a socket", quoted(text)), MODE_ADVICE))
}

/// The number of a user or a group.
fn number(value: &Value<'_>, what: &str, find: impl Fn(&str) -> nix::Result<Option<u32>>) -> Read<u32> {
    let advice = format!("write the name of a {what} of this machine, or its number");
    if matches!(value.node(), DeValue::Integer(_)) {
        return value::count(value, 0..=u32::MAX - 1);
    }
    value.parsed("a name or a number", &advice, |name| match find(name) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(Fault::new(format!("this machine has no {what} {}", quoted(name)), &*advice)),
        Err(error) => Err(Fault::new(format!("the {what} {} cannot be looked up: {error}", quoted(name)), &*advice)),
    })
}

const MODE_ADVICE: &str = "write three or four octal digits in quotes, such as \"0660\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_digits() {
        for (text, expected) in [("0660", Some(0o660)), ("666", Some(0o666)), ("0777", Some(0o777))] {
            assert_eq!(mode(text).ok(), expected, "{text}");
        }
        for text in ["", "66", "0o660", "0888", "4755", "00660", "rw-rw----"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
