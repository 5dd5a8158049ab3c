//! Three tasks in a program of your own: two pictures are made smaller side by side, then added up.

#![expect(clippy::print_stdout, reason = "this is what it is for")]

use drover_app::embedded::{Attempt, Engine, Failure, Guarantee, Task, Workflow};

async fn shrink(attempt: Attempt<u32>) -> Result<u32, Failure> {
    Ok(attempt.input / 2)
}

async fn add(attempt: Attempt<Vec<String>>) -> Result<u32, Failure> {
    let mut sum = 0;
    for key in &attempt.input {
        sum += attempt.result_of::<u32>(key).await?;
    }
    Ok(sum)
}

pub(crate) async fn album(database: &str) -> Result<u32, Box<dyn std::error::Error>> {
    let engine = Engine::open(database)
        .await?
        .handler("shrink", Guarantee::G1, shrink)
        .handler("add", Guarantee::G1, add)
        .run()?;
    let album = Workflow::new("album")
        .task(Task::new("one", "shrink", &800))
        .task(Task::new("two", "shrink", &600))
        .task(
            Task::new("sum", "add", &["one", "two"])
                .after("one")
                .after("two"),
        );
    let id = engine.start(album).await?;
    let ended = engine.wait(id).await?;
    engine.stop().await;
    Ok(ended.result("sum")?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", album("sqlite://album.sqlite?mode=rwc").await?);
    Ok(())
}
