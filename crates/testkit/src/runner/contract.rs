//! The contract suite of [`PlaybookRunner`](drover_ports::PlaybookRunner).

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::rollout::artifact::ArtifactSight;
use drover_domain::rollout::job::{
    JobEvent, JobEventKind, JobId, JobStatus, PlaybookFile, PlaybookJob, Variable,
};
use drover_domain::rollout::record::ArtifactUrl;
use drover_domain::rollout::request::{
    PlayRequest, StepAnswer, StepKind, TargetAnswer, TargetState,
};
use drover_ports::{Place, PlaybookRunner, RunnerError};
use uuid::Uuid;

use super::{Play, RunnerWorld};
use crate::eventually::eventually;

/// Most time for a play that has nothing to do.
const PATIENCE: Duration = Duration::from_secs(25);

/// A job with the identifier `number`.
#[must_use]
pub fn job(number: u128, playbook: &str) -> PlaybookJob {
    PlaybookJob {
        id: JobId::from_uuid(Uuid::from_u128(number)),
        playbook: playbook.to_owned(),
        variables: BTreeMap::new(),
        hosts: Vec::new(),
    }
}

/// Everything a job says until it is over, read as the worker reads it, and how it ended.
pub async fn story(runner: &dyn PlaybookRunner, id: JobId) -> (Vec<JobEvent>, JobStatus) {
    let (mut events, mut offset) = (Vec::new(), 0);
    loop {
        let batch = runner
            .follow(
                id,
                Place::at(offset, events.len() as u64),
                Duration::from_secs(5),
            )
            .await
            .unwrap();
        let over = batch.status != JobStatus::Running && batch.events.is_empty();
        events.extend(batch.events);
        offset = batch.offset;
        if over {
            return (events, batch.status);
        }
    }
}

/// The open request of a job, asked for as by someone who has none in hand.
async fn until_asked(runner: &dyn PlaybookRunner, id: JobId) -> PlayRequest {
    eventually(PATIENCE, || async {
        let batch = runner
            .follow(id, Place::default(), Duration::ZERO)
            .await
            .unwrap();
        batch
            .request
            .ok_or_else(|| format!("it is {:?} and asks nothing", batch.status))
    })
    .await
}

/// Waits until `count` plays wait for release.
pub async fn until_waiting(world: &dyn RunnerWorld, count: u32) {
    eventually(PATIENCE, || async {
        let begun = world.waits_begun().await;
        if begun >= count {
            Ok(())
        } else {
            Err(format!("{begun} plays wait, not {count}"))
        }
    })
    .await;
}

fn of_kind(events: &[JobEvent], kind: JobEventKind) -> Vec<&JobEvent> {
    events.iter().filter(|event| event.kind == kind).collect()
}

