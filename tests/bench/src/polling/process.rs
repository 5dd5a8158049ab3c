//! What a process costs, and processes that end with the measurement.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// How many ticks of CPU time are a second on Linux, whatever the kernel's own clock.
const TICKS_PER_S: f64 = 100.0;

/// The CPU time that a process has used, seconds.
pub(super) fn cpu_s(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    // The name of the program stands in brackets and may have blanks in it.
    let (_, rest) = stat.rsplit_once(')').context("no statistics")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a field")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// The most memory that this process ever had in use, MiB.
pub(super) fn peak_rss_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: f64 = kib.context("no peak is told")?.parse()?;
    Ok(kib / 1_024.0)
}

/// A process that is ended with this value.
pub(super) struct Running {
    child: Child,
    input: Option<ChildStdin>,
}

impl Running {
    #[expect(
        clippy::disallowed_methods,
        reason = "a measurement starts what it measures"
    )]
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line it says.
    pub(super) fn first_line(&mut self) -> Result<String> {
        let output = self.child.stdout.take().context("it was read before")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Sends it one line.
    pub(super) fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("it cannot be told anything")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
