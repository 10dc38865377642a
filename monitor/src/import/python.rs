//! As much of Python as configurations are written in: tokens, and literal values. What is no literal is left to
//! whoever reads the notes; nothing is ever run.

use super::{DEPTH, Entry, ImportError, Value};

/// A piece of Python.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    /// A number as it is written.
    Number(String),
    Text(String),
    /// A text that only Python itself can tell; why.
    Untold(&'static str),
    Sign(char),
    /// The end of a statement.
    End,
}

/// A token with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spot {
    pub(super) token: Token,
    /// From 1.
    pub(super) line: usize,
    /// Stands at the beginning of its line.
    pub(super) first: bool,
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    /// Nothing but the line's beginning has been read of the line.
    at_start: bool,
    /// Lines on which brackets were opened.
    open: Vec<usize>,
    spots: Vec<Spot>,
}

/// The tokens of `text`, each statement with an end.
///
/// # Errors
/// A bracket or a text that is not closed; brackets too deep.
pub(super) fn tokens(text: &str) -> Result<Vec<Spot>, ImportError> {
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        line: 1,
        at_start: true,
        open: Vec::new(),
        spots: Vec::new(),
    };
    while let Some(letter) = lexer.rest.next() {
        lexer.take(letter)?;
    }
    if let Some(&line) = lexer.open.last() {
        return Err(ImportError::new(
            line,
            "a bracket is opened and never closed",
            "close it",
        ));
    }
    lexer.push(Token::End, lexer.line);
    Ok(lexer.spots)
}

impl Lexer<'_> {
    fn push(&mut self, token: Token, line: usize) {
        let first = std::mem::take(&mut self.at_start);
        self.spots.push(Spot { token, line, first });
    }

    fn next_line(&mut self) {
        if self.open.is_empty() {
            self.push(Token::End, self.line);
            self.at_start = true;
        }
        self.line += 1;
    }

    fn take(&mut self, letter: char) -> Result<(), ImportError> {
        match letter {
            '\n' => self.next_line(),
            '#' => while self.rest.next_if(|&c| c != '\n').is_some() {},
            '\\' if self.rest.peek() == Some(&'\n') => {
                self.rest.next();
                self.line += 1;
            }
            c if c.is_whitespace() => self.at_start &= c == '\r',
            '"' | '\'' => self.text(letter, "")?,
            c if c.is_ascii_digit() => self.number(c),
            '.' if self.rest.peek().is_some_and(char::is_ascii_digit) => self.number('.'),
            c if c.is_alphabetic() || c == '_' => self.name(c)?,
            '(' | '[' | '{' => {
                if self.open.len() == DEPTH {
                    return Err(ImportError::too_deep(self.line));
                }
                self.open.push(self.line);
                self.push(Token::Sign(letter), self.line);
            }
            ')' | ']' | '}' => {
                if self.open.pop().is_none() {
                    return Err(ImportError::new(
                        self.line,
                        "a bracket is closed that was not opened",
                        "remove it",
                    ));
                }
                self.push(Token::Sign(letter), self.line);
            }
            ';' if self.open.is_empty() => self.push(Token::End, self.line),
            c => self.push(Token::Sign(c), self.line),
        }
        Ok(())
    }

    fn number(&mut self, first: char) {
        let mut number = String::from(first);
        while let Some(c) = self
            .rest
            .next_if(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '.')
        {
            number.push(c);
            let exponent = (c == 'e' || c == 'E') && !number.starts_with("0x");
            if exponent && let Some(sign) = self.rest.next_if(|c| *c == '-' || *c == '+') {
                number.push(sign);
            }
        }
        self.push(Token::Number(number), self.line);
    }

    fn name(&mut self, first: char) -> Result<(), ImportError> {
        let mut name = String::from(first);
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        let prefix = name.to_lowercase();
        let is_prefix = prefix.len() <= 2 && prefix.chars().all(|c| "rbuf".contains(c));
        if is_prefix && let Some(quote) = self.rest.next_if(|c| *c == '"' || *c == '\'') {
            return self.text(quote, &prefix);
        }
        self.push(Token::Name(name), self.line);
        Ok(())
    }

    /// A text, after its first quote.
    fn text(&mut self, quote: char, prefix: &str) -> Result<(), ImportError> {
        let begun = self.line;
        let unclosed = || ImportError::new(begun, "a text is begun and never ended", "close its quotes");
        let mut triple = false;
        if self.rest.next_if_eq(&quote).is_some() {
            if self.rest.next_if_eq(&quote).is_none() {
                self.push_text(String::new(), prefix, None, begun);
                return Ok(());
            }
            triple = true;
        }
        let raw = prefix.contains('r');
        let (mut text, mut untold, mut quotes) = (String::new(), None, 0);
        loop {
            let letter = self.rest.next().ok_or_else(unclosed)?;
            if letter == quote {
                quotes += 1;
                if !triple {
                    break;
                }
                text.push(letter);
                if quotes == 3 {
                    text.truncate(text.len() - 3);
                    break;
                }
                continue;
            }
            quotes = 0;
            match letter {
                '\n' if !triple => return Err(unclosed()),
                '\n' => {
                    self.line += 1;
                    text.push('\n');
                }
                '\\' => {
                    let escaped = self.rest.next().ok_or_else(unclosed)?;
                    if escaped == '\n' {
                        self.line += 1;
                    }
                    if raw {
                        text.extend(['\\', escaped]);
                    } else if let Err(why) = self.escape(escaped, &mut text) {
                        untold = Some(why);
                    }
                }
                letter => text.push(letter),
            }
        }
        self.push_text(text, prefix, untold, begun);
        Ok(())
    }

    fn push_text(&mut self, text: String, prefix: &str, untold: Option<&'static str>, line: usize) {
        let untold = if prefix.contains('f') {
            Some("an f-string is put together while Python runs")
        } else {
            untold
        };
        self.push(untold.map_or(Token::Text(text), Token::Untold), line);
    }

    fn escape(&mut self, escaped: char, text: &mut String) -> Result<(), &'static str> {
        let plain = match escaped {
            '\n' => return Ok(()),
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '\'' | '"' => escaped,
            'x' => self.code(16, 2, 2, 0)?,
            'u' => self.code(16, 4, 4, 0)?,
            'U' => self.code(16, 8, 8, 0)?,
            '0'..='7' => self.code(8, 0, 2, escaped.to_digit(8).unwrap_or(0))?,
            'N' => return Err("\\N{…} names a character"),
            // Python keeps the backslash of an escape that it does not know.
            other => {
                text.extend(['\\', other]);
                return Ok(());
            }
        };
        text.push(plain);
        Ok(())
    }

    /// A character by its number of `least` to `most` further digits.
    fn code(&mut self, radix: u32, least: usize, most: usize, mut code: u32) -> Result<char, &'static str> {
        let mut digits = 0;
        while digits < most
            && let Some(digit) = self.rest.next_if(|c| c.is_digit(radix))
        {
            code = code
                .wrapping_mul(radix)
                .wrapping_add(digit.to_digit(radix).unwrap_or(0));
            digits += 1;
        }
        match char::from_u32(code) {
            Some(letter) if digits >= least => Ok(letter),
            _ => Err("it has an escape that is no character"),
        }
    }
}

