//! `monitoring.resource_filter`, in Panoptes' language: on which hosts a plugin runs.

use std::collections::BTreeMap;

use super::finding::{nearest, quoted};

/// Nesting that a filter may have.
const DEPTH: usize = 32;
/// Longest filter, bytes.
const LONGEST: usize = 4096;
/// What stands before the name of one of the plugin's attributes.
const METADATA: &str = "resource_metadata.";
/// The fields of a host, and what they are where the plugin's attributes do not say otherwise; nothing: the host's name.
const FIELDS: [(&str, &str); 7] = [
    ("resource_id", ""),
    ("resource_site", "local"),
    ("resource_class", "system"),
    ("resource_subclass", "host"),
    ("resource_type", "generic"),
    ("resource_endpoint", ""),
    ("resource_plugin", "kevmon"),
];

/// A filter: comparisons, joined by AND, OR and NOT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourceFilter(Node);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    /// The field's value is one of these.
    In(String, Vec<String>),
    /// It fits this pattern, `%` for any characters and `_` for one.
    Like(String, String),
}

/// What a filter is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostResource<'a> {
    /// `resource_id`, and `resource_endpoint`.
    pub(crate) host: &'a str,
    /// `resource_metadata.NAME`. One that has the name of a field stands for that field.
    pub(crate) attributes: &'a BTreeMap<String, String>,
}

impl ResourceFilter {
    /// Reads `text`.
    ///
    /// # Errors
    /// "What is wrong; what to do", with the place in the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("is longer than {LONGEST} bytes; shorten it"));
        }
        let mut parser = Parser {
            tokens: tokens(text)?,
            at: 0,
        };
        let node = parser.or(0)?;
        match parser.peek() {
            None => Ok(Self(node)),
            Some(token) => Err(format!(
                "{} at character {} is not expected; join comparisons with AND or OR",
                quoted(&token.text),
                token.at
            )),
        }
    }

    /// Whether it fits. An attribute that is not there is unequal to everything.
    pub(crate) fn fits(&self, resource: HostResource<'_>) -> bool {
        self.0.fits(resource)
    }
}

impl Node {
    fn fits(&self, resource: HostResource<'_>) -> bool {
        match self {
            Self::And(one, other) => one.fits(resource) && other.fits(resource),
            Self::Or(one, other) => one.fits(resource) || other.fits(resource),
            Self::Not(one) => !one.fits(resource),
            Self::In(field, values) => {
                value_of(field, resource).is_some_and(|value| values.iter().any(|one| one == value))
            }
            Self::Like(field, pattern) => {
                let pattern: Vec<char> = pattern.chars().collect();
                value_of(field, resource)
                    .is_some_and(|value| is_like(&value.chars().collect::<Vec<_>>(), &pattern))
            }
        }
    }
}

fn value_of<'a>(field: &str, resource: HostResource<'a>) -> Option<&'a str> {
    let attribute = |name: &str| resource.attributes.get(name).map(String::as_str);
    if let Some(name) = field.strip_prefix(METADATA) {
        return attribute(name);
    }
    let (_, usual) = FIELDS.iter().find(|(name, _)| *name == field)?;
    let usual = if usual.is_empty() { resource.host } else { usual };
    Some(attribute(field).unwrap_or(usual))
}

