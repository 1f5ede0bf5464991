//! The URL of a `[[bus]]`: a CAN bus, or a DoIP entity.

use canfd::bus::{BusUrl, BusUrlError};
use canfd::doip::{DoipUrl, DoipUrlError};
use std::fmt;
use std::str::FromStr;

/// What is behind a `[[bus]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkUrl {
    /// A CAN bus.
    Can(BusUrl),
    /// A DoIP entity.
    Doip(DoipUrl),
}

impl LinkUrl {
    /// Whether the text means a DoIP entity, well written or not.
    pub fn is_doip(text: &str) -> bool {
        matches!(text.split_once(':'), Some(("doip" | "doips", _)))
    }
}

impl FromStr for LinkUrl {
    type Err = LinkUrlError;

    fn from_str(text: &str) -> Result<Self, LinkUrlError> {
        if Self::is_doip(text) { Ok(Self::Doip(text.parse()?)) } else { Ok(Self::Can(text.parse()?)) }
    }
}

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Can(url) => url.fmt(f),
            Self::Doip(url) => url.fmt(f),
        }
    }
}

/// Why a text is no link; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkUrlError {
    /// Not a CAN bus either.
    #[error("{0}; a DoIP entity is `doip://HOST:PORT`, `doips://HOST:PORT` or `doip://BROADCAST?eid=EID`")]
    Can(#[from] BusUrlError),
    /// Meant to be a DoIP entity.
    #[error(transparent)]
    Doip(#[from] DoipUrlError),
}
