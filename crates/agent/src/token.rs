//! The bearer token: kept and compared only as a SHA-256 digest.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Most bytes a token file may have.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// Fewest characters of a token; shorter ones can be guessed over the network.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// The digest of the one token that opens the agent.
///
/// The token itself is not kept, so neither a log line nor a core dump can show it.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl Token {
    /// Reads the token from the first line of `file`; blanks around it do not count.
    ///
    /// # Errors
    ///
    /// [`TokenError`] when the file cannot be read, is larger than 4 KiB or its first line has fewer than
    /// 16 characters.
    pub fn read(file: &Path) -> Result<Self, TokenError> {
        let mut text = String::new();
        File::open(file)
            .and_then(|opened| {
                opened
                    .take(TOKEN_FILE_BYTES_MAX + 1)
                    .read_to_string(&mut text)
            })
            .map_err(|source| TokenError::Unreadable {
                file: file.to_owned(),
                source,
            })?;
        if text.len() as u64 > TOKEN_FILE_BYTES_MAX {
            return Err(TokenError::TooLong {
                file: file.to_owned(),
            });
        }
        let secret = text.lines().next().unwrap_or_default().trim();
        if secret.chars().count() < TOKEN_CHARACTERS_MIN {
            return Err(TokenError::TooShort {
                file: file.to_owned(),
            });
        }
        Ok(Self::of(secret))
    }

    /// Whether `presented` is the token. Takes the same time whichever byte differs.
    #[must_use]
    pub fn opens(&self, presented: &str) -> bool {
        let other = Self::of(presented);
        let difference = self
            .digest
            .iter()
            .zip(other.digest.iter())
            .fold(0_u8, |sum, (a, b)| sum | (a ^ b));
        difference == 0
    }

    fn of(secret: &str) -> Self {
        Self {
            digest: Sha256::digest(secret.as_bytes()).into(),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Why a token file gave no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file could not be opened or is not UTF-8 text.
    #[error("token file `{}` cannot be read", .file.display())]
    Unreadable {
        /// The file as configured.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than a token file can sensibly be.
    #[error("token file `{}` is larger than {TOKEN_FILE_BYTES_MAX} bytes; it should hold one line, the token", .file.display())]
    TooLong {
        /// The file as configured.
        file: PathBuf,
    },
    /// The first line is empty or short enough to be guessed.
    #[error("the first line of token file `{}` has fewer than {TOKEN_CHARACTERS_MIN} characters; put a longer token there", .file.display())]
    TooShort {
        /// The file as configured.
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_first_line_opens_and_nothing_else_does() {
        let file = file_with("  a-token-of-some-length \nsecond line\n");
        let token = Token::read(file.path()).unwrap();
        assert!(token.opens("a-token-of-some-length"));
        for wrong in [
            "",
            "a-token-of-some-lengtH",
            " a-token-of-some-length",
            "second line",
        ] {
            assert!(!token.opens(wrong), "{wrong:?} opened");
        }
    }

    #[test]
    fn a_short_long_or_missing_token_is_refused() {
        assert!(matches!(
            Token::read(file_with("short\n").path()),
            Err(TokenError::TooShort { .. })
        ));
        assert!(matches!(
            Token::read(file_with("").path()),
            Err(TokenError::TooShort { .. })
        ));
        assert!(matches!(
            Token::read(file_with(&"x".repeat(4097)).path()),
            Err(TokenError::TooLong { .. })
        ));
        assert!(matches!(
            Token::read(Path::new("/nonexistent/token")),
            Err(TokenError::Unreadable { .. })
        ));
    }

    #[test]
    fn printing_a_token_tells_nothing() {
        let file = file_with("a-token-of-some-length");
        assert_eq!(
            format!("{:?}", Token::read(file.path()).unwrap()),
            "Token(…)"
        );
    }
}
