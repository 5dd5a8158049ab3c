//! Named, timed steps and the table at their end.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped(&'static str),
}

/// Steps run one after the other until one fails.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Verdict)>,
}

impl Steps {
    /// Runs a step. After a failure the caller stops; the table shows what was reached.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("\n── {name}");
        let start = Instant::now();
        let result = step();
        let verdict = if result.is_ok() {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        self.done.push((name.to_owned(), start.elapsed(), verdict));
        result.with_context(|| format!("step `{name}` failed"))
    }

    /// Records a step that cannot run here. It is printed, so that it is not mistaken for passed.
    pub(crate) fn skip(&mut self, name: &str, reason: &'static str) {
        self.done
            .push((name.to_owned(), Duration::ZERO, Verdict::Skipped(reason)));
    }

    /// One line for each step, and the sum.
    pub(crate) fn table(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|(name, _, _)| name.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        let mut lines: Vec<String> = self
            .done
            .iter()
            .map(|(name, took, verdict)| match verdict {
                Verdict::Passed => format!("{name:<width$}  {:>9}  passed", seconds(*took)),
                Verdict::Failed => format!("{name:<width$}  {:>9}  FAILED", seconds(*took)),
                Verdict::Skipped(reason) => {
                    format!("{name:<width$}  {:>9}  skipped: {reason}", "–")
                }
            })
            .collect();
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        lines.push(format!("{:<width$}  {:>9}", "total", seconds(total)));
        lines.join("\n")
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// Runs a command to its end; anything but success is an error that names it.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("   $ {line}");
    let status = command
        .status()
        .with_context(|| format!("`{line}` cannot be started"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    std::iter::once(name)
        .chain(
            command
                .get_args()
                .map(|argument| argument.to_string_lossy().into_owned()),
        )
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_step_with_its_verdict() {
        let mut steps = Steps::default();
        steps.run("good", || Ok(())).unwrap();
        steps.skip("absent", "no such tool");
        steps.run("bad", || bail!("broken")).unwrap_err();
        let table = steps.table();
        let verdicts: Vec<&str> = table
            .lines()
            .filter_map(|line| line.split("  ").last())
            .collect();
        assert_eq!(verdicts.first(), Some(&"passed"), "{table}");
        assert_eq!(verdicts.get(1), Some(&"skipped: no such tool"), "{table}");
        assert_eq!(verdicts.get(2), Some(&"FAILED"), "{table}");
    }

    #[test]
    fn a_failed_command_is_named() {
        let error = succeed(&mut crate::workspace::command("false")).unwrap_err();
        assert!(error.to_string().contains("`false` ended with"), "{error}");
    }
}
