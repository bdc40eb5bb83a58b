//! What routes answer by themselves.

use std::collections::BTreeMap;
use std::path::Path;

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};

use super::template;
use super::tls::file_such_as;
use crate::answers::{InvalidRedirect, Redirect, STATUSES, VALUES};
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Value, quoted},
    types::{Answer, Content, File},
    value,
};
use crate::http::has_content;

pub(super) const ANSWER: Section = Section {
    title: "the answer of a route",
    about: "Every request that takes the route gets it, by whatever method, handshakes too; networks, tokens, `authorize`, origins \
            and limits of the route come first. There is nothing behind the head of an answer to `HEAD`.",
    keys: &[STATUS, HEADERS, BODY, FILE],
};

const STATUS: Key = Key {
    name: "status",
    takes: "whole number",
    absent: Absent::Default("200"),
    example: "503",
    meaning: "The status, 200 to 599.",
};

const HEADERS: Key = Key {
    name: "headers",
    takes: "table",
    absent: Absent::Default("{}"),
    example: "{ cache-control = \"no-store\" }",
    meaning: "Header fields, each with a text or a list of texts. `content-type` is what `body` and `file` say, unless it stands here.",
};

const BODY: Key = Key {
    name: "body",
    takes: "text",
    absent: Absent::Means("none, unless there is a `file`"),
    example: "\"ok\\n\"",
    meaning: "The content: plain text, unless `headers` has another `content-type`.",
};

const FILE: Key = Key {
    name: "file",
    takes: "path",
    absent: Absent::Means("none, unless there is a `body`"),
    example: "\"pages/closed.html\"",
    meaning: "A file with the content, 1MiB at most, relative to the directory of the configuration; the end of its name says what \
              it is. It is read with the configuration, and again when it changes.",
};

pub(super) const REDIRECT: Section = Section {
    title: "the redirect of a route",
    about: "Every request that takes the route is sent elsewhere, by whatever method, handshakes too; networks, tokens, `authorize`, \
            origins and limits of the route come first.",
    keys: &[TO, REDIRECT_STATUS],
};

const TO: Key = Key {
    name: "to",
    takes: "url",
    absent: Absent::Missing,
    example: "\"https://{host}{path}?{query}\"",
    meaning: "Where to: a whole url or a path. `{host}` is the host that was asked, without a port; `{path}` the path; `{rest}` what of \
              it is behind `path_prefix`; `{query}` the query, which is left out with the `?` or `&` before it where there is none. All \
              are encoded for their places, and the host of a whole url is yours or all of `{host}`. `{{` is a brace.",
};

const REDIRECT_STATUS: Key = Key {
    name: "status",
    takes: "whole number",
    absent: Absent::Default("308"),
    example: "307",
    meaning: "301, 302, 303, 307 or 308: browsers keep the method with 307 and 308, and remember 301 and 308.",
};

/// Reads an answer; paths are relative to `base`.
pub(super) fn answer(value: &Value<'_>, base: &Path) -> Read<Answer> {
    let table = value.table(&ANSWER, "write { status = 200, body = \"ok\" }")?;
    let status = table.read(&STATUS, |value| status(value, 200..=599));
    let headers = table.read(&HEADERS, fields);
    let text = table.optional(&BODY, |value| value.string("text", "write text such as \"ok\"").map(str::to_owned));
    let file = table.optional(&FILE, |value| page(value, base));
    if let (Some(_), Some(file)) = (table.value(&BODY), table.value(&FILE)) {
        return Err(file.refuse("`body` and `file` exclude each other", "remove one of the two"));
    }
    let content = table.value(&BODY).or_else(|| table.value(&FILE));
    if let (Ok(status), Some(content)) = (&status, content)
        && !has_content(*status)
    {
        let what = format!("an answer with the status {} has no content", status.as_u16());
        return Err(content.refuse(what, "remove it, or choose another status"));
    }
    let content = match (text?, file?) {
        (Some(text), _) => Content::Text(text),
        (None, Some(file)) => Content::File(file),
        (None, None) => Content::Nothing,
    };
    Ok(Answer { status: status?, headers: headers?, content })
}

