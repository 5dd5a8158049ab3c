//! The log: who sees what, in which form.

use std::io::{self, IsTerminal, Write};

use drover_config::{Log, LogFormat};
use drover_domain::secret::without_secrets;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Sends the log to standard error, as the settings say, without secrets.
///
/// # Errors
///
/// What is wrong with the filter.
pub(crate) fn start(settings: &Log) -> Result<(), String> {
    let filter = filter(settings)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| Masked(io::stderr()));
    match settings.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// What is logged.
///
/// # Errors
///
/// What is wrong with the filter.
pub(crate) fn filter(settings: &Log) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&settings.filter)
        .map_err(|error| format!("setting `log.filter` cannot be read: {error}"))
}

/// Masks what is written to it, one whole line at a time, as the log writes.
#[derive(Debug)]
struct Masked<W>(W);

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(without_secrets(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_without_secrets() {
        let mut out = Masked(Vec::new());
        let line = b"INFO ann asked for https://ann:pw@nexus/a.zip?token=t with {api_token=x}\n";
        out.write_all(line).unwrap();
        let shown = String::from_utf8(out.0).unwrap();
        assert_eq!(
            shown,
            "INFO ann asked for https://***@nexus/a.zip?*** with {api_token=***}\n"
        );
    }
}
