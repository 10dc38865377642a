//! Option grammars as tables, and the walk along one.

use super::Runs;
use Effect::Value;

/// What an option means for the search of the program. An option that no table lists is a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// A flag, listed where another entry would take it otherwise.
    Flag,
    /// Takes a value: the rest of its argument, or else the next argument.
    Value,
    /// Takes the next argument, whatever follows in its own (`-euo pipefail`).
    Next,
    /// The rest of its argument is its value, which may be empty (`perl -i.bak`).
    Rest,
    /// The same, where a colon begins it; else a flag (`perl -d:NYTProf`, `perl -de 1`).
    Colon,
    /// The same, where an equals sign begins it; else a flag (`deno -N=host`, `deno -Nc deno.json`).
    Equals,
    /// Takes the next argument unless that is an option (`deno --lock FILE`).
    Optional,
    /// Its value is a program text, and no script follows (`perl -e`).
    Text,
    /// The first operand is a program text (`sh -c`).
    OperandIsText,
    /// Its value is a program text, and a script may follow (`lua -e`).
    Before,
    /// Its value names a module, and the options end (`python3 -m`).
    Module,
    /// Its value names the script (`php -f`).
    Script,
    /// The program comes from standard input, whatever follows (`sh -s`).
    Stdin,
    /// Options end after this one.
    Ends,
}

/// How long options are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// `--word` and `--word=value`, with letters after one dash.
    Double,
    /// The same, and `-word`.
    Either,
    /// The same, and `_` stands for `-` within a word of two dashes.
    EitherOrUnderscores,
}

/// The grammar of one program.
#[derive(Debug)]
pub(super) struct Grammar {
    /// Letters that may stand together after one dash, by what they mean.
    pub(super) letters: &'static [(&'static str, Effect)],
    /// Long options without their dashes.
    pub(super) words: &'static [(&'static str, Effect)],
    /// How long options are written.
    pub(super) written: Words,
    /// `+x` is an option, too.
    pub(super) plus: bool,
    /// A dash alone ends the options; else it stands for standard input.
    pub(super) dash_ends: bool,
}

/// ld.so(8).
pub(super) const LOADER: Grammar = Grammar {
    letters: &[],
    words: &[
        ("argv0", Value),
        ("audit", Value),
        ("glibc-hwcaps-mask", Value),
        ("glibc-hwcaps-prepend", Value),
        ("inhibit-rpath", Value),
        ("library-path", Value),
        ("preload", Value),
    ],
    written: Words::Double,
    plus: false,
    dash_ends: false,
};

/// What has been seen on the way to the first operand.
#[derive(Debug, Default)]
struct Walk {
    operand_is_text: bool,
    stdin: bool,
    had_text: bool,
}

/// What one option decides.
enum Step<'a> {
    /// Go on this many arguments further.
    On(usize),
    /// The operands begin this many arguments further.
    Operands(usize),
    /// This is what is run.
    Found(Runs<'a>),
}

