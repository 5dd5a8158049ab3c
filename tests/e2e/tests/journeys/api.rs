//! Drover's HTTP interface as a client sees it.

use serde_json::Value;

/// A client with a key.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    base: String,
    key: String,
    client: reqwest::Client,
}

/// A status and a body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body, `null` when it is not JSON.
    pub(crate) body: Value,
}

impl Api {
    /// A client of the service at `base`.
    ///
    /// # Panics
    ///
    /// If no client can be made.
    #[must_use]
    pub(crate) fn new(base: &str, key: &str) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(std::time::Duration::from_secs(10))
            .build()
            .unwrap();
        Self {
            base: base.to_owned(),
            key: key.to_owned(),
            client,
        }
    }

    /// `GET path`; a connection that is refused is a sentence.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Answer, String> {
        answer(
            self.client
                .get(self.url(path))
                .bearer_auth(&self.key)
                .send()
                .await,
        )
        .await
    }

    /// `GET path`.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path)
            .await
            .unwrap_or_else(|reason| panic!("GET {path}: {reason}"))
    }

    /// `POST path` with a JSON body.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let sent = self
            .client
            .post(self.url(path))
            .bearer_auth(&self.key)
            .json(body)
            .send()
            .await;
        answer(sent)
            .await
            .unwrap_or_else(|reason| panic!("POST {path}: {reason}"))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

async fn answer(sent: Result<reqwest::Response, reqwest::Error>) -> Result<Answer, String> {
    let response = sent.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let text = response.text().await.map_err(|error| error.to_string())?;
    Ok(Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
    })
}
