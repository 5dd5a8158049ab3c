//! The macro that defines a contract suite.

/// Defines the cases of a port's contract and a macro that makes one `#[tokio::test]` of each.
///
/// The `$` is handed in so that the inner macro can use it. The module is the suite's name in
/// `suites`, where the exported macro finds the cases; the type is the world a case is given.
macro_rules! contract {
    ($d:tt $module:ident => $export:ident for $world:ty;
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
                    $crate::suites::$module::$case(&world).await;
                }
            )+ };
        }
    };
}
