//! The configuration reference, made from the declarations that the reader works by.

use std::fmt::{self, Write as _};

use super::{
    reader::{Absent, Section},
    sections,
};

/// Every table and key with its type, default and meaning, as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         The file is TOML. Durations are text such as `\"1m30s\"` or `\"500ms\"`; where one may be `\"off\"`, `0` says the \
         same. Sizes are text such as `\"16MiB\"` (2^20 bytes each) or `\"1MB\"` (10^6 bytes), or a number of bytes. \
         Names have 1 to 64 of the characters `a-z A-Z 0-9 - _ .`. Unknown keys are refused.\n\n\
         In texts, `${NAME}` stands for the variable of that name in the environment, and `$${` for `${`; a variable that \
         is not set is refused. In the `config` of a component, `${NAME}` is the component's own.\n",
    );
    for section in sections::ALL {
        // Writing to a string cannot fail.
        let _ = table(&mut text, section);
    }
    text
}

fn table(text: &mut String, section: &Section) -> fmt::Result {
    let title =
        if section.title.starts_with('[') { format!("`{}`", section.title) } else { capitalized(section.title) };
    writeln!(text, "\n## {title}\n")?;
    if !section.about.is_empty() {
        writeln!(text, "{}\n", section.about)?;
    }
    writeln!(text, "| Key | Type | Default | Meaning |\n|---|---|---|---|")?;
    for key in section.keys {
        let default = match key.absent {
            Absent::Missing => "required".to_owned(),
            Absent::Default(value) => format!("`{value}`"),
            Absent::Means(words) => words.to_owned(),
        };
        writeln!(text, "| `{}` | {} | {default} | {} |", key.name, key.takes, key.meaning)?;
    }
    Ok(())
}

fn capitalized(title: &str) -> String {
    let mut characters = title.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
