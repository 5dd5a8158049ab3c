//! The port [`PlaybookRunner`] on Ansible.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::rollout::artifact::ArtifactSight;
use drover_domain::rollout::job::{JobId, JobStatus, PlaybookFile, PlaybookJob};
use drover_domain::rollout::record::ArtifactUrl;
use drover_domain::rollout::request::StepAnswer;
use drover_domain::secret::without_secrets;
use drover_domain::text::{visible, without_lone_surrogates};
use drover_ports::{ArtifactProbe, EventBatch, Place, PlaybookRunner, RunnerError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::options::{Options, OptionsError, Paths};
use crate::protocol::{
    Answer, AnswerRequest, ArtifactRequest, Diagnosed, FollowRequest, Followed, HELPER,
    HostRequest, INSTALLER, JobRequest, LaunchRequest, Listed, Looked, More, Nothing, ProbeRequest,
    Probed, RefusalKind, State, Verb,
};
use crate::transport::{CallError, Output};
use crate::{events, job, mailbox};

/// Time the helper takes at most for interrupting, terminating and killing, 10 s each.
const STOPPING: Duration = Duration::from_secs(35);

/// Time the helper takes at most until a job is under way.
const STARTING: Duration = Duration::from_secs(20);

/// Most characters of [`PlaybookRunner::diagnostics`].
const DIAGNOSTICS_MAX: usize = 4_000;

/// Most characters shown of what was unreadable.
const COMPLAINT_MAX: usize = 500;

/// Runs playbooks with `ansible-playbook` on a control host, as jobs that outlive this process.
#[derive(Debug)]
pub struct AnsibleRunner {
    options: Options,
    paths: Paths,
    /// Where the helper is on the control host; its name has the digest of its content, so versions never mix.
    helper: String,
    helper_name: String,
}

impl AnsibleRunner {
    /// A runner; the control host is first spoken to by the first call.
    ///
    /// # Errors
    ///
    /// [`OptionsError`], naming the option.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        let paths = options.checked()?;
        let mut digest = String::new();
        for byte in Sha256::digest(HELPER).iter().take(8) {
            let _infallible = write!(digest, "{byte:02x}");
        }
        let helper_name = format!("drover_job-{digest}.py");
        let helper = format!("{}/{helper_name}", paths.spool.trim_end_matches('/'));
        Ok(Self {
            options,
            paths,
            helper,
            helper_name,
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        verb: Verb,
        request: &(impl Serialize + Sync),
        work: Duration,
    ) -> Result<T, RunnerError> {
        let action = verb.action();
        let input = serde_json::to_vec(request).map_err(|error| RunnerError::Unreadable {
            action,
            reason: error.to_string(),
        })?;
        let argv = [&self.options.python, "-I", "-S", &self.helper, verb.word()];
        let patience = self.options.call_timeout.saturating_add(work);
        let mut output = self.run(&argv, &input, patience, action).await?;
        // Python's code for a program file that it cannot open.
        if output.code == Some(2) {
            let install = [
                &self.options.python,
                "-I",
                "-S",
                "-c",
                INSTALLER,
                &self.paths.spool,
                &self.helper_name,
            ];
            let done = self
                .run(
                    &install,
                    HELPER.as_bytes(),
                    self.options.call_timeout,
                    action,
                )
                .await?;
            let Nothing {} = answer(action, &done)?;
            tracing::info!(
                helper = self.helper,
                "installed Drover's helper on the control host"
            );
            output = self.run(&argv, &input, patience, action).await?;
        }
        answer(action, &output)
    }

    async fn run(
        &self,
        argv: &[&str],
        input: &[u8],
        patience: Duration,
        action: &'static str,
    ) -> Result<Output, RunnerError> {
        let ran = self.options.transport.run(argv, input, patience).await;
        let output = ran.map_err(|error| match error {
            CallError::Missing { program } => RunnerError::Unfit {
                reason: missing(&program),
            },
            error @ (CallError::Start { .. }
            | CallError::Silent { .. }
            | CallError::Broken { .. }) => RunnerError::Unavailable {
                action,
                source: error.into(),
            },
        })?;
        // A shell's codes for a program that it cannot find or start.
        if matches!(output.code, Some(126 | 127)) {
            return Err(RunnerError::Unfit {
                reason: missing(&self.options.python),
            });
        }
        Ok(output)
    }

    fn about(&self, job: JobId) -> JobRequest<'_> {
        JobRequest {
            spool: &self.paths.spool,
            job: job.to_string(),
            more: None,
        }
    }

    fn host(&self) -> HostRequest<'_> {
        HostRequest {
            playbooks: &self.paths.playbooks,
            ansible_playbook: &self.options.ansible_playbook,
            extra_path: &self.paths.extra_path,
            inventory: self.paths.inventory.as_deref(),
            ansible_config: self.paths.ansible_config.as_deref(),
        }
    }
}

