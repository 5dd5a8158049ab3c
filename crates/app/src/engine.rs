//! The durable engine as this service runs it: which kinds there are, who executes them, and how.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_config::Settings;
use drover_domain::rollout::definition;
use drover_domain::workflow::{Guarantee, Kind, QueueName};
use drover_egress::{AddressPolicy, Cidr};
use drover_peer_http::PeerHttp;
use drover_ports::{RetentionAges, TaskHandler};
use drover_usecases::{
    EngineOptions, Handlers, KindSpec, Kinds, PayloadProblem, Performer, QueueOptions, Service,
};

use crate::application::StartError;
use crate::meter::Metered;

/// The queue of requests.
const HTTP: &str = "http";

/// The kinds of tasks that the API accepts.
pub(crate) fn kinds() -> Result<Kinds, StartError> {
    let spec = KindSpec::new(Performer::Handler, Guarantee::G3, queue(HTTP)?).checked(Arc::new(
        |payload| {
            drover_peer_http::check(payload.as_str()).map_err(|error| PayloadProblem {
                pointer: error.pointer,
                reason: error.detail,
            })
        },
    ));
    Ok(Kinds::default().with(kind(drover_peer_http::KIND)?, spec))
}

/// What executes them, and updates and actions besides.
pub(crate) fn handlers(settings: &Settings, service: &Service) -> Result<Handlers, StartError> {
    let requests = PeerHttp::new(requests(settings)?).map_err(|source| StartError::Client {
        source: Box::new(source),
    })?;
    let mut handlers = Handlers::default();
    let requests: (_, Arc<dyn TaskHandler>) = (kind(drover_peer_http::KIND)?, Arc::new(requests));
    for (kind, handler) in [
        requests,
        service.rollout_handler(),
        service.action_handler(),
        service.delivery_handler(),
    ] {
        let metered = Metered::new(kind.as_str(), handler);
        handlers.register(kind, Arc::new(metered))?;
    }
    Ok(handlers)
}

/// How the engine behaves. Whether every setting of it makes sense is known afterwards.
pub(crate) fn options(settings: &Settings) -> Result<EngineOptions, StartError> {
    let mut queues = vec![QueueOptions {
        name: definition::queue(),
        concurrency: u32::try_from(settings.rollout.workers.get()).unwrap_or(u32::MAX),
    }];
    for (name, concurrency) in &settings.engine.queues {
        queues.push(QueueOptions {
            name: queue(name)?,
            concurrency: concurrency.get(),
        });
    }
    let mut options = EngineOptions::new(worker(), queues);
    options.lease = settings.engine.lease;
    options.poll = settings.engine.poll_interval;
    options.retention = RetentionAges {
        usual: settings.engine.retention,
        named: BTreeMap::from([(definition::KIND.to_owned(), settings.rollout.retention)]),
    };
    // The other half is for what they leave behind: to report it and to close the lease.
    options.drain_grace = settings.server.shutdown_grace / 2;
    Ok(options)
}

/// What requests may do.
pub(crate) fn requests(settings: &Settings) -> Result<drover_peer_http::Options, StartError> {
    let settings = &settings.http_request;
    Ok(drover_peer_http::Options {
        policy: AddressPolicy {
            plain_http: settings.plain_http,
            public: settings.public,
            allow: ranges("http_request.allow", &settings.allow)?,
            deny: ranges("http_request.deny", &settings.deny)?,
        },
        connect_timeout: settings.connect_timeout,
        deadline_max: settings.deadline_max,
    })
}

/// Who this process is, for people who look at tasks.
pub(crate) fn worker() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "drover".to_owned(), |name| name.trim().to_owned());
    format!("{host}-{}", std::process::id())
}

fn ranges(key: &'static str, texts: &[String]) -> Result<Vec<Cidr>, StartError> {
    texts
        .iter()
        .map(|text| Cidr::parse(text))
        .collect::<Result<_, _>>()
        .map_err(|error| impossible(key, &error))
}

fn queue(name: &str) -> Result<QueueName, StartError> {
    QueueName::parse(name).map_err(|error| impossible("engine.queues", &error))
}

fn kind(name: &str) -> Result<Kind, StartError> {
    Kind::parse(name).map_err(|error| StartError::Settings {
        reason: error.to_string(),
    })
}

fn impossible(key: &'static str, error: &dyn std::error::Error) -> StartError {
    StartError::Settings {
        reason: format!("setting `{key}` cannot be used: {error}"),
    }
}
