//! Shells.

use super::{
    Runs,
    grammar::{
        Effect::{Before, Ends, Flag, Next, OperandIsText, Stdin, Text, Value},
        Grammar, Words,
    },
};

/// bash(1), and shell.c of bash 5.2: long options may have one dash; `-o` and `-O` take the next argument even from
/// the middle of a cluster; a dash alone ends the options.
const BASH: Grammar = Grammar {
    letters: &[("c", OperandIsText), ("s", Stdin), ("oO", Next)],
    words: &[
        ("debug", Flag),
        ("debugger", Flag),
        ("dump-po-strings", Flag),
        ("dump-strings", Flag),
        ("help", Flag),
        ("init-file", Value),
        ("login", Flag),
        ("noediting", Flag),
        ("noprofile", Flag),
        ("norc", Flag),
        ("posix", Flag),
        ("pretty-print", Flag),
        ("rcfile", Value),
        ("restricted", Flag),
        ("verbose", Flag),
        ("version", Flag),
    ],
    written: Words::Either,
    plus: true,
    dash_ends: true,
};

/// dash(1) (options.c of dash 0.5.12), the ash of busybox, and what POSIX asks of `sh`.
const POSIX: Grammar = Grammar {
    letters: &[("c", OperandIsText), ("s", Stdin), ("o", Next)],
    words: &[],
    written: Words::Double,
    plus: true,
    dash_ends: true,
};

/// ksh(1) of AT&T (93u+m) and mksh(1): `-R FILE` of the first, `-T TTY` of the second; long options are flags.
const KORN: Grammar = Grammar {
    letters: &[("c", OperandIsText), ("s", Stdin), ("oRT", Value)],
    words: &[],
    written: Words::Double,
    plus: true,
    dash_ends: true,
};

/// zsh(1), and init.c of zsh 5.9: `-o` takes the rest of its argument, or the next one; `-b` ends the options.
const ZSH: Grammar = Grammar {
    letters: &[("c", OperandIsText), ("s", Stdin), ("o", Value), ("b", Ends)],
    words: &[("emulate", Value)],
    written: Words::Double,
    plus: true,
    dash_ends: true,
};

/// fish(1), getopt_long's way: values joined or not; commands of `-C` run before the script.
const FISH: Grammar = Grammar {
    letters: &[("c", Text), ("C", Before), ("dDfop", Value)],
    words: &[
        ("command", Text),
        ("debug", Value),
        ("debug-output", Value),
        ("debug-stack-frames", Value),
        ("features", Value),
        ("init-command", Before),
        ("profile", Value),
        ("profile-startup", Value),
    ],
    written: Words::Double,
    plus: false,
    dash_ends: false,
};

pub(super) fn bash(arguments: &[String]) -> Runs<'_> {
    BASH.read(arguments)
}

pub(super) fn posix(arguments: &[String]) -> Runs<'_> {
    POSIX.read(arguments)
}

pub(super) fn korn(arguments: &[String]) -> Runs<'_> {
    KORN.read(arguments)
}

pub(super) fn zsh(arguments: &[String]) -> Runs<'_> {
    ZSH.read(arguments)
}

pub(super) fn fish(arguments: &[String]) -> Runs<'_> {
    FISH.read(arguments)
}
