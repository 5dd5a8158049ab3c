//! Waiting for something to become true, with an end and the last reason why it was not.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout};

/// Asks `probe` every `every` until it gives a value, for at most `limit`. A probe that hangs is cut at the limit.
///
/// # Errors
///
/// `what` did not happen within `limit`; the cause is the probe's last error.
pub async fn until<T, F, P>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut probe: P,
) -> anyhow::Result<T>
where
    P: FnMut() -> F,
    F: Future<Output = anyhow::Result<T>>,
{
    let end = Instant::now() + limit;
    let mut last = None;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(elapsed) => {
                last.get_or_insert_with(|| {
                    anyhow::Error::new(elapsed).context("there was no answer")
                });
                break;
            }
        }
        sleep(every).await;
    }
    let last = last.unwrap_or_else(|| anyhow::anyhow!("there was no time to look"));
    Err(last).with_context(|| format!("{what} did not happen within {} s", limit.as_secs_f32()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_reason_is_told() {
        let mut asked = 0;
        let error = until(
            "the moon",
            Duration::from_secs(1),
            Duration::from_millis(300),
            || {
                asked += 1;
                async move { Err::<(), _>(anyhow::anyhow!("reason {asked}")) }
            },
        )
        .await
        .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "the moon did not happen within 1 s: reason 4"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_cut() {
        let error = until(
            "an answer",
            Duration::from_secs(1),
            Duration::from_millis(1),
            std::future::pending::<anyhow::Result<()>>,
        )
        .await
        .unwrap_err();
        assert!(format!("{error:#}").contains("no answer"), "{error:#}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_ends_the_wait() {
        let mut asked = 0;
        let value = until(
            "three",
            Duration::from_secs(9),
            Duration::from_secs(1),
            || {
                asked += 1;
                let asked = asked;
                async move {
                    anyhow::ensure!(asked == 3, "only {asked}");
                    Ok(asked)
                }
            },
        )
        .await
        .unwrap();
        assert_eq!(value, 3);
    }
}
