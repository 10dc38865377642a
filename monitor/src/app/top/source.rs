//! Where frames come from. One more kind of source is one more variant here.

use anyhow::Result;

use super::{
    alone::Alone,
    attached::Attached,
    frame::{Frame, Members},
};
use crate::{app::Exit, cli::TopArgs, config::Environment};

/// What a source answers.
pub(super) enum Answer {
    Frame(Box<Frame>),
    /// It does not answer now, for this reason; it may again.
    Away(String),
    /// It will not answer; with the remedy.
    Refused(String),
}

/// A source of frames.
pub(super) enum Source {
    Attached(Attached),
    Alone(Box<Alone>),
}

impl Source {
    /// Finds the kevmon to ask, or begins to watch; or what the command ends with, which has been said.
    ///
    /// # Errors
    /// A socket cannot be asked, or nothing can be watched.
    pub(super) fn open(args: &TopArgs, environment: &Environment) -> Result<std::result::Result<Self, Exit>> {
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
        }
    }

    /// What it tells next, once it was asked. Cancelled, it takes nothing.
    pub(super) async fn told(&mut self) -> Answer {
        match self {
            Self::Attached(attached) => attached.told().await,
            Self::Alone(alone) => alone.told().await,
        }
    }
}
