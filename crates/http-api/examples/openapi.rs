//! Prints the OpenAPI document; `cargo xtask openapi` writes it to `docs/reference/openapi.json`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let document = drover_http_api::openapi()
        .to_pretty_json()
        .map_err(std::io::Error::other)?;
    writeln!(std::io::stdout(), "{document}")
}
