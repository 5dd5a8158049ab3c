//! What lists of the fleet can go by.

use drover_domain::page::SortColumn;

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $first:ident: $word:literal, $($variant:ident: $others:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[expect(missing_docs, reason = "each variant is the column it names")]
        pub enum $name { #[default] $first, $($variant),* }

        impl SortColumn for $name {
            const ALL: &'static [Self] = &[Self::$first, $(Self::$variant),*];

            fn as_str(self) -> &'static str {
                match self {
                    Self::$first => $word,
                    $(Self::$variant => $others),*
                }
            }
        }
    };
}

columns! {
    /// What servers can go by.
    ServerColumn { Key: "id", Name: "name", Address: "address", Status: "status", LastCheck: "last_check" }
}
columns! {
    /// What applications can go by; their server by its name.
    ApplicationColumn {
        Key: "id", Name: "name", Server: "server", Status: "status", Version: "version", LastSeen: "last_seen",
    }
}
columns! {
    /// What groups can go by.
    GroupColumn { Key: "id", Name: "name" }
}
columns! {
    /// What catalog entries can go by.
    CatalogColumn { Key: "id", Name: "name" }
}
