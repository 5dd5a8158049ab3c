//! A client for addresses from untrusted input.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Method, RequestBuilder};
use url::Url;

use crate::client::builder;
use crate::{AddressPolicy, AddressRefused, ClientError};

/// The bounds of a guarded client.
#[derive(Debug, Clone)]
pub struct GuardedOptions {
    /// Which addresses may be called.
    pub policy: AddressPolicy,
    /// The most time to get a connection, TLS included.
    pub connect_timeout: Duration,
    /// The most time for a whole call, as in [`Options`](crate::Options).
    pub total_timeout: Duration,
}

/// A client that calls only what its policy allows; in all else as [`client`](crate::client) makes
/// them, and never through a proxy, which would look names up by itself.
///
/// A name is looked up once for a connection; its addresses are checked, and the connection goes to
/// one that passed. A second look-up that says something else cannot redirect it.
#[derive(Debug, Clone)]
pub struct GuardedClient {
    client: Client,
    policy: Arc<AddressPolicy>,
}

impl GuardedClient {
    /// A client that looks names up as this machine does.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the roots of this machine cannot be read.
    pub fn new(options: GuardedOptions) -> Result<Self, ClientError> {
        Self::with_names(options, Arc::new(SystemNames))
    }

    /// A client that looks names up in `names`. The ports of its answers are ignored.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_names(
        options: GuardedOptions,
        names: Arc<dyn Resolve>,
    ) -> Result<Self, ClientError> {
        let policy = Arc::new(options.policy);
        let guard = Guard {
            policy: Arc::clone(&policy),
            names,
        };
        let client = builder(options.connect_timeout, options.total_timeout)
            .no_proxy()
            .dns_resolver(guard)
            .build()
            .map_err(ClientError::from_build)?;
        Ok(Self { client, policy })
    }

    /// A request builder, if the policy allows the URL. The addresses of a host name are checked when the request is
    /// sent; [`refusal`] returns that reason.
    ///
    /// # Errors
    ///
    /// [`AddressRefused`].
    pub fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, AddressRefused> {
        // A host that is an address is never resolved, so it is checked here.
        self.policy.check_url(&url)?;
        Ok(self.client.request(method, url))
    }
}

/// The refusal that made a call of a [`GuardedClient`] fail, if it was one.
#[must_use]
pub fn refusal(error: &reqwest::Error) -> Option<&AddressRefused> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// Names as this machine looks them up.
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<_> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Names, without the addresses that the policy refuses.
struct Guard {
    policy: Arc<AddressPolicy>,
    names: Arc<dyn Resolve>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        let host = name.as_str().to_owned();
        let found = self.names.resolve(name);
        Box::pin(async move {
            let mut open = Vec::new();
            let mut refused = None;
            for mut address in found.await? {
                match policy.check(&host, address.ip()) {
                    Ok(()) => {
                        // The port is the URL's affair.
                        address.set_port(0);
                        open.push(address);
                    }
                    Err(refusal) => refused = refused.or(Some(refusal)),
                }
            }
            if !open.is_empty() {
                return Ok(Box::new(open.into_iter()) as Addrs);
            }
            Err(match refused {
                Some(refusal) => refusal.into(),
                None => io::Error::new(io::ErrorKind::NotFound, "the name has no address").into(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one address, with a port.
    struct OneName;

    impl Resolve for OneName {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(async {
                let found = ["1.1.1.1:22".parse().unwrap()];
                Ok(Box::new(found.into_iter()) as Addrs)
            })
        }
    }

    #[tokio::test]
    async fn a_look_up_does_not_choose_the_port() {
        let guard = Guard {
            policy: Arc::default(),
            names: Arc::new(OneName),
        };
        let found = guard.resolve("peer".parse().unwrap()).await.unwrap();
        let found: Vec<String> = found.map(|address| address.to_string()).collect();
        assert_eq!(found, ["1.1.1.1:0"]);
    }
}
