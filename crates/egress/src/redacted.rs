//! URLs for logs and messages.

use std::fmt;

use url::Url;

/// Prints a URL without what may be secret in it: user, password, query and fragment.
///
/// `https://ann:pw@host/a?token=1#x` is printed as `https://***@host/a?***`.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a Url);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}:", url.scheme())?;
        if url.cannot_be_a_base() {
            return f.write_str("***");
        }
        f.write_str("//")?;
        if !url.username().is_empty() || url.password().is_some() {
            f.write_str("***@")?;
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        if url.query().is_some() {
            f.write_str("?***")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        for (url, shown) in [
            ("https://ann:pw@host/a?token=1#x", "https://***@host/a?***"),
            ("http://[::1]:8080/ping", "http://[::1]:8080/ping"),
            ("sqlite:secret", "sqlite:***"),
            (
                "sqlite:///var/drover.sqlite?mode=rwc",
                "sqlite:///var/drover.sqlite?***",
            ),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(Redacted(&url).to_string(), shown);
            assert_eq!(format!("{:?}", Redacted(&url)), shown);
        }
    }
}
