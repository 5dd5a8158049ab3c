//! Processes that end with the test.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

static HAS_TURN: Mutex<bool> = Mutex::new(false);
static TURN_ENDED: Condvar = Condvar::new();

/// The turn of one journey. Journeys start whole fleets and play Ansible; two at once on a small machine would measure
/// each other. nextest keeps them apart by its settings, `cargo test` runs them as threads of one process.
#[derive(Debug)]
pub(crate) struct Turn(());

impl Turn {
    /// Blocks until no other journey of this process runs.
    #[must_use]
    pub(crate) fn take() -> Self {
        let has_turn = HAS_TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut has_turn = TURN_ENDED
            .wait_while(has_turn, |has_turn| *has_turn)
            .unwrap_or_else(PoisonError::into_inner);
        *has_turn = true;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *HAS_TURN.lock().unwrap_or_else(PoisonError::into_inner) = false;
        TURN_ENDED.notify_one();
    }
}

/// A child process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output going to `log`.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(String, String)],
        log: &Path,
    ) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "journeys start the real binaries"
        )]
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Its number, by which a worker of the engine is called.
    #[must_use]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Panics
    ///
    /// If the signal cannot be sent.
    pub(crate) fn signal(&self, name: &str) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the standard library sends no signals"
        )]
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(sent.success(), "no signal {name} to {}", self.child.id());
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    ///
    /// After `deadline`.
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "still running after {deadline:?}; its log:\n{}",
                self.log()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Kills it at once, as power loss would.
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it wrote so far.
    #[must_use]
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// A binary of this workspace, beside the running test.
///
/// # Panics
///
/// If it was not built; the message names the command.
#[must_use]
pub(crate) fn binary(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo xtask test`, which builds it first",
        path.display()
    );
    path
}

/// The first of the ports to choose from. They end below those that Linux takes for clients, so that no connection can
/// take the port before the program that gets it listens.
const PORT_MIN: u16 = 12_000;

/// How many ports there are to choose from; the demo takes those behind them.
const PORTS: u32 = 8_000;

/// A port on which nothing listens; each is given out once.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (0..PORTS)
        .find_map(|_| {
            // Processes that run side by side begin at different places.
            let number = std::process::id()
                .wrapping_mul(127)
                .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let port = PORT_MIN + u16::try_from(number % PORTS).unwrap();
            TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
        })
        .unwrap()
}
