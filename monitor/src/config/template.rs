//! `service_name_template`: the text with placeholders that a service's name is made from.

use super::finding::{nearest, quoted};

/// The template of a plugin that gives none.
pub const DEFAULT_TEMPLATE: &str = "{service_namespace}.{process_name}";

/// What an attribute may be made from.
const FACTS: [&str; 5] = ["user", "unit", "container.id", "k8s.pod.uid", "pid_namespace"];

const PLACEHOLDERS: [&str; 3] = ["service_namespace", "process_name", "plugin_name"];

/// A template whose placeholders are all known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// What a template's placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// `{service_namespace}`
    pub namespace: &'a str,
    /// `{process_name}`, as the plugin gives it: its anchors go when the name is sanitised.
    pub process: &'a str,
    /// `{plugin_name}`
    pub plugin: &'a str,
}

impl Default for Template {
    fn default() -> Self {
        Self(DEFAULT_TEMPLATE.to_owned())
    }
}

impl Template {
    /// Checks the placeholders of `text`.
    ///
    /// # Errors
    /// "What is wrong; what to do", for a placeholder that is unknown or not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text, &PLACEHOLDERS).map(|()| Self(text.to_owned()))
    }

    /// The template with its placeholders filled in. What is filled in is never filled in again.
    pub fn expand(&self, names: Names<'_>) -> String {
        let mut expanded = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').unwrap_or((after, ""));
            expanded.push_str(before);
            expanded.push_str(match name {
                "service_namespace" => names.namespace,
                "process_name" => names.process,
                _ => names.plugin,
            });
            rest = behind;
        }
        expanded.push_str(rest);
        expanded
    }
}

/// Checks the placeholders in `text` against those that are `known`.
fn check(text: &str, placeholders: &[&str]) -> Result<(), String> {
    let known = || {
        placeholders
            .iter()
            .map(|name| format!("{{{name}}}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let inside = &rest[at + 1..];
        let end = inside
            .find(['{', '}'])
            .filter(|end| inside[*end..].starts_with('}'));
        let (true, Some(end)) = (rest[at..].starts_with('{'), end) else {
            return Err(format!(
                "{} has a brace without its partner; write {}",
                quoted(text),
                known()
            ));
        };
        let name = &inside[..end];
        if !placeholders.contains(&name) {
            let remedy = match nearest(name, placeholders.iter().copied()) {
                Some(near) => format!("did you mean {{{near}}}?"),
                None => format!("known: {}", known()),
            };
            return Err(format!(
                "unknown placeholder {}; {remedy}",
                quoted(&format!("{{{name}}}"))
            ));
        }
        rest = &inside[end + 1..];
    }
    Ok(())
}

/// Checks the placeholders of an attribute.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn check_facts(text: &str) -> Result<(), String> {
    check(text, &FACTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let names = Names {
            namespace: "Strategy₿",
            process: "^a{2}{plugin_name}$",
            plugin: "my-app",
        };
        for (template, expanded) in [
            (DEFAULT_TEMPLATE, "Strategy₿.^a{2}{plugin_name}$"),
            ("{plugin_name}", "my-app"),
            ("fixed", "fixed"),
            ("{plugin_name}{plugin_name}-", "my-appmy-app-"),
        ] {
            assert_eq!(Template::parse(template).expect(template).expand(names), expanded);
        }
    }

    #[test]
    fn refusals() {
        for (template, message) in [
            (
                "{proces_name}",
                "unknown placeholder \"{proces_name}\"; did you mean {process_name}?",
            ),
            (
                "{host}",
                "unknown placeholder \"{host}\"; known: {service_namespace}, {process_name}, {plugin_name}",
            ),
            ("{}", "unknown placeholder \"{}\"; known"),
            ("{process_name", "brace without its partner"),
            ("a}b", "brace without its partner"),
            ("{{process_name}}", "brace without its partner"),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert!(error.contains(message), "{template}: {error}");
        }
    }
}