#[async_trait]
impl PlaybookRunner for AnsibleRunner {
    #[tracing::instrument(name = "runner.launch", skip_all, fields(job.id = %job.id, playbook = job.playbook), err(level = "debug"))]
    async fn launch(&self, job: &PlaybookJob) -> Result<(), RunnerError> {
        let files = job::files(job).map_err(|reason| RunnerError::Refused { reason })?;
        let request = LaunchRequest {
            spool: &self.paths.spool,
            job: job.id.to_string(),
            playbook: &job.playbook,
            files,
            max_runtime_s: self.options.max_runtime.as_secs(),
            max_idle_s: self.options.max_idle.map(|idle| idle.as_secs()),
            host: self.host(),
        };
        let Nothing {} = self.call(Verb::Launch, &request, STARTING).await?;
        Ok(())
    }

    async fn follow(
        &self,
        job: JobId,
        place: Place,
        wait: Duration,
    ) -> Result<EventBatch, RunnerError> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let request = JobRequest {
            more: Some(More::Follow(FollowRequest {
                offset: place.offset,
                wait_ms,
                heard: place.heard,
            })),
            ..self.about(job)
        };
        let found: Followed = self.call(Verb::Follow, &request, wait).await?;
        let events = events::read(&found.lines, place.sequence);
        Ok(EventBatch {
            events,
            offset: found.offset,
            request: found.asked.as_ref().map(mailbox::request),
            status: found.state.into(),
        })
    }

    async fn answer(&self, job: JobId, answer: &StepAnswer) -> Result<(), RunnerError> {
        let request = JobRequest {
            more: Some(More::Answer(AnswerRequest {
                number: answer.number,
                text: mailbox::answer(answer),
            })),
            ..self.about(job)
        };
        let Nothing {} = self.call(Verb::Answer, &request, Duration::ZERO).await?;
        Ok(())
    }

    async fn status(&self, job: JobId) -> Result<JobStatus, RunnerError> {
        let state: State = self
            .call(Verb::Status, &self.about(job), Duration::ZERO)
            .await?;
        Ok(state.into())
    }

    #[tracing::instrument(name = "runner.cancel", skip_all, fields(job.id = %job), err(level = "debug"))]
    async fn cancel(&self, job: JobId) -> Result<(), RunnerError> {
        let Nothing {} = self.call(Verb::Cancel, &self.about(job), STOPPING).await?;
        Ok(())
    }

    async fn diagnostics(&self, job: JobId) -> Result<String, RunnerError> {
        let found: Diagnosed = self
            .call(Verb::Diagnostics, &self.about(job), Duration::ZERO)
            .await?;
        let lines: Vec<String> = found
            .text
            .lines()
            .map(|line| visible(line, DIAGNOSTICS_MAX))
            .collect();
        let text = lines.join("\n");
        let surplus = text.chars().count().saturating_sub(DIAGNOSTICS_MAX);
        Ok(text.chars().skip(surplus).collect())
    }

    async fn probe(&self) -> Result<String, RunnerError> {
        let patience_s = self.options.call_timeout.as_secs();
        let request = ProbeRequest {
            spool: &self.paths.spool,
            patience_s,
            host: self.host(),
        };
        let work = self.options.call_timeout;
        let found: Probed = self.call(Verb::Probe, &request, work).await?;
        Ok(visible(&found.version, COMPLAINT_MAX))
    }

    async fn playbooks(&self) -> Result<Vec<PlaybookFile>, RunnerError> {
        let found: Listed = self
            .call(Verb::Playbooks, &self.host(), Duration::ZERO)
            .await?;
        Ok(found
            .playbooks
            .into_iter()
            .map(PlaybookFile::from)
            .collect())
    }
}

