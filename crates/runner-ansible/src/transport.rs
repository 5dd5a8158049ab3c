//! One command on the control host: input in, output out, within a deadline.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::options::Transport;

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Most bytes of an error output.
const COMPLAINT_BYTES_MAX: u64 = 64 * 1024;

/// The system's folders of programs.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) answer: Vec<u8>,
    pub(crate) complaint: String,
}

/// Why a command has no output. What it did is unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("`{program}` is not installed")]
    Missing { program: String },
    #[error("cannot start `{program}`")]
    Start { program: String, source: io::Error },
    #[error("no answer within {} s", .patience.as_secs())]
    Silent { patience: Duration },
    #[error("the connection to the helper broke")]
    Broken { source: io::Error },
}

impl Transport {
    /// Runs a command; only `input` may be a secret, the argument list is visible to everybody.
    pub(crate) async fn run(
        &self,
        argv: &[&str],
        input: &[u8],
        patience: Duration,
    ) -> Result<Output, CallError> {
        let mut command = self.command(argv);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| {
                let program = command
                    .as_std()
                    .get_program()
                    .to_string_lossy()
                    .into_owned();
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) {
                    CallError::Missing { program }
                } else {
                    CallError::Start { program, source }
                }
            })?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = async {
            let write = async {
                let Some(mut stdin) = stdin else {
                    return Ok(());
                };
                match stdin.write_all(input).await {
                    // It ended without reading everything; its exit code has the reason.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    written => written,
                }
            };
            let ((), answer, complaint) = tokio::try_join!(
                write,
                read(stdout, ANSWER_BYTES_MAX),
                read(stderr, COMPLAINT_BYTES_MAX)
            )?;
            io::Result::Ok(Output {
                code: child.wait().await?.code(),
                answer,
                complaint: String::from_utf8_lossy(&complaint).into_owned(),
            })
        };
        timeout(patience, talk)
            .await
            .map_err(|_| CallError::Silent { patience })?
            .map_err(|source| CallError::Broken { source })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "starting programs is what this crate is for"
    )]
    fn command(&self, argv: &[&str]) -> Command {
        let mut command = match self {
            Self::Local => {
                let (program, arguments) = argv.split_first().unwrap_or((&"false", &[]));
                // The system's Python first: a shim of a version manager answers slowly.
                let folders = joined(&[SYSTEM_PATH.as_ref(), &own_path()]);
                let program = found_in(&folders, program);
                let mut command = Command::new(program);
                command.args(arguments).env_clear();
                // For the programs that the job looks up by name, in the order of a shell.
                command.env("PATH", joined(&[&own_path(), SYSTEM_PATH.as_ref()]));
                // For a play whose user has no home.
                if let Some(home) = std::env::var_os("HOME") {
                    command.env("HOME", home);
                }
                command
            }
            Self::Ssh {
                host,
                port,
                user,
                identity_file,
                known_hosts_file,
                control_folder,
            } => {
                // The remote shell sees one string.
                let remote: Vec<String> = argv.iter().map(|part| quoted(part)).collect();
                let mut command = Command::new("ssh");
                command
                    .env_clear()
                    .env("PATH", joined(&[SYSTEM_PATH.as_ref(), &own_path()]));
                command.args(["-F", "/dev/null", "-T"]);
                for option in [
                    "BatchMode=yes",
                    "StrictHostKeyChecking=yes",
                    "GlobalKnownHostsFile=/dev/null",
                    "IdentitiesOnly=yes",
                    "ConnectTimeout=10",
                    "ServerAliveInterval=15",
                    "ServerAliveCountMax=3",
                    "ControlMaster=auto",
                    "ControlPersist=60",
                ] {
                    command.args(["-o", option]);
                }
                command
                    .args([
                        "-o",
                        &format!("UserKnownHostsFile=\"{}\"", literal(known_hosts_file)),
                    ])
                    .args([
                        "-o",
                        &format!("ControlPath=\"{}/%C\"", literal(control_folder)),
                    ])
                    .args([
                        "-o",
                        &format!("IdentityFile=\"{}\"", literal(identity_file)),
                    ])
                    .args([
                        "-p",
                        &port.to_string(),
                        "-l",
                        user,
                        "--",
                        host,
                        &remote.join(" "),
                    ]);
                command
            }
        };
        command.env("LC_ALL", "C.UTF-8").current_dir("/");
        command
    }
}

/// The folders of programs that this process was started with.
fn own_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// Lists of folders as one, without relative folders.
fn joined(lists: &[&OsStr]) -> OsString {
    let folders = lists
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|folder| folder.is_absolute());
    std::env::join_paths(folders).unwrap_or_else(|_| SYSTEM_PATH.into())
}

/// The first file `program` in `folders`; a program with a slash is a path already.
fn found_in(folders: &OsStr, program: &str) -> PathBuf {
    if program.contains('/') {
        return program.into();
    }
    std::env::split_paths(folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| program.into())
}

/// A path in which `ssh` replaces nothing.
fn literal(path: &std::path::Path) -> String {
    path.to_string_lossy().replace('%', "%%")
}

/// One word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(bytes_max).read_to_end(&mut found).await?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_word_stays_one_word_in_a_shell() {
        for text in [
            "",
            "a b",
            "it's",
            "$(id) `id` \\ \"x\" ; & | > ~ *",
            "{{ x }}",
            "new\nline",
        ] {
            let script = format!("printf %s {}", quoted(text));
            let output = Transport::Local
                .run(&["sh", "-c", &script], b"", Duration::from_secs(5))
                .await
                .unwrap();
            assert_eq!(String::from_utf8(output.answer).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn waiting_for_an_answer_has_an_end() {
        let silent = Transport::Local
            .run(&["sleep", "60"], b"", Duration::from_millis(50))
            .await;
        assert!(
            matches!(silent, Err(CallError::Silent { .. })),
            "{silent:?}"
        );
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_still_tells_its_exit_code() {
        let input = vec![b'x'; 1 << 20];
        let output = Transport::Local
            .run(&["sh", "-c", "exit 3"], &input, Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(output.code, Some(3));
    }
}