/// Reads pages for errors, by status; paths are relative to `base`.
pub(super) fn errors(value: &Value<'_>, base: &Path) -> Read<BTreeMap<StatusCode, File>> {
    const ADVICE: &str = "write { 503 = \"pages/busy.html\" }: each status with its file";
    let mut pages = BTreeMap::new();
    let mut result = Ok(());
    for (text, place, value) in value.entries("a table of files by status", ADVICE)? {
        let is_plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let status = text.parse().ok().filter(|status| is_plain && (400..=599).contains(status));
        let status = status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(|| {
            let what = format!("{} is no status of an error", quoted(text));
            value.refuse_at(&place, what, "write a status from 400 to 599")
        });
        match (status, page(&value, base)) {
            (Ok(status), Ok(file)) => drop(pages.insert(status, file)),
            (Err(refused), _) | (_, Err(refused)) => result = Err(refused),
        }
    }
    result.map(|()| pages)
}

/// Reads the path of a page.
fn page(value: &Value<'_>, base: &Path) -> Read<File> {
    file_such_as(value, base, "write text such as \"pages/busy.html\"")
}

/// Reads where requests are sent.
pub(super) fn redirect(value: &Value<'_>) -> Read<Redirect> {
    let table = value.table(&REDIRECT, "write { to = \"https://{host}{path}?{query}\" }")?;
    let status = table.read(&REDIRECT_STATUS, |value| {
        let status = status(value, 300..=399)?;
        if STATUSES.contains(&status.as_u16()) {
            return Ok(status);
        }
        Err(value.refuse(format!("{} sends nobody elsewhere", status.as_u16()), "write 301, 302, 303, 307 or 308"))
    });
    // What is wrong with the status is told already.
    let known = status.as_ref().map_or(StatusCode::PERMANENT_REDIRECT, |status| *status);
    let redirect = table.read(&TO, |value| {
        value.parsed("a url", ADVICE, |text| Redirect::parse(text, known).map_err(|invalid| fault(&invalid)))
    });
    status?;
    redirect
}

const ADVICE: &str = "write a url such as \"https://{host}{path}?{query}\", or a path such as \"/new{rest}\"";

fn fault(invalid: &InvalidRedirect) -> Fault {
    let instead = match invalid {
        InvalidRedirect::Template(invalid) => return template::fault(invalid, VALUES),
        InvalidRedirect::Nowhere => ADVICE,
        InvalidRedirect::Host => {
            "write a host of your own, or `{host}` alone, with a port if need be; `www.{host}` may stand there, too"
        }
        InvalidRedirect::Character(_) | InvalidRedirect::Encoding => "percent-encode it, as in \"/caf%C3%A9\"",
        InvalidRedirect::Query => "write it behind a `?` or a `&`, and nothing but `&` or `#` behind it",
    };
    Fault::new(format!("nobody can be sent there: {invalid}"), instead)
}

fn status(value: &Value<'_>, bounds: std::ops::RangeInclusive<u32>) -> Read<StatusCode> {
    let number = value::count(value, bounds)?;
    let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
    status.ok_or_else(|| value.refuse("this is no status", "write a status such as 200"))
}

/// Reads header fields, none of which the proxy owns.
fn fields(value: &Value<'_>) -> Read<HeaderMap> {
    const ADVICE: &str = "write { cache-control = \"no-store\" }: each header with its text, or a list of texts";
    let mut headers = HeaderMap::new();
    let mut result = Ok(());
    for (name, place, value) in value.entries("a table of headers", ADVICE)? {
        let name = value::parse_header(name).map_err(|fault| value.refuse_at(&place, fault.what, fault.instead));
        let texts = match value.node().as_array() {
            Some(_) => value.each("a list of texts", ADVICE, field_value),
            None => field_value(&value).map(|text| vec![text]),
        };
        match (name, texts) {
            (Ok(name), Ok(_)) if headers.contains_key(&name) => {
                let what = format!("the header `{name}` stands here twice");
                result = Err(value.refuse_at(&place, what, "write its texts as one list"));
            }
            (Ok(name), Ok(texts)) => texts.into_iter().for_each(|text| drop(headers.try_append(name.clone(), text))),
            (Err(refused), _) | (_, Err(refused)) => result = Err(refused),
        }
    }
    result.map(|()| headers)
}

fn field_value(value: &Value<'_>) -> Read<HeaderValue> {
    value.parsed("text", "write text such as \"no-store\"", |text| {
        HeaderValue::from_str(text).map_err(|_| {
            Fault::new("no header has this in its text", "write it on one line, without control characters")
        })
    })
}