/// The most time for looking for an artifact; the helper gives up after 8 s.
const ARTIFACT_WORK: Duration = Duration::from_secs(10);

#[async_trait]
impl ArtifactProbe for AnsibleRunner {
    async fn look(&self, artifact: &ArtifactUrl) -> Result<ArtifactSight, RunnerError> {
        let request = ArtifactRequest {
            url: artifact.as_str(),
        };
        let found: Looked = self.call(Verb::Artifact, &request, ARTIFACT_WORK).await?;
        let shown = |reason: String| visible(&without_secrets(&reason), COMPLAINT_MAX);
        Ok(match found {
            Looked::Found { size } => ArtifactSight::Found { size },
            Looked::Absent { reason } => ArtifactSight::Absent {
                reason: shown(reason),
            },
            Looked::Unknown { reason } => ArtifactSight::Unknown {
                reason: shown(reason),
            },
            Looked::NotChecked => ArtifactSight::NotChecked,
        })
    }
}

fn answer<T: DeserializeOwned>(action: &'static str, output: &Output) -> Result<T, RunnerError> {
    match output.code {
        Some(0) => {}
        // 255: ssh itself, or the remote shell was killed.
        None | Some(255) => return Err(unavailable(action, output)),
        Some(_) => {
            return Err(RunnerError::Unreadable {
                action,
                reason: complaint(output),
            });
        }
    }
    let unreadable = |error: serde_json::Error| RunnerError::Unreadable {
        action,
        reason: error.to_string(),
    };
    let text = String::from_utf8_lossy(&output.answer);
    match serde_json::from_str(&without_lone_surrogates(&text)).map_err(unreadable)? {
        Answer::Done(done) => Ok(done),
        Answer::Refusal { kind, reason } => Err(match kind {
            RefusalKind::Refused => RunnerError::Refused { reason },
            RefusalKind::NoSuchPlaybook => RunnerError::NoSuchPlaybook {
                playbook: visible(&reason, COMPLAINT_MAX),
            },
            RefusalKind::Unfit => RunnerError::Unfit {
                reason: visible(&reason, COMPLAINT_MAX),
            },
            RefusalKind::Unavailable => RunnerError::Unavailable {
                action,
                source: visible(&reason, COMPLAINT_MAX).into(),
            },
        }),
    }
}

fn unavailable(action: &'static str, output: &Output) -> RunnerError {
    RunnerError::Unavailable {
        action,
        source: complaint(output).into(),
    }
}

fn missing(python: &str) -> String {
    format!(
        "`{python}` is not installed on the control host, or cannot be started there. Install Python 3.6 or newer, or \
         name it in the setting `ansible.python`"
    )
}

/// The last line of an error output, which has the reason from Python or ssh.
fn complaint(output: &Output) -> String {
    let last = output
        .complaint
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty());
    let code = output
        .code
        .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
    last.map_or(code, |line| visible(line, COMPLAINT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(code: i32, answer: &str, complaint: &str) -> Output {
        Output {
            code: Some(code),
            answer: answer.as_bytes().to_vec(),
            complaint: complaint.to_owned(),
        }
    }

    #[test]
    fn no_answer_and_an_unreadable_answer_are_different() {
        let gone = answer::<Nothing>(
            "x",
            &output(255, "", "ssh: connect to host h: Connection refused\n"),
        )
        .unwrap_err();
        assert!(matches!(gone, RunnerError::Unavailable { .. }), "{gone:?}");
        for odd in [
            output(1, "", "Traceback\nKeyError: 'job'\n"),
            output(0, "hello", ""),
            output(0, "{\"done\":3}", ""),
        ] {
            let error = answer::<Nothing>("x", &odd).unwrap_err();
            assert!(matches!(error, RunnerError::Unreadable { .. }), "{error:?}");
        }
    }
}