/// The literal that `spots` are, all of them; else why they are none.
pub(super) fn literal(spots: &[Spot]) -> Result<Value, &'static str> {
    match usual(spots)? {
        (value, variables) if variables.is_empty() => Ok(value),
        _ => Err(NO_LITERAL),
    }
}

/// The value that `spots` have where no variable of the environment is set, and the variables that they ask for; else why
/// that cannot be told.
pub(super) fn usual(spots: &[Spot]) -> Result<(Value, Vec<String>), &'static str> {
    let mut reader = Reader {
        spots,
        variables: Vec::new(),
    };
    let value = reader.value()?;
    let mut list = vec![value];
    let is_tuple = reader.is_next(','); // which needs no parentheses
    while reader.skip(',') {
        if !reader.spots.is_empty() {
            list.push(reader.value()?);
        }
    }
    if !reader.spots.is_empty() {
        return Err(NO_LITERAL);
    }
    let value = match list.pop() {
        Some(only) if !is_tuple => only,
        last => {
            list.extend(last);
            Value::List(list)
        }
    };
    Ok((value, reader.variables))
}

const NO_LITERAL: &str = "it is no literal value";

/// A variable that is asked for without a default ends Python, or gives None.
const NO_DEFAULT: &str = "it is a variable of the environment without a default";

/// Brackets are balanced and bounded in depth: [`tokens`] saw to that.
struct Reader<'a> {
    spots: &'a [Spot],
    /// Variables of the environment that were asked for.
    variables: Vec<String>,
}

/// What Python takes for false.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Int(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::Text(text) => text.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
    }
}

