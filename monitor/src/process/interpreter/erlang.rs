//! The Erlang virtual machine. Its arguments name no program; several of them may tell which one runs.

use super::{
    Runs,
    grammar::{
        Effect::{Script, Text, Value},
        Grammar, Words,
    },
};
use crate::process::paths;

/// Modules that start something else.
const STARTERS: [&str; 10] = [
    "c", "elixir", "erl_eval", "escript", "heart", "iex", "init", "observer", "shell", "user",
];
/// Programs that start any release.
const LAUNCHERS: [&str; 5] = ["elixir", "erl", "escript", "iex", "werl"];
/// Boot scripts that come with Erlang, and those of releases that name none.
const BOOTS: [&str; 6] = [
    "no_dot_erlang",
    "start",
    "start_clean",
    "start_erl",
    "start_none",
    "start_sasl",
];

/// What tells, best first: the script that escript or Elixir runs; a program name other than Erlang's own; the module
/// to start (`-s rabbit boot`); a release's own boot script; the node's name.
pub(super) fn beam(arguments: &[String]) -> Runs<'_> {
    let (options, extra) = match arguments.iter().position(|argument| argument == "-extra") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &arguments[..0]),
    };
    let values = |flags: &'static [&'static str]| {
        options
            .windows(2)
            .filter(move |pair| flags.contains(&pair[0].as_str()))
            .map(|pair| pair[1].as_str())
            .filter(|value| !value.starts_with('-'))
    };
    let mut started = values(&["-s", "-run"]);
    if let Some(starter) = started.clone().find(|module| STARTERS.contains(module)) {
        match (starter, extra.first()) {
            ("escript", Some(script)) => return Runs::Script(script),
            ("elixir", Some(_)) => match ELIXIR.read(extra) {
                Runs::Nothing => {}
                found => return found,
            },
            _ => {}
        }
    }
    let program = values(&["-progname"]).map(paths::base_name);
    let boot = values(&["-boot"]).map(paths::base_name);
    let node = values(&["-sname", "-name"]).map(|node| node.split('@').next().unwrap_or(node));
    program
        .filter(|name| !name.is_empty() && !LAUNCHERS.contains(name))
        .chain(started.by_ref().filter(|module| !STARTERS.contains(module)))
        .chain(boot.filter(|name| !name.is_empty() && !BOOTS.contains(name)))
        .chain(node.filter(|node| !node.is_empty()))
        .next()
        .map_or(Runs::Unknown, Runs::Module)
}

/// elixir(1): what stands behind `-extra`.
const ELIXIR: Grammar = Grammar {
    letters: &[],
    words: &[
        ("S", Script),
        ("boot", Value),
        ("boot-var", Value),
        ("cookie", Value),
        ("dot-iex", Value),
        ("e", Text),
        ("eval", Text),
        ("pa", Value),
        ("pr", Value),
        ("pz", Value),
        ("r", Value),
        ("remsh", Value),
        ("rpc-eval", Text),
    ],
    written: Words::Either,
    plus: false,
    dash_ends: false,
};
