//! One HAProxy: what can be asked of it, and what it means when it does not obey.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::address::Address;
use super::name::Name;
use super::servers::{self, BackendServers, HaproxyProcess};
use super::socket::{self, ANSWER_BYTES_MAX};
use super::stat::StatTable;
use super::state::{self, StateRow};
use super::workers::Master;

/// Most time for one command, from waiting for a turn to the last byte of the answer.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);

/// Commands at a time on one socket. HAProxy serves 10 connections there by default; others need some too.
const COMMANDS_AT_A_TIME_MAX: usize = 4;

/// Most characters of HAProxy's words repeated in an error.
const WORDS_CHARACTERS_MAX: usize = 300;

/// The administrative state asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminAction {
    Ready,
    Drain,
    Maint,
}

impl AdminAction {
    /// HAProxy's word for it; `None` for any other.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "ready" => Some(Self::Ready),
            "drain" => Some(Self::Drain),
            "maint" => Some(Self::Maint),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// An HAProxy process behind its runtime socket.
///
/// Nothing is remembered between calls: an HAProxy that was down at start is used as soon as it is up.
#[derive(Debug)]
pub(crate) struct Instance {
    address: Address,
    master: Option<Master>,
    turns: Semaphore,
}

impl Instance {
    /// An HAProxy behind `address`, whose old workers are seen through the socket `master` if there is one.
    pub(crate) fn new(address: Address, master: Option<Address>) -> Self {
        Self {
            address,
            master: master.map(Master::new),
            turns: Semaphore::new(COMMANDS_AT_A_TIME_MAX),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The process that answers on the socket right now.
    pub(crate) async fn process(&self) -> Option<HaproxyProcess> {
        let answer = self.command("show info").await.ok()?;
        HaproxyProcess::parse(&answer)
    }

    /// Whether the sessions of old workers can be read right now.
    pub(crate) async fn sees_old_workers(&self) -> bool {
        match &self.master {
            Some(master) => master.is_available().await,
            None => false,
        }
    }

    /// The names of all backends, sorted, and what could not be read beside them.
    pub(crate) async fn backends(&self) -> Result<(Vec<String>, Vec<String>), HaproxyError> {
        let answer = self.command("show stat -1 2 -1").await?;
        let table = StatTable::parse(&answer)
            .ok_or_else(|| HaproxyError::unreadable("show stat", &answer))?;
        whole("show stat", &answer)?;
        let names: BTreeSet<&str> = table.rows().map(|row| row.field("pxname")).collect();
        let names = names.into_iter().map(str::to_owned).collect();
        Ok((names, table.unread().to_vec()))
    }

    /// The servers of a backend; none if HAProxy does not know the backend.
    ///
    /// With a master's socket, the sessions of old workers are counted too; where they cannot be read, each server says so,
    /// and the reason comes with the servers.
    pub(crate) async fn servers(
        &self,
        backend: &Name,
    ) -> Result<(BackendServers, Option<HaproxyError>), HaproxyError> {
        let (picture, states) = self.picture(backend, backend.as_str()).await?;
        let mut picture = match states.first() {
            // `show stat` looks a name up among frontends first, so a frontend of the same name hides the servers;
            // the id cannot be mistaken.
            Some(state) if picture.servers.len() < states.len() => {
                let id = state.backend_id.to_string();
                self.picture(backend, &id).await?.0
            }
            Some(_) | None => picture,
        };
        let (shown, known) = (picture.servers.len(), states.len());
        if shown < known && picture.unread.is_empty() {
            picture.unread.push(format!(
                "HAProxy's statistics show {shown} of the {known} servers that it has a state of"
            ));
        }
        if let Some(master) = &self.master
            && !picture.servers.is_empty()
        {
            let sessions = master.sessions(backend, picture.process.pid()).await;
            servers::add_old_sessions(&mut picture.servers, sessions.as_ref().ok());
            return Ok((picture, sessions.err()));
        }
        Ok((picture, None))
    }

    /// Asks for an administrative state and returns the mask HAProxy then has, a decimal number.
    ///
    /// Success is an empty answer and a mask that says the same; anything else is an error. Asking for the state a
    /// server already has succeeds and changes nothing.
    pub(crate) async fn set_state(
        &self,
        backend: &Name,
        server: &Name,
        action: AdminAction,
    ) -> Result<u32, HaproxyError> {
        let word = action.as_str();
        let answer = self
            .command(&format!("set server {backend}/{server} state {word}"))
            .await?;
        if !answer.trim().is_empty() {
            return Err(HaproxyError::Refused {
                words: words(&answer),
            });
        }
        let answer = self
            .command(&format!("show servers state {backend}"))
            .await?;
        let states = state::parse(&answer)
            .ok_or_else(|| HaproxyError::unreadable("show servers state", &answer))?;
        whole("show servers state", &answer)?;
        let found = states
            .iter()
            .find(|state| state.backend == backend.as_str() && state.server == server.as_str());
        match found {
            Some(state) if state.obeys(action) => Ok(state.admin_state),
            Some(state) => Err(HaproxyError::Disobeyed {
                word,
                admin_state: state.admin_state,
            }),
            None => Err(HaproxyError::Vanished { word }),
        }
    }

    /// Process, state and statistics from one connection, so that one worker answers all three even across a reload.
    async fn picture(
        &self,
        backend: &Name,
        proxy: &str,
    ) -> Result<(BackendServers, Vec<StateRow>), HaproxyError> {
        let command = format!("show info;show servers state {backend};show stat {proxy} 4 -1");
        let answer = self.command(&command).await?;
        // The statistics come last: their texts are the only ones an application can influence.
        let mut blocks = answer.splitn(3, "\n\n");
        let mut block = || blocks.next().unwrap_or_default();
        let process = HaproxyProcess::parse(block())
            .ok_or_else(|| HaproxyError::unreadable("show info", &answer))?;
        let block_of_states = block();
        let Some(states) = state::parse(block_of_states) else {
            return if block_of_states.trim() == "Can't find backend." {
                Ok((
                    BackendServers {
                        servers: Vec::new(),
                        process,
                        unread: Vec::new(),
                    },
                    Vec::new(),
                ))
            } else {
                Err(HaproxyError::unreadable(
                    "show servers state",
                    block_of_states,
                ))
            };
        };
        let block_of_stat = block();
        let stat = StatTable::parse(block_of_stat)
            .ok_or_else(|| HaproxyError::unreadable("show stat", block_of_stat))?;
        whole("show stat", &answer)?;
        let servers = BackendServers {
            servers: servers::join(backend.as_str(), &stat, &states),
            process,
            unread: stat.unread().to_vec(),
        };
        Ok((servers, states))
    }

    async fn command(&self, command: &str) -> Result<String, HaproxyError> {
        let conversation = async {
            // The semaphore is never closed, so a failure to take a turn cannot happen; it would only skip the wait.
            let _turn = self.turns.acquire().await.ok();
            socket::exchange(&self.address, command).await
        };
        match timeout(COMMAND_DEADLINE, conversation).await {
            Err(_) => Err(HaproxyError::Silent),
            Ok(Err(source)) => Err(HaproxyError::Unreachable { source }),
            Ok(Ok(None)) => Err(HaproxyError::TooMuch),
            Ok(Ok(Some(answer))) => Ok(answer),
        }
    }
}

/// Checks that `answer` ends as every whole answer of HAProxy does, with an empty line. One that was cut still reads as a
/// shorter table.
fn whole(command: &'static str, answer: &str) -> Result<(), HaproxyError> {
    if answer.ends_with("\n\n") {
        return Ok(());
    }
    let last = answer.lines().next_back().unwrap_or_default();
    Err(HaproxyError::Cut {
        command,
        words: words(last),
    })
}

/// HAProxy's own words on one line, cut to a length that fits a message.
fn words(answer: &str) -> String {
    let line = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(WORDS_CHARACTERS_MAX).collect()
}

/// Why HAProxy did not carry out or answer a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HaproxyError {
    /// Nothing answers on the socket. Nothing has been done.
    #[error(
        "HAProxy's runtime socket cannot be used (is HAProxy running, and may the agent open the socket?)"
    )]
    Unreachable { source: std::io::Error },
    /// The master's socket has no listener, or it may not be opened.
    #[error(
        "HAProxy's master socket cannot be used (is it given with `-S`, and may the agent open it?)"
    )]
    MasterUnreachable { source: std::io::Error },
    /// The deadline passed. A command may have been done.
    #[error("HAProxy did not answer within {} seconds", COMMAND_DEADLINE.as_secs())]
    Silent,
    /// The answer was larger than any real one.
    #[error("HAProxy's answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooMuch,
    /// The answer is not what the command gives; HAProxy may have refused to give it.
    #[error("HAProxy answered `{command}` with `{words}`")]
    Unreadable {
        command: &'static str,
        words: String,
    },
    /// The answer has no end: the connection broke, or HAProxy was stopped in the middle of it.
    #[error("HAProxy's answer to `{command}` was cut after `{words}`")]
    Cut {
        command: &'static str,
        words: String,
    },
    /// HAProxy said no.
    #[error("HAProxy refused: {words}")]
    Refused { words: String },
    /// HAProxy said yes, but its state says otherwise.
    #[error(
        "HAProxy accepted `{word}`, but the server's admin state is {admin_state} afterwards; was HAProxy reloaded?"
    )]
    Disobeyed {
        word: &'static str,
        admin_state: u32,
    },
    /// The sessions of old workers cannot be read, so the sessions of a server are unknown.
    #[error("the sessions of HAProxy's old workers cannot be read from the master's socket")]
    Workers { source: Box<HaproxyError> },
    /// The master does not list the worker that answered about the servers.
    #[error(
        "the master knows no worker {pid}, which told the servers; is it the master of this HAProxy, or was it just reloaded?"
    )]
    Foreign { pid: String },
    /// More workers than are asked.
    #[error(
        "HAProxy has {count} workers and at most {max} are asked; what keeps the old ones? (`hard-stop-after` ends them)"
    )]
    TooManyWorkers { count: usize, max: usize },
    /// HAProxy said yes, but the server is not there.
    #[error("HAProxy accepted `{word}`, but no longer lists the server; was HAProxy reloaded?")]
    Vanished { word: &'static str },
}