/// Without recursion: after a mismatch the last `%` takes one character more.
fn is_like(text: &[char], pattern: &[char]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(of) {
            Some('%') => {
                last = Some((of, at));
                of += 1;
            }
            Some(&one) if one == '_' || one == text[at] => {
                at += 1;
                of += 1;
            }
            _ => match &mut last {
                Some((percent, taken)) => {
                    *taken += 1;
                    (at, of) = (*taken, *percent + 1);
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|c| *c == '%')
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    /// In quotes.
    literal: bool,
    /// From 1, in characters.
    at: usize,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        let from = at;
        let (text, literal) = match c {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '"' | '\'' => {
                let rest = &characters[at + 1..];
                let Some(end) = rest.iter().position(|other| *other == c) else {
                    return Err(format!(
                        "the quote at character {} is not closed; close it",
                        from + 1
                    ));
                };
                at += end + 2;
                (rest[..end].iter().collect::<String>(), true)
            }
            '!' if characters.get(at + 1) == Some(&'=') => {
                at += 2;
                ("!=".to_owned(), false)
            }
            '=' | '(' | ')' | ',' => {
                at += 1;
                (c.to_string(), false)
            }
            c if is_word(c) => {
                while characters.get(at).copied().is_some_and(is_word) {
                    at += 1;
                }
                (characters[from..at].iter().collect(), false)
            }
            other => {
                return Err(format!(
                    "{other:?} at character {} is not expected; put values in quotes",
                    from + 1
                ));
            }
        };
        tokens.push(Token {
            text,
            literal,
            at: from + 1,
        });
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-')
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Takes the next token where it is this word or sign.
    fn take(&mut self, word: &str) -> bool {
        let is_it = self
            .peek()
            .is_some_and(|token| !token.literal && token.text.eq_ignore_ascii_case(word));
        self.at += usize::from(is_it);
        is_it
    }

    fn or(&mut self, depth: usize) -> Result<Node, String> {
        let mut node = self.and(depth)?;
        while self.take("OR") {
            node = Node::Or(Box::new(node), Box::new(self.and(depth)?));
        }
        Ok(node)
    }

    fn and(&mut self, depth: usize) -> Result<Node, String> {
        let mut node = self.not(depth)?;
        while self.take("AND") {
            node = Node::And(Box::new(node), Box::new(self.not(depth)?));
        }
        Ok(node)
    }

    fn not(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEPTH {
            return Err(format!("is nested more than {DEPTH} deep; write it flatter"));
        }
        if self.take("NOT") {
            return Ok(Node::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take("(") {
            let node = self.or(depth + 1)?;
            self.expect(")", "close the parenthesis")?;
            return Ok(node);
        }
        self.comparison()
    }

    fn expect(&mut self, sign: &str, remedy: &str) -> Result<(), String> {
        if self.take(sign) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(token) => format!(
                "{} at character {} is not expected; {remedy}",
                quoted(&token.text),
                token.at
            ),
            None => format!("ends too early; {remedy}"),
        })
    }

    fn comparison(&mut self) -> Result<Node, String> {
        let field = self.field()?;
        if self.take("=") || self.take("eq") {
            return Ok(Node::In(field, vec![self.value()?]));
        }
        if self.take("!=") || self.take("ne") {
            let node = Node::In(field, vec![self.value()?]);
            return Ok(Node::Not(Box::new(node)));
        }
        let negated = self.take("NOT");
        let node = if self.take("LIKE") {
            Node::Like(field, self.value()?)
        } else if self.take("IN") {
            self.expect("(", "write IN (\"one\", \"other\")")?;
            let mut values = vec![self.value()?];
            while self.take(",") {
                values.push(self.value()?);
            }
            self.expect(")", "close the list")?;
            Node::In(field, values)
        } else {
            self.expect("=", "compare with =, !=, LIKE or IN")?;
            return Err("ends too early; compare with =, !=, LIKE or IN".to_owned());
        };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    /// A field's name, in any case; the name of an attribute as it is written.
    fn field(&mut self) -> Result<String, String> {
        let known = FIELDS.map(|(name, _)| name).join(", ");
        let Some(token) = self.peek().cloned() else {
            return Err(format!("ends too early; name a field: {known}, {METADATA}NAME"));
        };
        self.at += 1;
        let lower = token.text.to_ascii_lowercase();
        if !token.literal && FIELDS.iter().any(|(name, _)| *name == lower) {
            return Ok(lower);
        }
        if !token.literal
            && lower.starts_with(METADATA)
            && let Some(name) = token.text.get(METADATA.len()..)
        {
            return Ok(format!("{METADATA}{name}"));
        }
        let remedy = match nearest(&token.text, FIELDS.map(|(name, _)| name)) {
            Some(near) if !token.literal => format!("did you mean {near}?"),
            _ => format!("known: {known}, {METADATA}NAME"),
        };
        Err(format!(
            "{} at character {} is no field; {remedy}",
            quoted(&token.text),
            token.at
        ))
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek().cloned() {
            Some(token) if token.literal => {
                self.at += 1;
                Ok(token.text)
            }
            Some(token) => Err(format!(
                "{} at character {} is no value; put it in quotes",
                quoted(&token.text),
                token.at
            )),
            None => Err("ends too early; write a value in quotes".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        let attributes = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let host = HostResource {
            host: "web1.example",
            attributes: &attributes,
        };
        for (filter, expected) in [
            ("resource_id = \"web1.example\"", true),
            ("resource_id = 'other'", false),
            ("resource_id != 'other'", true),
            ("resource_id LIKE 'web%'", true),
            ("resource_id like '%.exampl_'", true),
            ("resource_id LIKE 'web'", false),
            ("resource_id LIKE '%w%1%e'", true),
            ("resource_id IN ('a', 'web1.example')", true),
            ("resource_id NOT IN ('a')", true),
            ("NOT resource_id = 'a' AND resource_class = 'system'", true),
            (
                "resource_id = 'a' AND resource_id = 'b' OR resource_type = 'generic'",
                true,
            ),
            (
                "resource_id = 'a' AND (resource_id = 'b' OR resource_type = 'generic')",
                false,
            ),
            ("resource_metadata.tier = 'front'", true),
            ("resource_metadata.other = 'front'", false),
            ("resource_metadata.other != 'front'", true),
            ("resource_site = 'local'", true),
            ("resource_site != \"local\"", false),
            ("resource_site IN ('dc1', 'local')", true),
            ("resource_site NOT LIKE 'dc%'", true),
            ("resource_plugin = 'kevmon'", true),
            ("resource_plugin = 'plugin_discovery_from_json_file'", false),
            ("resource_endpoint LIKE 'web1%'", true),
            (
                "RESOURCE_SITE EQ 'local' and Resource_Metadata.tier ne 'back'",
                true,
            ),
            (
                "resource_id eq 'web1.example' AND resource_class ne 'network'",
                true,
            ),
        ] {
            assert_eq!(
                ResourceFilter::parse(filter).unwrap().fits(host),
                expected,
                "{filter}"
            );
        }
    }

    #[test]
    fn an_attribute_of_a_fields_name_stands_for_the_field() {
        for (field, _) in FIELDS {
            let attributes = BTreeMap::from([(field.to_owned(), "mine".to_owned())]);
            let host = HostResource {
                host: "web1",
                attributes: &attributes,
            };
            let none = HostResource {
                attributes: &BTreeMap::new(),
                ..host
            };
            let filter = ResourceFilter::parse(&format!("{field} = 'mine'")).unwrap();
            assert!(filter.fits(host) && !filter.fits(none), "{field}");
        }
    }

    #[test]
    fn what_is_wrong_and_where() {
        for (filter, expected) in [
            (
                "",
                "ends too early; name a field: resource_id, resource_site, resource_class, resource_subclass, resource_type, resource_endpoint, resource_plugin, resource_metadata.NAME",
            ),
            (
                "resource_idd = 'a'",
                "\"resource_idd\" at character 1 is no field; did you mean resource_id?",
            ),
            (
                "resource_id = a",
                "\"a\" at character 15 is no value; put it in quotes",
            ),
            (
                "resource_id = 'a",
                "the quote at character 15 is not closed; close it",
            ),
            (
                "resource_id = 'a' 'b'",
                "\"b\" at character 19 is not expected; join comparisons with AND or OR",
            ),
            (
                "resource_id > 'a'",
                "'>' at character 13 is not expected; put values in quotes",
            ),
            (
                "resource_id 'a'",
                "\"a\" at character 13 is not expected; compare with =, !=, LIKE or IN",
            ),
            ("resource_id", "ends too early; compare with =, !=, LIKE or IN"),
            ("(resource_id = 'a'", "ends too early; close the parenthesis"),
            (
                "resource_id IN 'a'",
                "\"a\" at character 16 is not expected; write IN (\"one\", \"other\")",
            ),
        ] {
            assert_eq!(ResourceFilter::parse(filter).unwrap_err(), expected, "{filter}");
        }
        let deep = "(".repeat(5000);
        assert!(ResourceFilter::parse(&deep).unwrap_err().contains("longer than"));
        assert!(
            ResourceFilter::parse(&deep[..100])
                .unwrap_err()
                .contains("nested")
        );
    }
}