impl Grammar {
    /// What the arguments say is run, where the first operand is a script.
    pub(super) fn read<'a>(&self, arguments: &'a [String]) -> Runs<'a> {
        match self.walk(arguments) {
            Ok(Some(at)) => Runs::Script(&arguments[at]),
            Ok(None) => Runs::Nothing,
            Err(found) => found,
        }
    }

    /// The index of the first operand.
    ///
    /// # Errors
    /// The options alone decide what is run.
    pub(super) fn walk<'a>(&self, arguments: &'a [String]) -> Result<Option<usize>, Runs<'a>> {
        let mut walk = Walk::default();
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            match self.step(&mut walk, argument, &arguments[at + 1..]) {
                Step::On(further) => at += further,
                Step::Operands(further) => {
                    at += further;
                    break;
                }
                Step::Found(found) => return Err(found),
            }
        }
        let has_operand = at < arguments.len();
        if walk.operand_is_text || (walk.had_text && !has_operand) {
            return Err(Runs::Text);
        }
        if walk.stdin {
            return Err(Runs::Nothing);
        }
        Ok(has_operand.then_some(at))
    }

    /// One argument, and those behind it.
    fn step<'a>(&self, walk: &mut Walk, argument: &'a str, next: &'a [String]) -> Step<'a> {
        match argument {
            "--" => return Step::Operands(1),
            "-" if self.dash_ends => return Step::Operands(1),
            "-" => return Step::Found(if walk.had_text { Runs::Text } else { Runs::Nothing }),
            _ => {}
        }
        if self.plus
            && let Some(letters) = argument.strip_prefix('+')
        {
            return self.cluster(walk, letters, next);
        }
        let Some(option) = argument.strip_prefix('-') else {
            return Step::Operands(0);
        };
        match option.strip_prefix('-') {
            Some(word) => self.word(walk, word, next),
            None if self.written != Words::Double && self.has_word(option) => self.word(walk, option, next),
            None => self.cluster(walk, option, next),
        }
    }

    fn has_word(&self, option: &str) -> bool {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        self.words.iter().any(|(word, _)| *word == name)
    }

    /// Whether `name` is this word, however the program lets it be written.
    fn is_word(&self, word: &str, name: &str) -> bool {
        let may_have_underscores = self.written == Words::EitherOrUnderscores;
        let letter = |byte: u8| match byte {
            b'_' if may_have_underscores => b'-',
            byte => byte,
        };
        word.len() == name.len() && name.bytes().map(letter).eq(word.bytes())
    }

    /// A long option, without its dashes.
    fn word<'a>(&self, walk: &mut Walk, word: &'a str, next: &'a [String]) -> Step<'a> {
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let known = self.words.iter().find(|(word, _)| self.is_word(word, name));
        let effect = known.map_or(Effect::Flag, |(_, effect)| *effect);
        let further = if joined.is_some() { 1 } else { 2 };
        let value = joined.or_else(|| next.first().map(String::as_str));
        match effect {
            Effect::Flag | Effect::Rest | Effect::Colon | Effect::Equals => Step::On(1),
            Effect::Optional if joined.is_some() || next.first().is_none_or(|next| is_option(next)) => {
                Step::On(1)
            }
            effect => decide(walk, effect, value, further),
        }
    }

    /// Letters behind one dash.
    fn cluster<'a>(&self, walk: &mut Walk, letters: &'a str, next: &'a [String]) -> Step<'a> {
        let mut taken = 0;
        for (at, letter) in letters.char_indices() {
            let known = self.letters.iter().find(|(of, _)| of.contains(letter));
            let effect = known.map_or(Effect::Flag, |(_, effect)| *effect);
            let rest = &letters[at + letter.len_utf8()..];
            match effect {
                Effect::Flag => {}
                Effect::Colon if rest.trim_start_matches('t').starts_with([':', '=']) => break,
                Effect::Equals if rest.starts_with('=') => break,
                Effect::Colon | Effect::Equals => {}
                Effect::Next => taken += 1,
                Effect::OperandIsText => walk.operand_is_text = true,
                Effect::Stdin => walk.stdin = true,
                Effect::Rest => break,
                Effect::Ends => return Step::Operands(1 + taken),
                effect if rest.is_empty() => {
                    let value = next.get(taken).map(String::as_str);
                    return decide(walk, effect, value, 2 + taken);
                }
                effect => return decide(walk, effect, Some(rest), 1 + taken),
            }
        }
        Step::On(1 + taken)
    }
}

/// What an option with this value decides. `further` is where the arguments go on behind the value.
fn decide<'a>(walk: &mut Walk, effect: Effect, value: Option<&'a str>, further: usize) -> Step<'a> {
    let named = |run: fn(&'a str) -> Runs<'a>| Step::Found(value.map_or(Runs::Nothing, run));
    match effect {
        Effect::Value | Effect::Next | Effect::Optional => Step::On(further),
        Effect::Before => {
            walk.had_text = true;
            Step::On(further)
        }
        Effect::Text => Step::Found(Runs::Text),
        Effect::Module => named(Runs::Module),
        Effect::Script => named(Runs::Script),
        Effect::Ends => Step::Operands(1),
        Effect::OperandIsText => {
            walk.operand_is_text = true;
            Step::On(1)
        }
        Effect::Stdin => {
            walk.stdin = true;
            Step::On(1)
        }
        Effect::Flag | Effect::Rest | Effect::Colon | Effect::Equals => Step::On(1),
    }
}

fn is_option(argument: &str) -> bool {
    argument.starts_with('-') && argument != "-"
}
