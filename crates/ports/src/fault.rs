//! What a caller may do about a failure.

/// A cause that is shown in the log and never matched on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a caller may do about a failure: the only thing outer layers branch on, besides variants
/// they handle by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Try again later: something outside is not there right now.
    Transient,
    /// The request or the world must change first.
    Permanent,
    /// A contract is broken: a defect of Drover or of a peer. A person has to look at it.
    Defect,
}
