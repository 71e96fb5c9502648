//! Colours, where there is a terminal that wants them.

use std::fmt;
use std::io::IsTerminal;

/// Whether one stream takes colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

/// A text and its SGR code; without a code it is the bare text.
pub(crate) struct Painted<T> {
    text: T,
    code: Option<&'static str>,
}

impl Paint {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self {
            on: std::io::stdout().is_terminal() && wanted(),
        }
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self {
            on: std::io::stderr().is_terminal() && wanted(),
        }
    }

    /// Never.
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    /// What is well.
    pub(crate) fn good<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "32")
    }

    /// What wants attention.
    pub(crate) fn warn<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "33")
    }

    /// What is wrong.
    pub(crate) fn bad<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "31")
    }

    /// What stands out.
    pub(crate) fn strong<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "1")
    }

    /// What stands back.
    pub(crate) fn faint<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "2")
    }

    fn with<T>(self, text: T, code: &'static str) -> Painted<T> {
        Painted {
            text,
            code: self.on.then_some(code),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.fmt(f),
        }
    }
}

/// <https://no-color.org>, and terminals that know no colours.
fn wanted() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_around_the_text_only_when_wanted() {
        assert_eq!(Paint { on: true }.bad("x").to_string(), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::plain().bad("x").to_string(), "x");
    }
}
