//! Scalyr's relaxed JSON: keys without quotes, comments, commas that are missing or too many, texts in three quotes or
//! back-ticks; and `…`, with which its documentation leaves something out.

use super::{DEPTH, Entry, ImportError, Notes, Value, printable};

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    depth: usize,
    /// Lines with `…`.
    left_out: Vec<usize>,
}

/// The value that `text` is.
///
/// # Errors
/// It is damaged, or too deep.
pub(super) fn parse(text: &str, notes: &mut Notes) -> Result<Value, ImportError> {
    let mut parser = Parser {
        rest: text,
        line: 1,
        depth: 0,
        left_out: Vec::new(),
    };
    let value = parser.value()?;
    parser.blank()?;
    if let Some(letter) = parser.rest.chars().next() {
        return Err(parser.unexpected(letter, "the end"));
    }
    for line in parser.left_out {
        notes.add(line, "… stands for something that is not there");
    }
    Ok(value)
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> ImportError {
        let remedy = "mend the file, or import the monitor's entry alone: { module: \"name\", … }";
        ImportError::new(self.line, message, remedy)
    }

    fn unexpected(&self, letter: char, instead: &str) -> ImportError {
        let letter = printable(&letter.to_string()).into_owned();
        self.error(format!("{letter} stands where {instead} should"))
    }

    /// Goes on by `bytes`, which end at a character's end.
    fn skip(&mut self, bytes: usize) -> &str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Blanks, comments and what was left out.
    fn blank(&mut self) -> Result<(), ImportError> {
        loop {
            let trimmed = self.rest.trim_start();
            self.skip(self.rest.len() - trimmed.len());
            if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/");
                let end = end.ok_or_else(|| self.error("a comment is begun and never ended"))?;
                self.skip(end + 2);
            } else if let Some(mark) = ["…", "..."].iter().find(|mark| self.rest.starts_with(**mark)) {
                self.left_out.push(self.line);
                self.skip(mark.len());
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self, instead: &str) -> Result<char, ImportError> {
        self.blank()?;
        let next = self.rest.chars().next();
        next.ok_or_else(|| self.error(format!("the file ends where {instead} should stand")))
    }

    fn value(&mut self) -> Result<Value, ImportError> {
        match self.next("a value")? {
            '{' | '[' if self.depth == DEPTH => Err(ImportError::too_deep(self.line)),
            '{' => {
                self.depth += 1;
                let map = self.map();
                self.depth -= 1;
                map.map(Value::Map)
            }
            '[' => {
                self.depth += 1;
                let list = self.list();
                self.depth -= 1;
                list.map(Value::List)
            }
            '"' | '`' => self.texts().map(Value::Text),
            letter => self.word(letter),
        }
    }

    fn map(&mut self) -> Result<Vec<Entry>, ImportError> {
        self.skip(1);
        let mut map: Vec<Entry> = Vec::new();
        loop {
            let letter = self.next("} or a key")?;
            match letter {
                '}' => {
                    self.skip(1);
                    return Ok(map);
                }
                ',' => {
                    self.skip(1);
                    continue;
                }
                _ => {}
            }
            let line = self.line;
            let key = if letter == '"' {
                self.text()?
            } else {
                let is_key = |c: char| c.is_alphanumeric() || "_-.$".contains(c);
                let end = self.rest.find(|c: char| !is_key(c)).unwrap_or(self.rest.len());
                if end == 0 {
                    return Err(self.unexpected(letter, "a key"));
                }
                self.skip(end).to_owned()
            };
            match self.next("a colon")? {
                ':' => self.skip(1),
                letter => return Err(self.unexpected(letter, "a colon")),
            };
            let value = self.value()?;
            // As in JSON, what stands last counts.
            map.retain(|entry| entry.key != key);
            map.push(Entry { key, value, line });
        }
    }

    fn list(&mut self) -> Result<Vec<Value>, ImportError> {
        self.skip(1);
        let mut list = Vec::new();
        loop {
            match self.next("] or a value")? {
                ']' => {
                    self.skip(1);
                    return Ok(list);
                }
                ',' => {
                    self.skip(1);
                }
                _ => list.push(self.value()?),
            }
        }
    }

    /// A number, or a word.
    fn word(&mut self, first: char) -> Result<Value, ImportError> {
        let is_word = |c: char| c.is_alphanumeric() || "+-._".contains(c);
        let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let value = match word {
            "" => return Err(self.unexpected(first, "a value")),
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            word => match (word.parse::<i64>(), word.parse::<f64>()) {
                (Ok(number), _) => Value::Int(number),
                (_, Ok(number)) if number.is_finite() && !first.is_alphabetic() => Value::Float(number),
                _ => {
                    let word = super::quoted(word);
                    return Err(self.error(format!("{word} is no value: a text stands in quotes")));
                }
            },
        };
        self.skip(end);
        Ok(value)
    }

    /// Texts joined by `+`.
    fn texts(&mut self) -> Result<String, ImportError> {
        let mut text = self.text()?;
        loop {
            self.blank()?;
            if !self.rest.starts_with('+') {
                return Ok(text);
            }
            self.skip(1);
            match self.next("a text")? {
                '"' | '`' => text.push_str(&self.text()?),
                letter => return Err(self.unexpected(letter, "a text")),
            }
        }
    }

    fn text(&mut self) -> Result<String, ImportError> {
        for quotes in ["\"\"\"", "`"] {
            if let Some(rest) = self.rest.strip_prefix(quotes) {
                let end = rest.find(quotes);
                let end = end.ok_or_else(|| self.error("a text is begun and never ended"))?;
                let text = rest[..end].to_owned();
                self.skip(end + 2 * quotes.len());
                return Ok(text);
            }
        }
        let mut letters = self.rest.char_indices().skip(1);
        let mut escaped = false;
        let end = letters.find(|&(_, letter)| {
            let is_end = (letter == '"' && !escaped) || letter == '\n';
            escaped = letter == '\\' && !escaped;
            is_end
        });
        let Some((end, '"')) = end else {
            return Err(self.error("a text is begun and not ended on its line"));
        };
        // What is between plain quotes is JSON's.
        let text = serde_json::from_str(&self.rest[..=end]);
        let text = text.map_err(|_| {
            self.error("a text has an escape that JSON does not know, or a control character")
        })?;
        self.skip(end + 1);
        Ok(text)
    }
}
