//! Terminal colors.

use std::fmt;
use std::io::IsTerminal;

/// Whether an output stream gets colors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

/// A text with an optional SGR color code.
pub(crate) struct Painted<T> {
    text: T,
    code: Option<&'static str>,
}

impl Paint {
    /// Colors for standard output, if it is a terminal.
    pub(crate) fn stdout() -> Self {
        Self {
            on: std::io::stdout().is_terminal() && colors_wanted(),
        }
    }

    /// Colors for standard error, if it is a terminal.
    pub(crate) fn stderr() -> Self {
        Self {
            on: std::io::stderr().is_terminal() && colors_wanted(),
        }
    }

    /// No colors.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    /// Colors even without a terminal.
    #[cfg(test)]
    pub(crate) const fn always() -> Self {
        Self { on: true }
    }

    /// Green.
    pub(crate) fn good<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "32")
    }

    /// Yellow.
    pub(crate) fn warn<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "33")
    }

    /// Red.
    pub(crate) fn bad<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "31")
    }

    /// Bold.
    pub(crate) fn strong<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "1")
    }

    /// Dim.
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

/// False if `NO_COLOR` (<https://no-color.org>) is set or the terminal has no colors.
fn colors_wanted() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_color_codes_only_when_wanted() {
        assert_eq!(Paint::always().bad("x").to_string(), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::plain().bad("x").to_string(), "x");
    }
}
