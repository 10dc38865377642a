//! What the value of a key has to look like, in a form that reading and documentation share.

use std::{ops::RangeInclusive, time::Duration};

#[cfg(test)]
use super::{duration, size};

/// What a value has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string that is not blank.
    Text,
    /// A string, possibly blank.
    FreeText,
    /// A plugin name.
    Name,
    /// A service name template.
    Template,
    /// A service's name: a template without control characters.
    ServiceName,
    /// One regular expression.
    Pattern,
    /// One regular expression or a list of them.
    PatternOrPatterns,
    /// A list of regular expressions.
    Patterns,
    /// `true` or `false`.
    Flag,
    /// A length of time within these bounds.
    Length(&'static RangeInclusive<Duration>),
    /// A whole number within these bounds.
    Count(&'static RangeInclusive<u64>),
    /// An amount of storage within these bounds.
    Bytes(&'static RangeInclusive<u64>),
    /// A host name or address, without port.
    Host,
    /// A TCP port.
    Port,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of these words, one at least.
    Choices(&'static [&'static str]),
    /// A table of strings.
    Attributes,
    /// A table of strings for all resources, dotted names with or without quotes.
    ResourceAttributes,
    /// One endpoint, by its name in the settings file or by its URL, or a list of them.
    Endpoints,
    /// A URL with a scheme.
    Url,
    /// A table of header names and where their values come from.
    Headers,
    /// A path, or a credential's name.
    File,
    /// A path, or `-`.
    Target,
    /// An address and a port to listen on.
    Listen,
    /// A user's name or number, or a list of them.
    Users,
    /// A list of strings.
    List,
    /// A list of metric names, with `*` for any characters.
    Globs,
    /// A metric's name.
    MetricName,
    /// A table of strings of any name.
    Texts,
    /// A string, a number or a boolean.
    Scalar,
    /// A table of such.
    Scalars,
    /// A filter for hosts.
    ResourceFilter,
    /// `rate:<result group>:<counter,…>`.
    Transform,
    /// A regular expression with a group, case-sensitive.
    ValueRegex,
    /// The number 1.
    Version,
    /// Not looked at.
    Anything,
}

impl Kind {
    /// The kind and its bounds, as the documentation puts it.
    #[cfg(test)]
    pub fn describe(self) -> String {
        match self {
            Self::Text => "string, not blank".to_owned(),
            Self::FreeText => "string".to_owned(),
            Self::Name => "string, 1–64 of `A-Z a-z 0-9 . _ -`".to_owned(),
            Self::Template => "string with placeholders".to_owned(),
            Self::ServiceName => "string with placeholders, not blank".to_owned(),
            Self::Pattern => "regex".to_owned(),
            Self::PatternOrPatterns => "regex, or list of them".to_owned(),
            Self::Patterns => "list of regexes".to_owned(),
            Self::Flag => "boolean".to_owned(),
            Self::Length(bounds) => {
                let (least, most) = (duration::short(*bounds.start()), duration::short(*bounds.end()));
                format!("duration, {} – {}", spaced(&least), spaced(&most))
            }
            Self::Count(bounds) => format!("integer, {}–{}", bounds.start(), bounds.end()),
            Self::Bytes(bounds) => {
                let (least, most) = (size::short(*bounds.start()), size::short(*bounds.end()));
                format!("size, {} – {}", spaced(&least), spaced(&most))
            }
            Self::Host => "host or address".to_owned(),
            Self::Port => "integer, 1–65535".to_owned(),
            Self::Choice(words) => words
                .iter()
                .map(|word| format!("`\"{word}\"`"))
                .collect::<Vec<_>>()
                .join(" or "),
            Self::Choices(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                format!("list of {}", words.join(", "))
            }
            Self::Attributes | Self::ResourceAttributes => "table of strings".to_owned(),
            Self::Endpoints => "name or URL, or list of them".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::Headers => "table of headers".to_owned(),
            Self::File => "path or credential".to_owned(),
            Self::Target => "path or `\"-\"`".to_owned(),
            Self::Listen => "address:port".to_owned(),
            Self::Users => "user name or number, or list of them".to_owned(),
            Self::List => "list of strings".to_owned(),
            Self::Globs => "list of metric names with `*`".to_owned(),
            Self::MetricName => "string, a letter, then `A-Z a-z 0-9 . _`".to_owned(),
            Self::Texts => "table of strings".to_owned(),
            Self::Scalar => "string, number or boolean".to_owned(),
            Self::Scalars => "table of strings, numbers or booleans".to_owned(),
            Self::ResourceFilter => "filter".to_owned(),
            Self::Transform => "`\"rate:<group>:<counter,…>\"`".to_owned(),
            Self::ValueRegex => "regex with a group".to_owned(),
            Self::Version => "`1`".to_owned(),
            Self::Anything => "any".to_owned(),
        }
    }
}

/// `10ms` → `10 ms`.
#[cfg(test)]
fn spaced(text: &str) -> String {
    let at = text.find(char::is_alphabetic).unwrap_or(text.len());
    format!("{} {}", &text[..at], &text[at..])
}
