//! A check of JSON (RFC 8259) in one pass over the bytes, without recursion and without building anything.
//!
//! The bytes must be UTF-8. A number of any size and duplicate member names are well-formed, as the grammar has it.

use crate::pointer::Pointer;

/// The largest depth that can be asked for: a bit for each open container is all that is kept of it.
pub(crate) const DEEPEST: u32 = 1024;

/// Why a document does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is no JSON from this byte on.
    Syntax { offset: usize },
    /// More containers are nested in each other than allowed.
    TooDeep,
    /// The pointer of this index leads nowhere; `None`: it could not be told which.
    Missing(Option<usize>),
}

/// Checks that `text` is one JSON value, nested at most `max_depth` (at most [`DEEPEST`]) deep, in which every pointer
/// leads to a member.
pub(crate) fn scan(text: &[u8], max_depth: u32, required: &[Pointer]) -> Result<(), Fault> {
    let mut search = Search { required, progress: vec![Progress::Matched(0); required.len()] };
    let mut scanner = Scanner { text, at: 0 };
    let mut open = Open { objects: [0; WORDS], depth: 0, max_depth };
    loop {
        scanner.skip_space();
        match scanner.peek() {
            Some(b'{') => {
                scanner.at += 1;
                open.push(true)?;
                scanner.skip_space();
                if scanner.peek() != Some(b'}') {
                    search.enter(open.depth, scanner.key()?);
                    continue;
                }
            }
            Some(b'[') => {
                scanner.at += 1;
                open.push(false)?;
                scanner.skip_space();
                if scanner.peek() != Some(b']') {
                    continue;
                }
            }
            _ => scanner.scalar()?,
        }
        // A value is over, or the container that is open is empty: what may follow depends on the container.
        loop {
            scanner.skip_space();
            match (open.top(), scanner.peek()) {
                (None, None) => return search.finish(),
                (Some(Container::Object), Some(b',')) => {
                    scanner.at += 1;
                    scanner.skip_space();
                    search.enter(open.depth, scanner.key()?);
                    break;
                }
                (Some(Container::Array), Some(b',')) => {
                    scanner.at += 1;
                    break;
                }
                (Some(Container::Object), Some(b'}')) | (Some(Container::Array), Some(b']')) => {
                    scanner.at += 1;
                    search.leave(open.depth);
                    open.depth -= 1;
                }
                _ => return scanner.fault(),
            }
        }
    }
}

const WORDS: usize = DEEPEST.div_ceil(64) as usize;

/// The open containers: one bit each, set for an object.
struct Open {
    objects: [u64; WORDS],
    depth: u32,
    max_depth: u32,
}

#[derive(Clone, Copy)]
enum Container {
    Object,
    Array,
}

impl Open {
    fn push(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth >= self.max_depth {
            return Err(Fault::TooDeep);
        }
        let (word, bit) = place(self.depth);
        let word = self.objects.get_mut(word).ok_or(Fault::TooDeep)?;
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn top(&self) -> Option<Container> {
        let (word, bit) = place(self.depth.checked_sub(1)?);
        let object = self.objects.get(word).is_some_and(|word| word & bit != 0);
        Some(if object { Container::Object } else { Container::Array })
    }
}

fn place(depth: u32) -> (usize, u64) {
    ((depth / 64) as usize, 1 << (depth % 64))
}

/// How far each required pointer has been followed.
struct Search<'a> {
    required: &'a [Pointer],
    progress: Vec<Progress>,
}

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    /// So many of its names are those of the members that are open, from the top.
    Matched(u32),
    Found,
}

impl Search<'_> {
    /// A member begins in the object that is `depth` containers deep.
    fn enter(&mut self, depth: u32, key: &[u8]) {
        self.leave(depth);
        let index = depth - 1;
        for (pointer, progress) in self.required.iter().zip(&mut self.progress) {
            if *progress == Progress::Matched(index) && pointer.names(index, key) {
                *progress = if pointer.len() == depth { Progress::Found } else { Progress::Matched(depth) };
            }
        }
    }

    /// The member that was open in the container that is `depth` deep is over.
    fn leave(&mut self, depth: u32) {
        for progress in &mut self.progress {
            if let Progress::Matched(names) = progress {
                *names = (*names).min(depth - 1);
            }
        }
    }

    fn finish(&self) -> Result<(), Fault> {
        match self.progress.iter().position(|progress| *progress != Progress::Found) {
            None => Ok(()),
            missing => Err(Fault::Missing(missing)),
        }
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn fault<T>(&self) -> Result<T, Fault> {
        Err(Fault::Syntax { offset: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A member's name and its colon. Answers what stands between the quotes.
    fn key(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.at + 1;
        self.string()?;
        let key = self.text.get(start..self.at - 1).unwrap_or_default();
        self.skip_space();
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                Ok(key)
            }
            _ => self.fault(),
        }
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.fault(),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        for letter in word {
            if self.peek() != Some(*letter) {
                return self.fault();
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.fault() } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return self.fault();
        }
        self.at += 1;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(byte) if byte >= b' ' => self.at += 1,
                _ => return self.fault(),
            }
        }
    }

    /// Skips blocks in which nothing needs a closer look. Without an early exit inside a block, the compiler checks one
    /// with a few vector instructions.
    fn skip_plain(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for block in rest.as_chunks::<16>().0 {
            let special = |byte: &u8| (*byte < b' ') | (*byte == b'"') | (*byte == b'\\');
            if block.iter().fold(false, |found, byte| found | special(byte)) {
                return;
            }
            self.at += 16;
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.fault();
                    }
                    self.at += 1;
                }
            }
            _ => return self.fault(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
