//! Bodies with an end.

use reqwest::Response;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed; the rest was not read.
    #[error("the body is larger than {most} bytes")]
    TooLarge {
        /// The bound, bytes.
        most: usize,
    },
    /// It is compressed although the request did not allow it.
    #[error("the body is encoded, which was not asked for")]
    Encoded,
    /// The deadline came first.
    #[error("the body did not end in time; {received} bytes came")]
    Late {
        /// How much had come, bytes.
        received: usize,
    },
    /// The connection ended before the body did.
    #[error("the body broke off after {received} bytes")]
    BrokenOff {
        /// How much had come, bytes.
        received: usize,
        /// Why.
        source: reqwest::Error,
    },
}

/// The whole body, if it is at most `most` bytes long and not compressed.
///
/// # Errors
///
/// [`BodyError`]. A body that announces itself as too large is refused before it is read.
///
/// # Cancellation
///
/// Dropping the future closes the connection.
pub async fn read_capped(mut response: Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let is_plain = response
        .headers()
        .get_all(reqwest::header::CONTENT_ENCODING)
        .iter()
        .all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !is_plain {
        return Err(BodyError::Encoded);
    }
    let announced = response.content_length().unwrap_or(0);
    if announced > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge { most });
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if piece.len() > most - body.len() => {
                return Err(BodyError::TooLarge { most });
            }
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return Ok(body),
            Err(error) if error.is_timeout() => {
                return Err(BodyError::Late {
                    received: body.len(),
                });
            }
            Err(source) => {
                return Err(BodyError::BrokenOff {
                    received: body.len(),
                    source: source.without_url(),
                });
            }
        }
    }
}
