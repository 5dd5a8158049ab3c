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

    /// What was asked of the server itself, whatever it inherits; maintenance outranks drain, as in HAProxy.
    #[must_use]
    pub const fn own(self) -> AdminState {
        if self.0 & 0x01 != 0 {
            AdminState::Maint
        } else if self.0 & 0x08 != 0 {
            AdminState::Drain
        } else {
            AdminState::Ready
        }
    }

    /// Whether the server it tracks is in maintenance or draining, and it is so with it.
    #[must_use]
    pub const fn is_inherited(self) -> bool {
        self.0 & (0x02 | 0x10) != 0
    }

    /// Whether its host name does not resolve; until it does HAProxy has it in maintenance.
    #[must_use]
    pub const fn is_unresolved(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// The state it is in, its own or not; maintenance outranks drain, as in HAProxy.
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

    #[test]
    fn what_is_asked_of_a_server_is_told_from_what_it_inherits() {
        use AdminState::{Drain, Maint, Ready};
        for (bits, own, is_inherited, is_unresolved) in [
            (0, Ready, false, false),
            (1, Maint, false, false),
            (2, Ready, true, false),
            (3, Maint, true, false),
            (8, Drain, false, false),
            (9, Maint, false, false),
            (10, Drain, true, false),
            (16, Ready, true, false),
            (32, Ready, false, true),
            (40, Drain, false, true),
            (64, Ready, false, false),
        ] {
            let bits = AdminBits::from_bits(bits);
            let found = (bits.own(), bits.is_inherited(), bits.is_unresolved());
            assert_eq!(found, (own, is_inherited, is_unresolved), "{bits:?}");
        }
    }
}
