//! A typed function as a handler of the engine.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, Json};
use drover_ports::{Assigned, TaskHandler};
use drover_usecases::WorkflowView;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt::{Attempt, Failure};

/// A function from an attempt to a result.
pub(super) struct Typed<I, F> {
    guarantee: Guarantee,
    handler: F,
    view: Arc<dyn WorkflowView>,
    input: PhantomData<fn() -> I>,
}

impl<I, F> Typed<I, F> {
    pub(super) fn new(guarantee: Guarantee, handler: F, view: Arc<dyn WorkflowView>) -> Self {
        Self {
            guarantee,
            handler,
            view,
            input: PhantomData,
        }
    }
}

#[async_trait]
impl<I, O, F, W> TaskHandler for Typed<I, F>
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
    F: Fn(Attempt<I>) -> W + Send + Sync + 'static,
    W: Future<Output = Result<O, Failure>> + Send + 'static,
{
    fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let task = assigned.task;
        let input = match serde_json::from_str(task.payload.as_str()) {
            Ok(input) => input,
            Err(error) => {
                let message = format!("the input is not what the handler takes: {error}");
                return failed(&Failure::new("bad_input", message).for_good());
            }
        };
        let attempt = Attempt {
            input,
            task: task.task,
            number: task.attempt,
            view: Arc::clone(&self.view),
        };
        match (self.handler)(attempt).await {
            Ok(result) => written(&result),
            Err(failure) => failed(&failure),
        }
    }
}

fn written(result: &impl Serialize) -> Outcome {
    let text = serde_json::to_string(result).map_err(|error| error.to_string());
    let result = text
        .and_then(|text| Json::from_parsed("the result", text).map_err(|error| error.to_string()));
    match result {
        Ok(result) => Outcome::Succeeded { result },
        // It was done all the same; doing it again would not help.
        Err(reason) => failed(&Failure::new("bad_result", reason).for_good()),
    }
}

fn failed(failure: &Failure) -> Outcome {
    Outcome::Failed {
        error: TaskError::new(&failure.code, &failure.message),
        retryable: failure.is_retryable,
    }
}
