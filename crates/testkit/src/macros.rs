//! The macro that defines a contract suite.

/// Defines the cases of a port's contract and a macro that makes one `#[tokio::test]` of each.
///
/// `contract! { $ name => name_contract in path for Type; /// promise\n async fn case(world) { … } … }`
macro_rules! contract {
    ($d:tt $export:ident in $path:path, for $world:ty;
     $( $(#[doc = $doc:literal])* async fn $case:ident($arg:ident) $body:block )+) => {
        $( $(#[doc = $doc])*
           ///
           /// # Panics
           ///
           /// If the promise is broken.
           pub async fn $case($arg: &$world) $body )+

        /// One `#[tokio::test]` per case; the argument is an `async fn` that sets up an empty world.
        #[macro_export]
        macro_rules! $export {
            ($d fresh:path) => { $(
                #[tokio::test]
                async fn $case() {
                    let world = $d fresh().await;
                    $path::$case(&world).await;
                }
            )+ };
        }
    };
}
