//! How long a drained server is waited for.

/// A wait asked for in minutes, 0 to 60. Absent or 0 means the default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrainWait(Option<f64>);

/// A wait that is not allowed; the message goes to the user unchanged.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "a drain wait of {minutes} minutes is not possible; 0 to {} minutes are",
    DrainWait::MINUTES_MAX
)]
pub struct DrainWaitError {
    minutes: f64,
}

impl DrainWait {
    /// The longest wait, minutes.
    pub const MINUTES_MAX: u8 = 60;
    /// The wait when none is asked for, seconds.
    pub const SECONDS_DEFAULT: u32 = 300;
    /// Not requested: the default.
    pub const DEFAULT: Self = Self(None);

    /// Reads a requested time in minutes.
    ///
    /// # Errors
    ///
    /// [`DrainWaitError`] when it is negative, over 60, or no number.
    pub fn parse(minutes: Option<f64>) -> Result<Self, DrainWaitError> {
        match minutes {
            Some(minutes) if !(0.0..=f64::from(Self::MINUTES_MAX)).contains(&minutes) => {
                Err(DrainWaitError { minutes })
            }
            other => Ok(Self(other)),
        }
    }

    /// The requested time, minutes.
    #[must_use]
    pub const fn minutes(self) -> Option<f64> {
        self.0
    }

    /// The wait, whole seconds; a requested time below one second is one second.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 3,600 after parsing"
    )]
    pub fn seconds(self) -> u32 {
        match self.0 {
            Some(minutes) if minutes > 0.0 => ((minutes * 60.0).floor() as u32).max(1),
            Some(_) | None => Self::SECONDS_DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_become_seconds() {
        for (minutes, seconds) in [
            (None, 300),
            (Some(0.0), 300),
            (Some(0.5), 30),
            (Some(5.0), 300),
            (Some(60.0), 3_600),
            (Some(0.001), 1),
        ] {
            assert_eq!(
                DrainWait::parse(minutes).map(DrainWait::seconds),
                Ok(seconds),
                "{minutes:?}"
            );
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for minutes in [-1.0, 60.1, f64::NAN, f64::INFINITY] {
            assert!(DrainWait::parse(Some(minutes)).is_err(), "{minutes}");
        }
        let refusal = DrainWait::parse(Some(61.0)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "a drain wait of 61 minutes is not possible; 0 to 60 minutes are"
        );
    }
}
