//! Errors as the specification has them: a number that programs act on, and a text for people.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $text:literal])+ $name:ident = $number:literal,)+) => {
        /// What kind of error it is. Numbers below 100 are the specification's own, those from 100
        /// on are this plugin's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(into = "u32", try_from = "u32")]
        pub enum Code {
            $($(#[doc = $text])+ $name,)+
        }

        impl From<Code> for u32 {
            fn from(code: Code) -> Self {
                match code {
                    $(Code::$name => $number,)+
                }
            }
        }

        impl TryFrom<u32> for Code {
            type Error = String;

            fn try_from(number: u32) -> Result<Self, Self::Error> {
                match number {
                    $($number => Ok(Self::$name),)+
                    other => Err(format!("{other} is no error code of this version")),
                }
            }
        }
    };
}

codes! {
    /// The configuration's version is not supported, or does not know the command.
    IncompatibleVersion = 1,
    /// An environment variable is missing, or says what it must not.
    InvalidEnvironment = 4,
    /// Something could not be read or written.
    Io = 5,
    /// The configuration is not what it should be, as JSON.
    Decoding = 6,
    /// The configuration says what it must not.
    InvalidConfiguration = 7,
    /// The network namespace is not one, is gone, or is the node's own.
    InvalidNamespace = 8,
    /// No agent answers, or it is not ready: the same may work in a moment.
    TryAgainLater = 11,
    /// The node cannot attach containers now.
    NotAvailable = 50,
    /// The same, and containers that are attached may have lost their network.
    LimitedConnectivity = 51,
    /// Something of the attachment is not as ADD made it.
    NotAsMade = 100,
    /// The container has this interface already.
    AlreadyAttached = 101,
    /// No address is free.
    NoAddress = 102,
    /// Another pod or Service has the node's port.
    HostPortTaken = 103,
    /// The kernel refused something.
    NotMade = 104,
}

/// An error, for the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// What kind.
    pub code: Code,
    /// What is wrong.
    pub msg: String,
    /// What to do, or more of the reason; may be empty.
    #[serde(default)]
    pub details: String,
}

impl CniError {
    /// An error that needs no more words.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, msg, details) = (u32::from(self.code), &self.msg, &self.details);
        let separator = if details.is_empty() { "" } else { "; " };
        write!(formatter, "{msg}{separator}{details} (code {code})")
    }
}

impl std::error::Error for CniError {}
