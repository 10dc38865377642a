//! Service naming: from the name a plugin gives to the id that is stored and the name that is shown.

use std::fmt;

/// A service's three names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName {
    /// `service.namespace`, as the plugin gives it.
    pub namespace: String,
    /// The expanded template, untouched: `Strategy₿.M8MulPrc`.
    pub original: String,
    /// The sanitised id: `strategy_m8mulprc`.
    pub id: String,
}

impl ServiceName {
    /// Names the service `original` (the expanded `service_name_template`) of `namespace`.
    pub fn new(namespace: impl Into<String>, original: impl Into<String>) -> Self {
        let original = original.into();
        Self {
            namespace: namespace.into(),
            id: sanitise(&original),
            original,
        }
    }

    /// The name shown to people: the id's words, each capitalised (`Strategy M8mulprc`).
    pub fn display(&self) -> String {
        let mut shown = String::with_capacity(self.id.len());
        for word in self.id.split('_').filter(|word| !word.is_empty()) {
            if !shown.is_empty() {
                shown.push(' ');
            }
            let mut letters = word.chars();
            shown.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            shown.push_str(letters.as_str());
        }
        shown
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

/// Reduces any text to `[a-z0-9_]`: lower-case, everything else to `_`, runs of `_` collapsed and
/// stripped at both ends, `metric_` in front when it does not begin with a letter; `unknown` when
/// nothing is left.
pub fn sanitise(text: &str) -> String {
    let mut id = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            id.push(letter);
        } else if !id.is_empty() && !id.ends_with('_') {
            id.push('_');
        }
    }
    let id = id.trim_end_matches('_');
    match id.bytes().next() {
        None => "unknown".to_owned(),
        Some(first) if first.is_ascii_lowercase() => id.to_owned(),
        Some(_) => format!("metric_{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_table() {
        for (given, id, shown) in [
            ("Strategy₿.M8MulPrc", "strategy_m8mulprc", "Strategy M8mulprc"),
            (
                "MyCompany@WebServer.v2",
                "mycompany_webserver_v2",
                "Mycompany Webserver V2",
            ),
            (
                "Service-Name With Spaces!",
                "service_name_with_spaces",
                "Service Name With Spaces",
            ),
            (
                "123numeric-start",
                "metric_123numeric_start",
                "Metric 123numeric Start",
            ),
            ("__a__b__", "a_b", "A B"),
            ("₿", "unknown", "Unknown"),
            ("", "unknown", "Unknown"),
        ] {
            let service = ServiceName::new("ns", given);
            assert_eq!(service.id, id, "id of {given:?}");
            assert_eq!(service.display(), shown, "display name of {given:?}");
        }
    }
}