contract! { $ runner => playbook_runner_contract for dyn RunnerWorld;
    /// A play's events come in order and without gaps, its variables reach it literally, and what was
    /// said can be read again from any place with the same numbers.
    async fn a_play_tells_its_story(world) {
        let text = "it's \"7\" = {{ 3 + 4 }} $(id) `id` ; \\ {% raw %} é";
        world.arrange("tell.yml", Play::TellsText).await;
        let mut told = job(1, "tell.yml");
        told.variables.insert("text".to_owned(), Variable::Text(text.to_owned()));
        world.runner().launch(&told).await.unwrap();
        let (events, status) = story(world.runner(), told.id).await;

        assert_eq!(status, JobStatus::Ended { exit_code: 0 }, "{events:?}");
        let numbers: Vec<u64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        assert_eq!(events.first().map(|event| event.kind), Some(JobEventKind::PlaybookStart));
        let ok = of_kind(&events, JobEventKind::Ok);
        assert_eq!(ok.iter().map(|event| event.message.as_deref()).collect::<Vec<_>>(), [Some(text)]);
        assert_eq!(ok.first().and_then(|event| event.host.as_deref()), Some("localhost"));
        let last = events.last().unwrap();
        assert_eq!((last.kind, last.stats.len()), (JobEventKind::Stats, 1));
        assert!(last.stats.iter().all(|host| host.is_clean() && host.ok == 1), "{last:?}");

        let first = world.runner().follow(told.id, Place::default(), Duration::ZERO).await.unwrap();
        assert_eq!(first.events.as_slice(), events.get(..first.events.len()).unwrap());
        let rest = world.runner().follow(told.id, Place::at(first.offset, 7), Duration::ZERO).await.unwrap();
        assert_eq!(rest.events.first().map(|event| event.sequence), (first.events.len() < events.len()).then_some(7));

        world.runner().launch(&told).await.unwrap();
        assert_eq!(story(world.runner(), told.id).await, (events, status), "launched again after its end");
    }

    /// A failure comes with the play's own reason, in the event and in the counts.
    async fn a_failure_tells_its_reason(world) {
        world.arrange("fail.yml", Play::Fails).await;
        let failing = job(2, "fail.yml");
        world.runner().launch(&failing).await.unwrap();
        let (events, status) = story(world.runner(), failing.id).await;
        assert!(matches!(status, JobStatus::Ended { exit_code } if exit_code != 0), "{status:?}");
        let failed = of_kind(&events, JobEventKind::Failed);
        assert_eq!(failed.iter().map(|event| event.message.as_deref()).collect::<Vec<_>>(), [Some("no luck")]);
        let counts = &of_kind(&events, JobEventKind::Stats).first().unwrap().stats;
        assert_eq!(counts.iter().map(|host| (host.host.as_str(), host.failed)).collect::<Vec<_>>(), [("localhost", 1)]);
    }

    /// A play that found no host says so, although it ends well.
    async fn a_play_without_hosts_says_so(world) {
        world.arrange("nobody.yml", Play::MatchesNobody).await;
        let nobody = job(3, "nobody.yml");
        world.runner().launch(&nobody).await.unwrap();
        let (events, status) = story(world.runner(), nobody.id).await;
        assert_eq!(status, JobStatus::Ended { exit_code: 0 });
        assert_eq!(of_kind(&events, JobEventKind::NoHosts).len(), 1, "{events:?}");
        assert!(events.iter().all(|event| event.stats.is_empty()), "{events:?}");
    }

    /// Launched by several and again while it runs, a job runs once.
    async fn a_job_runs_once(world) {
        world.arrange("wait.yml", Play::Waits).await;
        let waiting = job(4, "wait.yml");
        let (runner, id) = (world.runner(), waiting.id);
        let launched = tokio::join!(runner.launch(&waiting), runner.launch(&waiting), runner.launch(&waiting));
        assert!(matches!(launched, (Ok(()), Ok(()), Ok(()))), "{launched:?}");
        until_waiting(world, 1).await;
        runner.launch(&waiting).await.unwrap();
        assert_eq!(runner.status(id).await.unwrap(), JobStatus::Running);
        let batch = runner.follow(id, Place::default(), Duration::ZERO).await.unwrap();
        assert_eq!(batch.status, JobStatus::Running);
        assert_eq!(batch.events.first().map(|event| event.kind), Some(JobEventKind::PlaybookStart));
        world.release().await;
        let (events, status) = story(runner, id).await;
        assert_eq!(status, JobStatus::Ended { exit_code: 0 });
        assert_eq!(of_kind(&events, JobEventKind::PlaybookStart).len(), 1);
        assert_eq!(world.waits_begun().await, 1);
    }

    /// A stopped job has ended when that is answered; stopping it again changes nothing.
    async fn a_stopped_job_has_ended(world) {
        world.arrange("wait.yml", Play::Waits).await;
        let waiting = job(5, "wait.yml");
        world.runner().launch(&waiting).await.unwrap();
        until_waiting(world, 1).await;
        world.runner().cancel(waiting.id).await.unwrap();
        let (events, status) = story(world.runner(), waiting.id).await;
        assert!(matches!(status, JobStatus::Ended { exit_code } if exit_code != 0), "{status:?}");
        assert_eq!(of_kind(&events, JobEventKind::Stats).len(), 0, "no closing counts, so nobody takes it for finished");
        world.runner().cancel(waiting.id).await.unwrap();
        assert_eq!(world.runner().status(waiting.id).await.unwrap(), status);
    }

    /// What a running play asks is handed over once per caller until it is answered; the play goes on with the answer.
    async fn a_request_is_open_until_it_is_answered(world) {
        world.arrange("ask.yml", Play::AsksToDrain).await;
        let asking = job(9, "ask.yml");
        let (runner, id) = (world.runner(), asking.id);
        runner.launch(&asking).await.unwrap();
        let request = until_asked(runner, id).await;
        let step = request.step.clone().unwrap();
        assert_eq!((request.number, step.kind, step.targets.as_slice()), (1, StepKind::Drain, &["web1::a_1".to_owned()][..]));
        assert_eq!((step.drain_wait, step.min_ready), (Duration::from_secs(30), Some(2)));
        // Another caller gets it as well, and who has it in hand does not get it again.
        assert_eq!(until_asked(runner, id).await, request);
        let heard = Place { heard: 1, ..Place::default() };
        assert_eq!(runner.follow(id, heard, Duration::ZERO).await.unwrap().request, None);
        let target = TargetAnswer { composite: "web1::a_1".to_owned(), state: TargetState::Drained, detail: "no session".to_owned() };
        let answer = StepAnswer { number: 1, error: None, targets: vec![target] };
        runner.answer(id, &answer).await.unwrap();
        runner.answer(id, &answer).await.unwrap();
        let (events, status) = story(runner, id).await;
        assert_eq!(status, JobStatus::Ended { exit_code: 0 });
        let ok = of_kind(&events, JobEventKind::Ok);
        assert!(ok.iter().any(|event| event.message.as_deref() == Some("drained: no session")), "{events:?}");
        assert_eq!(runner.follow(id, Place::default(), Duration::ZERO).await.unwrap().request, None);
        runner.answer(job(10, "ask.yml").id, &answer).await.unwrap();
    }

    /// A job whose processes vanished is lost, not running and not started again.
    async fn a_vanished_job_is_lost(world) {
        world.arrange("wait.yml", Play::Waits).await;
        let waiting = job(6, "wait.yml");
        world.runner().launch(&waiting).await.unwrap();
        until_waiting(world, 1).await;
        world.lose(waiting.id).await;
        eventually(PATIENCE, || async {
            let status = world.runner().status(waiting.id).await.unwrap();
            if status == JobStatus::Lost { Ok(()) } else { Err(format!("it is {status:?}")) }
        })
        .await;
        world.runner().launch(&waiting).await.unwrap();
        assert_eq!(story(world.runner(), waiting.id).await.1, JobStatus::Lost);
        assert_eq!(world.waits_begun().await, 1);
    }

    /// A job that was never started is absent, has no output and can be cancelled.
    async fn an_unknown_job_is_absent(world) {
        let unknown = job(7, "tell.yml").id;
        assert_eq!(world.runner().status(unknown).await.unwrap(), JobStatus::Absent);
        let batch = world.runner().follow(unknown, Place::default(), Duration::from_secs(5)).await.unwrap();
        assert_eq!((batch.events, batch.offset, batch.status), (Vec::new(), 0, JobStatus::Absent));
        world.runner().cancel(unknown).await.unwrap();
        assert_eq!(world.runner().diagnostics(unknown).await.unwrap(), "");
    }

    /// What cannot run is refused by name, and then there is no job.
    async fn what_cannot_run_is_refused(world) {
        world.arrange("tell.yml", Play::TellsText).await;
        for playbook in ["none.yml", "../tell.yml", "/etc/passwd", "", "."] {
            let refusal = world.runner().launch(&job(8, playbook)).await.unwrap_err();
            assert!(matches!(&refusal, RunnerError::NoSuchPlaybook { playbook: named } if named == playbook), "{refusal:?}");
        }
        for name in ["ansible_connection", "hostvars", "groups", "omit", "vars", "a-b", "1a", ""] {
            let mut refused = job(8, "tell.yml");
            refused.variables.insert(name.to_owned(), Variable::Boolean(true));
            let refusal = world.runner().launch(&refused).await.unwrap_err();
            assert!(matches!(&refusal, RunnerError::Refused { reason } if reason.contains(name)), "{refusal:?}");
        }
        assert_eq!(world.runner().status(job(8, "").id).await.unwrap(), JobStatus::Absent);
    }

    /// An artifact is there, is not there, or it is unknown; what is no web address is not looked for.
    async fn an_artifact_is_looked_for(world) {
        let look = async |address: String| {
            let artifact = ArtifactUrl::parse(&address).unwrap();
            world.artifacts().look(&artifact).await.unwrap()
        };
        assert_eq!(look(world.serve(Some(200)).await).await, ArtifactSight::Found { size: Some(4) });
        assert!(matches!(look(world.serve(Some(404)).await).await, ArtifactSight::Absent { .. }));
        for unclear in [Some(403), Some(500), None] {
            let sight = look(world.serve(unclear).await).await;
            assert!(matches!(&sight, ArtifactSight::Unknown { reason } if !reason.is_empty()), "{unclear:?}: {sight:?}");
        }
        for address in ["registry.example:5000/shop:1.1.0", "/srv/a.zip", "ftp://files/a.zip", "file:///etc/passwd"] {
            assert_eq!(look(address.to_owned()).await, ArtifactSight::NotChecked, "{address}");
        }
    }

    /// The playbooks are listed by name with their first lines and their digests, and the runner has a version.
    async fn playbooks_are_listed_by_name(world) {
        world.arrange("b.yaml", Play::Fails).await;
        world.arrange("a.yml", Play::TellsText).await;
        world.arrange("notes.txt", Play::Fails).await;
        let listed = world.runner().playbooks().await.unwrap();
        assert_eq!(listed.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a.yml", "b.yaml"]);
        assert!(listed.iter().all(|file| matches!(&file.head, Ok(head) if !head.is_empty())), "{listed:?}");
        let digest = |listed: &[PlaybookFile]| listed.first().unwrap().digest.clone().unwrap();
        assert_eq!(world.runner().playbooks().await.unwrap(), listed, "a digest of what did not change is the same");
        world.arrange("a.yml", Play::Fails).await;
        let changed = world.runner().playbooks().await.unwrap();
        assert_ne!(digest(&listed), digest(&changed));
        assert_ne!(world.runner().probe().await.unwrap(), "");
    }
}
