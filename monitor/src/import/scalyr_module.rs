//! The settings of a Scalyr monitor, as its Python source asks for them: `self._config.get('name', default=…,
//! convert_to=…, min_value=…, max_value=…, required_field=…)`, and `define_config_option(…)`.

use super::{
    ImportError, Value,
    python::{self, Spot, Token},
};

/// The type of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Int,
    Float,
    Bool,
}

impl Type {
    /// As a plugin file names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
        }
    }

    /// That of a plain value.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(_) => Some(Self::Text),
            Value::Int(_) => Some(Self::Int),
            Value::Float(_) => Some(Self::Float),
            Value::Bool(_) => Some(Self::Bool),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// `value` as one of this type, where nothing of it gets lost.
    pub(super) fn convert(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Float, Value::Int(number)) => Some(Value::Float(*number as f64)),
            (Self::Float, Value::Text(text)) => {
                let number = text.trim().parse::<f64>().ok()?;
                number.is_finite().then_some(Value::Float(number))
            }
            (Self::Int, Value::Text(text)) => text.trim().parse().ok().map(Value::Int),
            (Self::Bool, Value::Text(text)) => text.trim().to_lowercase().parse().ok().map(Value::Bool),
            (Self::Text, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
                super::writer::plain(value).map(Value::Text)
            }
            (wanted, value) => (Self::of(value) == Some(wanted)).then(|| value.clone()),
        }
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) kind: Option<Type>,
    pub(super) default: Option<Value>,
    pub(super) min: Option<Value>,
    pub(super) max: Option<Value>,
    pub(super) required: bool,
    /// What of it could not be read.
    pub(super) unread: Vec<(usize, String)>,
    pub(super) line: usize,
}

/// The settings that the module `text` asks for, in their order, each once.
///
/// # Errors
/// Its brackets or quotes do not match.
pub(super) fn settings(text: &str) -> Result<Vec<Setting>, ImportError> {
    let spots = python::tokens(text)?;
    let mut settings: Vec<Setting> = Vec::new();
    for at in 0..spots.len() {
        let (begin, place) = if is_get(&spots[at..]) {
            (at + 4, 0)
        } else if is_name(&spots[at].token, "define_config_option") && is_sign(&spots, at + 1, '(') {
            (at + 2, 1)
        } else {
            continue;
        };
        if let Some(setting) = setting(&arguments(&spots[begin..]), place)
            && !settings.iter().any(|known| known.name == setting.name)
        {
            settings.push(setting);
        }
    }
    Ok(settings)
}

fn is_name(token: &Token, name: &str) -> bool {
    matches!(token, Token::Name(other) if other == name)
}

fn is_sign(spots: &[Spot], at: usize, sign: char) -> bool {
    spots.get(at).is_some_and(|spot| spot.token == Token::Sign(sign))
}

/// `_config.get(`
fn is_get(spots: &[Spot]) -> bool {
    spots.len() > 4
        && is_name(&spots[0].token, "_config")
        && is_sign(spots, 1, '.')
        && is_name(&spots[2].token, "get")
        && is_sign(spots, 3, '(')
}

/// The arguments of a call, from behind its bracket.
fn arguments(spots: &[Spot]) -> Vec<&[Spot]> {
    let (mut arguments, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, spot) in spots.iter().enumerate() {
        match spot.token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') if depth == 0 => {
                arguments.push(&spots[begin..at]);
                break;
            }
            Token::Sign(')' | ']' | '}') => depth -= 1,
            Token::Sign(',') if depth == 0 => {
                arguments.push(&spots[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    arguments
}

/// The setting that a call asks for; its name is the positional argument `place`.
fn setting(arguments: &[&[Spot]], place: usize) -> Option<Setting> {
    let argument = arguments.get(place)?;
    let Ok(Value::Text(name)) = python::literal(argument) else {
        return None;
    };
    let mut setting = Setting {
        name,
        kind: None,
        default: None,
        min: None,
        max: None,
        required: false,
        unread: Vec::new(),
        line: argument.first()?.line,
    };
    for (number, argument) in arguments.iter().enumerate().skip(place + 1) {
        let (key, value) = match argument {
            [key, equals, value @ ..] if equals.token == Token::Sign('=') => match &key.token {
                Token::Name(key) => (key.as_str(), value),
                _ => continue,
            },
            // `get(name, default)`
            value if place == 0 && number == 1 => ("default", *value),
            _ => continue,
        };
        setting.argument(key, value);
    }
    Some(setting)
}

impl Setting {
    fn argument(&mut self, key: &str, value: &[Spot]) {
        let line = value.first().map_or(self.line, |spot| spot.line);
        if key == "convert_to" {
            let last = value.last().map(|spot| &spot.token);
            self.kind = match last {
                Some(Token::Name(name)) => match name.as_str() {
                    "float" => Some(Type::Float),
                    "int" | "long" => Some(Type::Int),
                    "bool" => Some(Type::Bool),
                    "str" | "unicode" | "text_type" | "string_types" => Some(Type::Text),
                    _ => None,
                },
                _ => None,
            };
            if self.kind.is_none() {
                self.unread
                    .push((line, "convert_to names no plain type".to_owned()));
            }
            return;
        }
        let place = match key {
            "default" => &mut self.default,
            "min_value" => &mut self.min,
            "max_value" => &mut self.max,
            "required_field" | "require_field" | "required_option" => {
                self.required = python::literal(value) == Ok(Value::Bool(true));
                return;
            }
            _ => return,
        };
        match python::literal(value) {
            Ok(Value::Null) => {}
            Ok(value) if Type::of(&value).is_some() => *place = Some(value),
            Ok(value) => self.unread.push((line, format!("{key} is {}", value.kind()))),
            Err(why) => self.unread.push((line, format!("{key} cannot be told: {why}"))),
        }
    }
}
