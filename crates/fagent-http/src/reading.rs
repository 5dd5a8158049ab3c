//! From bytes to an answer, and complaints that stay readable.

use drover_domain::text::lenient_json;
use drover_ports::AgentError;
use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::wire::Envelope;
use crate::wire::entry::Entry;
use crate::wire::refusal::disguised;

/// The most complaints that are kept of one answer.
const COMPLAINTS_MAX: usize = 20;

/// Reads a document of its own shape; `meaning` says what is wrong with it in a sentence.
pub(crate) fn read<T: DeserializeOwned, A>(
    call: &Call<'_>,
    body: &[u8],
    meaning: impl FnOnce(T) -> Result<A, String>,
) -> Result<A, AgentError> {
    let body = lenient_json(body);
    if let Some((status, words)) = disguised(&body) {
        return Err(call.refused(status, &words));
    }
    // The parser goes 128 levels deep and no deeper.
    let document: Entry<T> = serde_json::from_str(&body)
        .map_err(|error| call.unreadable(&format!("it is not as agreed: {error}")))?;
    let document = document
        .object()
        .ok_or_else(|| call.unreadable("it is not an object"))?;
    meaning(document).map_err(|reason| call.unreadable(&reason))
}

/// Reads the `data` of a controller's envelope; `meaning` says what is wrong with it in a sentence.
pub(crate) fn read_data<T: DeserializeOwned, A>(
    call: &Call<'_>,
    body: &[u8],
    meaning: impl FnOnce(T) -> Result<A, String>,
) -> Result<A, AgentError> {
    read(call, body, |envelope: Envelope<T>| {
        let data = envelope.data.ok_or("it has no `data`")?;
        meaning(data.object().ok_or("its `data` is not an object")?)
    })
}

/// Sentences about what could not be read, a bounded number of them.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    sentences: Vec<String>,
    more: usize,
}

impl Complaints {
    pub(crate) fn add(&mut self, sentence: String) {
        if self.sentences.len() < COMPLAINTS_MAX {
            self.sentences.push(sentence);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_sentences(mut self) -> Vec<String> {
        if self.more > 0 {
            self.sentences.push(format!("and {} more", self.more));
        }
        self.sentences
    }
}
