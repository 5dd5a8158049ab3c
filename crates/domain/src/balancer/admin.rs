//! HAProxy's administrative state bits. Measured on HAProxy 2.6, `show servers state`.

/// What an operator asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdminState {
    /// Take traffic.
    Ready,
    /// Finish what runs, take nothing new.
    Drain,
    /// Out of service.
    Maint,
}

impl AdminState {
    /// The word HAProxy, agents and JSON use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Ready, Self::Drain, Self::Maint]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// The bit mask `srv_admin_state`, which HAProxy prints as a decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdminBits(u32);

impl AdminBits {
    // 0x04 (maintenance from the configuration) alone does not count: it stays after `ready`.
    const MAINT: u32 = 0x01 | 0x02 | 0x20;
    const DRAIN: u32 = 0x08 | 0x10;

    /// The mask with these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Reads the decimal number HAProxy prints; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }

    /// Whether it is out only because of another server it tracks, or of a name that does not resolve: what is
    /// told to the server itself changes nothing.
    #[must_use]
    pub const fn is_only_inherited(self) -> bool {
        let inherited = 0x02 | 0x10 | 0x20;
        let forced = 0x01 | 0x08;
        self.0 & inherited != 0 && self.0 & forced == 0
    }

    /// What the bits mean; maintenance outranks drain, as in HAProxy.
    #[must_use]
    pub const fn state(self) -> AdminState {
        if self.0 & Self::MAINT != 0 {
            AdminState::Maint
        } else if self.0 & Self::DRAIN != 0 {
            AdminState::Drain
        } else {
            AdminState::Ready
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_masks_are_read_as_decimal() {
        for (text, state) in [
            ("0", AdminState::Ready),
            ("1", AdminState::Maint),
            ("2", AdminState::Maint),
            ("4", AdminState::Ready),
            ("5", AdminState::Maint),
            ("8", AdminState::Drain),
            ("9", AdminState::Maint),
            ("16", AdminState::Drain),
            ("32", AdminState::Maint),
            ("64", AdminState::Ready),
        ] {
            assert_eq!(
                AdminBits::parse(text).map(AdminBits::state),
                Some(state),
                "{text}"
            );
        }
        assert_eq!(AdminBits::parse("0x10"), None);
    }
}
