//! Where frames come from. One more kind of source is one more variant here.

use anyhow::Result;

use super::{
    alone::Alone,
    attached::Attached,
    frame::{Frame, Members},
    replay::Replay,
};
use crate::{app::Exit, cli::TopArgs, config::Environment};

/// What a source answers.
pub(super) enum Answer {
    Frame(Box<Frame>),
    /// A moment of a recording, with those before it, and what of the recording could not be read.
    Recorded {
        frames: Vec<Frame>,
        fault: Option<String>,
    },
    /// It does not answer now, for this reason; it may again.
    Away(String),
    /// It will not answer; with the remedy.
    Refused(String),
}

/// A source of frames.
pub(super) enum Source {
    Attached(Attached),
    Alone(Box<Alone>),
    Replay(Replay),
}

impl Source {
    /// Finds the kevmon to ask, reads a recording, or begins to watch; or what the command ends with, which has been said.
    ///
    /// # Errors
    /// A socket cannot be asked, or nothing can be watched.
    pub(super) fn open(args: &TopArgs, environment: &Environment) -> Result<std::result::Result<Self, Exit>> {
        match Replay::open(args, environment)? {
            Ok(None) => {}
            Ok(Some(replay)) => return Ok(Ok(Self::Replay(replay))),
            Err(exit) => return Ok(Err(exit)),
        }
        if args.watches_alone() {
            let alone = Alone::start(args, environment)?;
            return Ok(alone.map(|alone| Self::Alone(Box::new(alone))));
        }
        Ok(Attached::find(args, environment)?.map(Self::Attached))
    }

    /// Asks for a frame with these processes. While one is on its way, the next is asked for after it, where it has other processes.
    pub(super) fn ask(&mut self, members: &Members) {
        match self {
            Self::Attached(attached) => attached.ask(members),
            Self::Alone(alone) => alone.ask(members),
            Self::Replay(_) => {}
        }
    }

    /// Goes on by so many frames of a recording, or back.
    pub(super) fn step(&mut self, by: isize) {
        if let Self::Replay(replay) = self {
            replay.step(by);
        }
    }

    /// What it tells next, once it was asked. Cancelled, it takes nothing.
    pub(super) async fn told(&mut self) -> Answer {
        match self {
            Self::Attached(attached) => attached.told().await,
            Self::Alone(alone) => alone.told().await,
            Self::Replay(replay) => replay.told().await,
        }
    }
}
