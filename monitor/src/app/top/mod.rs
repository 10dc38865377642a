//! `kevmon top`: what every group does, live in the terminal.
//!
//! A source tells frames: a running kevmon over its commands socket ([`attached`]), or this process, which watches by itself
//! ([`alone`]), or the flight recorder's files ([`replay`]). The state takes frames and keys ([`state`]), the view draws the state ([`view`]): both are pure. The terminal is one
//! guard's, which gives it back as it was found ([`terminal`]).

mod alone;
mod attached;
mod frame;
mod keys;
mod replay;
mod source;
mod state;
mod terminal;
mod view;

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval_at},
};

pub(super) use self::frame::{EventFrame, Frame, Has, Members};
use self::{
    source::{Answer, Source},
    state::{Effect, State},
    terminal::{Input, Screen},
    view::Look,
};
use super::{Exit, local_time, log, output, terminal as standard_output};
use crate::{
    cli::TopArgs,
    config::{Environment, LogLevel},
    limits, shown,
};

/// Runs until a key, SIGTERM, SIGINT, SIGHUP or SIGQUIT.
///
/// # Errors
/// Nothing can be watched, the running kevmon cannot be asked, or the terminal cannot be drawn on.
pub(super) fn run(args: &TopArgs, environment: &Environment) -> Result<Exit> {
    if let Some(why) = unfit(
        standard_output::is_terminal(),
        std::env::var("TERM").ok().as_deref(),
    ) {
        shown::complain(why);
        return Ok(Exit::Usage);
    }
    // A line of the log would stand in the middle of the screen.
    let level = if std::io::stderr().is_terminal() {
        LogLevel::Off
    } else {
        LogLevel::Error
    };
    log::start(&log::LogPlace::STDERR, &level.into())?;
    limits::raise_open_files()?;
    let mut source = match Source::open(args, environment)? {
        Ok(source) => source,
        Err(exit) => return Ok(exit),
    };
    super::block_on(async move {
        let mut state = State::new();
        // Before the screen is taken: what keeps it from working is said where the command was given.
        source.ask(&state.members());
        match source.told().await {
            Answer::Refused(why) => {
                shown::complain(why);
                return Ok(Exit::Failure);
            }
            told => take(&mut state, told),
        }
        let refused = show(args, source, state).await?;
        Ok(refused.map_or(Exit::Success, |why| {
            shown::complain(why);
            Exit::Failure
        }))
    })
}

/// Why nothing can be drawn on standard output.
fn unfit(is_terminal: bool, term: Option<&str>) -> Option<&'static str> {
    if !is_terminal {
        return Some(
            "kevmon top draws on a terminal, and standard output is none: run it in one, or use kevmon status --json or \
             kevmon --run-once --output json",
        );
    }
    match term {
        Some("dumb" | "") | None => Some(
            "kevmon top cannot draw on a terminal without cursor movements (TERM is dumb, or not set): set TERM to what the \
             terminal is, such as xterm or linux",
        ),
        Some(_) => None,
    }
}

fn take(state: &mut State, told: Answer) {
    match told {
        Answer::Frame(frame) => state.take(*frame),
        Answer::Recorded { frames, fault } => state.replay(frames, fault),
        Answer::Away(why) | Answer::Refused(why) => state.lose(output::unix_now(), why),
    }
}

/// What others ask of it by signals.
#[derive(Clone, Copy)]
enum Asked {
    End,
    /// SIGTSTP.
    Suspend,
    /// SIGCONT: it goes on, whatever stopped it.
    GoOn,
}

/// Signals from outside.
struct Signals {
    ends: [Signal; 4],
    stop: Signal,
    go_on: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            ends: [
                signal(SignalKind::terminate()).context("SIGTERM")?,
                signal(SignalKind::interrupt()).context("SIGINT")?,
                signal(SignalKind::hangup()).context("SIGHUP")?,
                signal(SignalKind::quit()).context("SIGQUIT")?,
            ],
            stop: signal(SignalKind::from_raw(libc::SIGTSTP)).context("SIGTSTP")?,
            go_on: signal(SignalKind::from_raw(libc::SIGCONT)).context("SIGCONT")?,
        })
    }

    async fn next(&mut self) -> Asked {
        let [terminate, interrupt, hang_up, quit] = &mut self.ends;
        tokio::select! {
            _ = terminate.recv() => Asked::End,
            _ = interrupt.recv() => Asked::End,
            _ = hang_up.recv() => Asked::End,
            _ = quit.recv() => Asked::End,
            _ = self.stop.recv() => Asked::Suspend,
            _ = self.go_on.recv() => Asked::GoOn,
        }
    }
}

/// Shows the state until it is ended. Returns why the source refuses to go on, where it does.
async fn show(args: &TopArgs, mut source: Source, mut state: State) -> Result<Option<String>> {
    let look = Look {
        has_colours: standard_output::look(args.paint.color).colours,
        local: local_time::wall,
    };
    let mut signals = Signals::new()?;
    let mut screen = Screen::enter(args.mouse, look.has_colours)?;
    let mut input = Input::start()?;
    let mut ticks = interval_at(Instant::now() + args.interval, args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        screen.draw(&mut state, look)?;
        let effect = tokio::select! {
            asked = signals.next() => match asked {
                Asked::End => return Ok(None),
                Asked::Suspend => Effect::Suspend,
                Asked::GoOn => {
                    screen.retake()?;
                    Effect::None
                }
            },
            event = input.next() => {
                let Some(event) = event else { return Ok(None) };
                state.apply(keys::action(&event, state.mode, view::table_line()))
            }
            told = source.told() => {
                if let Answer::Refused(why) = told {
                    return Ok(Some(why));
                }
                take(&mut state, told);
                Effect::None
            }
            _ = ticks.tick() => if state.is_paused { Effect::None } else { Effect::Ask },
        };
        match effect {
            Effect::None => {}
            Effect::Quit => return Ok(None),
            Effect::Ask if state.is_paused => {}
            Effect::Ask => source.ask(&state.members()),
            Effect::Suspend => screen.suspend()?,
            Effect::Step(by) => source.step(by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unfit;

    #[test]
    fn it_says_what_it_cannot_draw_on() {
        assert_eq!(unfit(true, Some("xterm-256color")), None);
        for (is_terminal, term, word) in [
            (false, Some("xterm"), "standard output is none"),
            (true, Some("dumb"), "set TERM"),
            (true, None, "set TERM"),
        ] {
            let why = unfit(is_terminal, term).unwrap();
            assert!(why.contains(word), "{why}");
        }
    }
}