impl Reader<'_> {
    fn is_next(&self, sign: char) -> bool {
        self.spots
            .first()
            .is_some_and(|spot| spot.token == Token::Sign(sign))
    }

    fn skip(&mut self, sign: char) -> bool {
        let is = self.is_next(sign);
        if is {
            self.spots = &self.spots[1..];
        }
        is
    }

    /// Takes names with dots between them, and what opens a bracket behind them, where they are next.
    fn take(&mut self, path: &[&str], open: char) -> bool {
        let mut at = 0;
        for (index, name) in path.iter().enumerate() {
            let is = |offset: usize, token: &Token| {
                self.spots.get(offset).is_some_and(|spot| spot.token == *token)
            };
            if index > 0 {
                if !is(at, &Token::Sign('.')) {
                    return false;
                }
                at += 1;
            }
            if !is(at, &Token::Name((*name).to_owned())) {
                return false;
            }
            at += 1;
        }
        let opens = self
            .spots
            .get(at)
            .is_some_and(|spot| spot.token == Token::Sign(open));
        if opens {
            self.spots = &self.spots[at + 1..];
        }
        opens
    }

    /// A value, or the first of several with `or` between them that Python takes for true.
    fn value(&mut self) -> Result<Value, &'static str> {
        let mut value = self.term()?;
        while matches!(self.spots.first(), Some(spot) if spot.token == Token::Name("or".to_owned())) {
            self.spots = &self.spots[1..];
            let other = self.term()?;
            if is_falsy(&value) {
                value = other;
            }
        }
        Ok(value)
    }

    /// A value, with what is called on it.
    fn term(&mut self) -> Result<Value, &'static str> {
        let mut value = match self.variable()? {
            Some(value) => value,
            None => match self.conversion()? {
                Some(value) => value,
                None => self.plain()?,
            },
        };
        loop {
            let method = ["strip", "lower", "upper", "split"].into_iter().find(|name| {
                let of = [".", name, "("].into_iter().zip(self.spots);
                of.filter(|(sign, spot)| match &spot.token {
                    Token::Name(other) => other == sign,
                    Token::Sign(other) => *sign == other.to_string(),
                    _ => false,
                })
                .count()
                    == 3
            });
            let (Some(method), Value::Text(text)) = (method, &value) else {
                return Ok(value);
            };
            self.spots = &self.spots[3..];
            let (arguments, _) = self.list(')')?;
            value = match (method, &arguments[..]) {
                ("strip", []) => Value::Text(text.trim().to_owned()),
                ("lower", []) => Value::Text(text.to_lowercase()),
                ("upper", []) => Value::Text(text.to_uppercase()),
                ("split", []) => Value::List(
                    text.split_whitespace()
                        .map(|one| Value::Text(one.to_owned()))
                        .collect(),
                ),
                ("split", [Value::Text(by)]) if !by.is_empty() => Value::List(
                    text.split(by.as_str())
                        .map(|one| Value::Text(one.to_owned()))
                        .collect(),
                ),
                _ => return Err(NO_LITERAL),
            };
        }
    }

    /// A variable of the environment, as it is where it is not set: its default, or nothing.
    fn variable(&mut self) -> Result<Option<Value>, &'static str> {
        const CALLS: [&[&str]; 5] = [
            &["os", "environ", "get"],
            &["environ", "get"],
            &["os", "getenv"],
            &["getenv"],
            &["os", "environ", "setdefault"],
        ];
        if !CALLS.iter().any(|call| self.take(call, '(')) {
            let indexed = self.take(&["os", "environ"], '[') || self.take(&["environ"], '[');
            return if indexed { Err(NO_DEFAULT) } else { Ok(None) };
        }
        if let [first, second, ..] = self.spots
            && first.token == Token::Name("key".to_owned())
            && second.token == Token::Sign('=')
        {
            self.spots = &self.spots[2..];
        }
        let Value::Text(name) = self.value()? else {
            return Err(NO_LITERAL);
        };
        self.variables.push(name);
        let mut default = Value::Null;
        if self.skip(',') && !self.is_next(')') {
            if let [first, second, ..] = self.spots
                && first.token == Token::Name("default".to_owned())
                && second.token == Token::Sign('=')
            {
                self.spots = &self.spots[2..];
            }
            default = self.value()?;
            self.skip(',');
        }
        if !self.skip(')') {
            return Err(NO_LITERAL);
        }
        Ok(Some(default))
    }

    /// `int(…)`, `float(…)`, `str(…)` and `bool(…)` of a value.
    fn conversion(&mut self) -> Result<Option<Value>, &'static str> {
        let kinds = ["int", "float", "str", "bool"];
        let Some(kind) = kinds.into_iter().find(|kind| self.take(&[kind], '(')) else {
            return Ok(None);
        };
        let value = self.value()?;
        if !self.skip(')') {
            return Err(NO_LITERAL);
        }
        let converted = match (kind, value) {
            (_, Value::Null) => return Err(NO_DEFAULT),
            ("int", Value::Text(text)) => number_of(text.trim(), ""),
            ("float", Value::Text(text)) => number_of(text.trim(), "").map(|number| match number {
                Value::Int(whole) => Value::Float(whole as f64),
                other => other,
            }),
            ("int", Value::Float(number)) => number_of(&format!("{:.0}", number.trunc()), ""),
            ("float", Value::Int(number)) => Ok(Value::Float(number as f64)),
            ("int", value @ Value::Int(_)) | ("float", value @ Value::Float(_)) => Ok(value),
            ("str", value @ Value::Text(_)) => Ok(value),
            ("str", Value::Int(number)) => Ok(Value::Text(number.to_string())),
            ("bool", value) => Ok(Value::Bool(!is_falsy(&value))),
            _ => Err(NO_LITERAL),
        };
        converted.map(Some)
    }

    fn plain(&mut self) -> Result<Value, &'static str> {
        let (spot, rest) = self.spots.split_first().ok_or("the value is missing")?;
        self.spots = rest;
        match &spot.token {
            Token::Text(text) => {
                let mut text = text.clone();
                // Texts that stand side by side are one.
                while let Some((spot, rest)) = self.spots.split_first() {
                    match &spot.token {
                        Token::Text(more) => text.push_str(more),
                        Token::Untold(why) => return Err(why),
                        _ => break,
                    }
                    self.spots = rest;
                }
                Ok(Value::Text(text))
            }
            Token::Untold(why) => Err(why),
            Token::Number(number) => number_of(number, ""),
            Token::Sign(sign @ ('-' | '+')) => {
                let (spot, rest) = self.spots.split_first().ok_or(NO_LITERAL)?;
                self.spots = rest;
                match &spot.token {
                    Token::Number(number) => number_of(number, if *sign == '-' { "-" } else { "" }),
                    _ => Err(NO_LITERAL),
                }
            }
            Token::Name(name) => match name.as_str() {
                "True" => Ok(Value::Bool(true)),
                "False" => Ok(Value::Bool(false)),
                "None" => Ok(Value::Null),
                _ => Err(NO_LITERAL),
            },
            Token::Sign('[') => self.list(']').map(|(list, _)| Value::List(list)),
            Token::Sign('(') => {
                let (mut list, is_tuple) = self.list(')')?;
                match list.pop() {
                    Some(only) if list.is_empty() && !is_tuple => Ok(only),
                    last => {
                        list.extend(last);
                        Ok(Value::List(list))
                    }
                }
            }
            Token::Sign('{') => self.map(),
            Token::Sign(_) | Token::End => Err(NO_LITERAL),
        }
    }

    /// Values up to `end`, and whether a comma was among them.
    fn list(&mut self, end: char) -> Result<(Vec<Value>, bool), &'static str> {
        let (mut list, mut comma) = (Vec::new(), false);
        loop {
            if self.skip(end) {
                return Ok((list, comma));
            }
            list.push(self.value()?);
            if self.skip(',') {
                comma = true;
            } else if !self.is_next(end) {
                return Err(NO_LITERAL);
            }
        }
    }

    fn map(&mut self) -> Result<Value, &'static str> {
        let mut map = Vec::new();
        loop {
            if self.skip('}') {
                return Ok(Value::Map(map));
            }
            let line = self.spots.first().map_or(0, |spot| spot.line);
            let Value::Text(key) = self.value()? else {
                return Err("not all of its keys are texts");
            };
            if !self.skip(':') {
                return Err(NO_LITERAL);
            }
            let value = self.value()?;
            map.push(Entry { key, value, line });
            if !self.skip(',') && !self.is_next('}') {
                return Err(NO_LITERAL);
            }
        }
    }
}

fn number_of(written: &str, sign: &str) -> Result<Value, &'static str> {
    const NO_NUMBER: &str = "it is no number that kevmon can hold";
    let plain = written.replace('_', "").to_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((plain.strip_prefix(prefix)?, radix)));
    if let Some((digits, radix)) = radix {
        let number = i64::from_str_radix(&format!("{sign}{digits}"), radix);
        return number.map(Value::Int).map_err(|_| NO_NUMBER);
    }
    let plain = format!("{sign}{}", plain.trim_end_matches('l')); // Python 2's long
    if let Ok(number) = plain.parse::<i64>() {
        return Ok(Value::Int(number));
    }
    match plain.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Value::Float(number)),
        _ => Err(NO_NUMBER),
    }
}
