//! What the person at the terminal sees.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Standard output, with a moving bar below it on a terminal.
#[derive(Debug, Clone)]
pub struct Screen {
    bar: Option<ProgressBar>,
}

impl Screen {
    /// The screen of this process; without a bar if standard output is no terminal.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new(100);
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:40}] {pos:>3}% {msg}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar }
    }

    /// Prints a line, or several.
    pub fn line(&self, text: impl AsRef<str>) {
        let print = || {
            // If standard output is closed there is no reader; the exit code still has the outcome.
            writeln!(std::io::stdout(), "{}", text.as_ref()).ok();
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Moves the bar to `percent` and says what is going on.
    pub fn progress(&self, percent: u64, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(percent.min(100));
            bar.set_message(what.to_owned());
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}
