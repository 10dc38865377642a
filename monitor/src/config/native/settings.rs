//! `[settings.NAME]`: what a plugin lets its user choose, typed and within bounds, and what was chosen.

use std::{collections::BTreeMap, path::Path};

use crate::config::{
    finding::{Fault, Finding, nearest, quoted},
    scalar::{Scalar, ScalarType},
    value::Value,
    walk::Entry,
};

use super::{At, Native};

/// One setting.
#[derive(Debug, Default, Clone)]
pub(crate) struct SettingKeys {
    kind: ScalarType,
    default: Option<At<Scalar>>,
    value: Option<At<Scalar>>,
    required: Option<At<bool>>,
    min: Option<At<Scalar>>,
    max: Option<At<Scalar>>,
}

impl SettingKeys {
    pub(super) fn set(&mut self, entry: &Entry<'_>, value: Value) {
        match (entry.name, value) {
            ("type", Value::Text(word)) => self.kind = ScalarType::named(&word),
            ("default", Value::Scalar(value)) => self.default = Some((entry.line, value)),
            ("value", Value::Scalar(value)) => self.value = Some((entry.line, value)),
            ("required", Value::Flag(required)) => self.required = Some((entry.line, required)),
            ("min", Value::Scalar(value)) => self.min = Some((entry.line, value)),
            ("max", Value::Scalar(value)) => self.max = Some((entry.line, value)),
            _ => {}
        }
    }

    pub(super) fn faults(&self, path: &Path, name: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |line: usize, key: &str, message: String, remedy: &str| {
            faults.push(
                Finding::in_file(path, Some(line), message)
                    .key(format!("settings.{name}.{key}"))
                    .remedy(remedy),
            );
        };
        let numeric = matches!(self.kind, ScalarType::Int | ScalarType::Float);
        for (key, bound) in [("min", &self.min), ("max", &self.max)] {
            let Some((line, bound)) = bound else { continue };
            if !numeric {
                let message = "is for type = \"int\" and \"float\" alone".to_owned();
                fault(*line, key, message, "remove it, or write the type");
            } else if bound.number().is_none() {
                fault(
                    *line,
                    key,
                    format!("{bound} is not a number"),
                    "write one without quotes",
                );
            }
        }
        if let (Some((line, min)), Some((_, max))) = (&self.min, &self.max)
            && min.number().zip(max.number()).is_some_and(|(min, max)| min > max)
        {
            fault(
                *line,
                "min",
                format!("{min} is more than max, {max}"),
                "exchange them",
            );
        }
        if let Some((line, default)) = &self.default {
            match self.check(default) {
                Ok(_) if self.required.is_some_and(|(_, required)| required) => {
                    let message = "stands beside required = true".to_owned();
                    fault(*line, "default", message, "keep one of the two");
                }
                Ok(_) => {}
                Err(error) => {
                    let (message, remedy) = error.split_once("; ").unwrap_or((&error, "correct it"));
                    fault(*line, "default", message.to_owned(), remedy);
                }
            }
        }
        if let Some((line, value)) = &self.value
            && let Err(error) = self.check(value)
        {
            let (message, remedy) = error.split_once("; ").unwrap_or((&error, "correct it"));
            fault(*line, "value", message.to_owned(), remedy);
        }
        faults
    }

    /// `value` as this setting's type, within its bounds.
    ///
    /// # Errors
    /// "What is wrong; what to do".
    fn check(&self, value: &Scalar) -> Result<Scalar, String> {
        let value = self.kind.convert(value)?;
        let bound = |bound: &Option<At<Scalar>>| bound.as_ref().and_then(|(_, bound)| bound.number());
        let (min, max) = (bound(&self.min), bound(&self.max));
        if let Some(number) = value.number()
            && (min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max))
        {
            let bounds = match (min, max) {
                (Some(min), Some(max)) => format!("{min} to {max}"),
                (Some(min), None) => format!("{min} or more"),
                _ => format!("{} or less", max.unwrap_or_default()),
            };
            return Err(format!("{value} is out of bounds; write {bounds}"));
        }
        Ok(value)
    }
}

impl Native {
    /// The settings' values: those `given` by flags first, then the instance's, then the defaults.
    ///
    /// # Errors
    /// What is missing or does not fit, each with its remedy.
    pub(crate) fn settled(
        &self,
        path: &Path,
        instance: Option<&BTreeMap<String, At<Scalar>>>,
        given: &[(String, String)],
    ) -> Result<BTreeMap<String, String>, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut settled = BTreeMap::new();
        for (name, (line, setting)) in &self.settings {
            let of_flag = given.iter().rev().find(|(given, _)| given == name);
            let of_instance = instance.and_then(|settings| settings.get(name));
            let (fault, value): (Finding, Option<Scalar>) = match (of_flag, of_instance) {
                (Some((_, text)), _) => (
                    Finding::in_flag(Some("--set"), String::new()),
                    Some(Scalar::Text(text.clone())),
                ),
                (None, Some((line, value))) => (
                    Finding::in_file(path, Some(*line), "").key(format!("instance.settings.{name}")),
                    Some(value.clone()),
                ),
                (None, None) => (
                    Finding::in_file(path, Some(*line), "").key(format!("settings.{name}")),
                    setting
                        .value
                        .clone()
                        .or_else(|| setting.default.clone())
                        .map(|(_, value)| value),
                ),
            };
            match value.map(|value| setting.check(&value)) {
                Some(Ok(value)) => {
                    settled.insert(name.clone(), value.to_string());
                }
                Some(Err(error)) => {
                    faults.push(crate::config::finding::split(
                        fault,
                        &format!("{}: {error}", quoted(name)),
                    ));
                }
                None if setting.required.is_some_and(|(_, required)| required) => {
                    let fault = Finding {
                        message: "is required and has no value".to_owned(),
                        ..fault
                    };
                    faults.push(fault.remedy(format!(
                        "give it in an [[instance]]: settings = {{ {name} = … }}, or with --set {name}=…"
                    )));
                }
                None => {}
            }
        }
        for (name, _) in given {
            if !self.settings.contains_key(name) {
                let remedy = match nearest(name, self.settings.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => {
                        let known: Vec<&str> = self.settings.keys().map(String::as_str).collect();
                        format!("the plugin's settings: {}", known.join(", "))
                    }
                };
                let message = format!("there is no setting {}", quoted(name));
                faults.push(Finding::in_flag(Some("--set"), message).remedy(remedy));
            }
        }
        if faults.is_empty() {
            Ok(settled)
        } else {
            Err(faults)
        }
    }
}