impl HaproxyError {
    pub(super) fn unreadable(command: &'static str, answer: &str) -> Self {
        Self::Unreadable {
            command,
            words: words(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_words_are_actions() {
        for action in [AdminAction::Ready, AdminAction::Drain, AdminAction::Maint] {
            assert_eq!(AdminAction::parse(action.as_str()), Some(action));
        }
        for word in ["", "Drain", "drain ", "enable", "ready;show info"] {
            assert_eq!(AdminAction::parse(word), None, "{word:?}");
        }
    }

    #[test]
    fn long_words_are_cut_and_put_on_one_line() {
        assert_eq!(words("No such\n  server.\n\n"), "No such server.");
        assert_eq!(
            words(&"ä ".repeat(1000)).chars().count(),
            WORDS_CHARACTERS_MAX
        );
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_unreachable() {
        let instance = Instance::new(Address::Unix("/nonexistent/admin.sock".into()), None);
        assert_eq!(instance.process().await, None);
        let error = instance.backends().await.unwrap_err();
        assert!(
            matches!(error, HaproxyError::Unreachable { .. }),
            "{error:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_never_answers_is_silent_after_the_deadline() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        };
        let instance = Instance::new(address, None);
        let error = instance.backends().await.unwrap_err();
        assert!(matches!(error, HaproxyError::Silent), "{error:?}");
    }
}
