//! The HTTP client every outgoing call goes through.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, redirect, retry};

/// How Drover names itself to others.
pub const USER_AGENT: &str = concat!("drover/", env!("CARGO_PKG_VERSION"));

/// How long an unused connection is kept: long enough for the next question of one poll, and short enough that a fleet of
/// thousands does not hold a descriptor for each server.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// How many unused connections to one host are kept.
const IDLE_PER_HOST_MAX: usize = 4;

/// How long a silent connection is trusted before the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The bounds of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most time to get a connection, TLS included.
    pub connect_timeout: Duration,
    /// The most time for a whole call, from the first look-up to the last byte of the body. A call
    /// may set a shorter one.
    pub total_timeout: Duration,
    /// Whether calls go through a proxy.
    pub proxy: Proxy,
}

/// Whether calls go through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Straight to the host, whatever the environment says.
    Direct,
    /// As `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    FromEnvironment,
}

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be made: the TLS set-up of this machine is not usable")]
pub struct ClientError {
    /// Why.
    source: reqwest::Error,
}

impl ClientError {
    pub(crate) fn from_build(error: reqwest::Error) -> Self {
        Self {
            source: error.without_url(),
        }
    }
}

/// A client within these bounds: TLS by rustls with AWS-LC and the roots of this machine, redirects
/// returned and not followed, nothing sent twice, answers taken as they are (no compression).
///
/// # Errors
///
/// [`ClientError`] when the roots of this machine cannot be read.
pub fn client(options: Options) -> Result<Client, ClientError> {
    let builder = builder(options.connect_timeout, options.total_timeout);
    let builder = match options.proxy {
        Proxy::Direct => builder.no_proxy(),
        Proxy::FromEnvironment => builder,
    };
    builder.build().map_err(ClientError::from_build)
}

/// What every client has in common.
pub(crate) fn builder(connect_timeout: Duration, total_timeout: Duration) -> ClientBuilder {
    // Another library may have chosen before; then both speak with the one that is there.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .user_agent(USER_AGENT)
        .default_headers(headers)
        .connect_timeout(connect_timeout)
        .timeout(total_timeout)
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .no_hickory_dns()
        .http1_only()
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
}
